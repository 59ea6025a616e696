# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""search.json, schema "adcp-search/1": every candidate of a search, the front, and the winner."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field

from ad_compressed_perception.core.json_values import NanIsNull, Plain
from ad_compressed_perception.core.manifest import StrictModel, TaskName, Verdict
from ad_compressed_perception.data.bad_frames import FrameAccount
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.compression import CompressionReport
from ad_compressed_perception.report.schemas.fields import Count, Figure

SCHEMA: Final = "adcp-search/1"


class BudgetReport(StrictModel):
    """Limits that a winner must keep; null for no limit."""

    text: str = Field(description="all of them, as text")
    drop: Figure = Field(default=None, description="largest loss of the measure, 0..1")
    p99_ms: Figure = Field(default=None, description="largest 99th percentile from frame to result, ms")
    size: Figure = Field(default=None, description="largest variant / baseline ratio of stored bytes")
    speed: Figure = Field(default=None, description="least baseline / variant ratio of median times")


class SplitReport(StrictModel):
    """How many frames of the source served what; null where it was not reached."""

    calibration: Count | None = Field(default=None, description="to choose quantization ranges")
    search: Count | None = Field(default=None, description="to compare candidates")
    verification: Count | None = Field(default=None, description="to verify the winner")


class Speed(StrictModel):
    """Times from frame to result (prepare, infer, decode), interleaved with the baseline, ms."""

    p50_ms: float = Field(description="median")
    p99_ms: float = Field(description="99th percentile")
    infer_p50_ms: float = Field(description="median of the inference alone")
    baseline_p50_ms: float = Field(description="the baseline's median in the same rounds")
    baseline_p99_ms: float = Field(description="likewise")
    ratio: float = Field(
        description="how many times faster than the baseline: the median of the rounds' ratios, since other "
        "load on the computer affects both times of a round alike"
    )
    pairs: Count = Field(description="rounds")

    @property
    def p99_share(self) -> float:
        """The 99th percentile as a share of the baseline's in the same rounds."""
        return self.p99_ms / self.baseline_p99_ms


class Drop(StrictModel):
    """Loss of the measure on some of the search frames."""

    measure: str = Field(description="its name")
    drop: NanIsNull = Field(description="the loss, 0..1; null where nothing could be compared")
    low: NanIsNull = Field(description="lower end of its 95 % interval")
    high: NanIsNull = Field(description="upper end")
    frames: Count = Field(description="frames compared")
    informative: Count = Field(description="those on which the baseline is informative")
    failed: Count = Field(default=0, description="those without a result")
    worst_label: str = Field(default="", description="the label that drops most surely; empty without any")
    worst_label_low: NanIsNull = Field(default=0.0, description="lower end of that drop's 95 % interval")
    label_text: str = Field(default="", description="what drops there, with a place for the label's name")

    @property
    def interval(self) -> Interval:
        """The loss with its interval."""
        return Interval(self.drop, self.low, self.high)


class SearchCandidate(StrictModel):
    """One recipe that was tried."""

    name: str
    state: str = Field(description="winner, out, failed, or not tried")
    reason: str = Field(description="why it ended, as text")
    backend: str = Field(default="", description="runtime")
    options: dict[str, Plain] = Field(default_factory=dict, description="the runtime's own options")
    passes: list[Plain] = Field(default_factory=list, description="in the recipe's form")
    store: str = Field(default="", description="onnx or packed")
    size_ratio: Figure = Field(default=None, description="variant / baseline of stored bytes")
    bytes: Count | None = Field(default=None, description="of the file as stored")
    speed: Speed | None = Field(default=None, description="null where it was not timed")
    drop: Drop | None = Field(default=None, description="null where it was not compared")
    build_seconds: Figure = Field(default=None, description="time to build it")

    @property
    def measured(self) -> tuple[Speed, Drop] | None:
        """Speed and drop, where both are known."""
        drop = self.drop
        return (self.speed, drop) if self.speed and drop and drop.interval.is_known else None


class NearestMiss(StrictModel):
    """The candidate that misses the budget least."""

    name: str
    misses: str = Field(description="which limits, as text")


class EarlierVerdict(StrictModel):
    """A verdict of an earlier version."""

    status: str
    reasons: list[str] = Field(default_factory=list)


class EarlierResult(StrictModel):
    """The winner as earlier versions wrote it, adcp-compress/1: its verdict alone is read."""

    model_config = ConfigDict(extra="ignore")

    verdict: EarlierVerdict
    verdict_text: str


class SearchReport(Document):
    """The results of one search."""

    schema_: Literal["adcp-search/1"] = field_of_kind(SCHEMA)
    model: str = Field(description="the model's name")
    task: TaskName | None = Field(default=None, description="the model's task")
    budget: BudgetReport
    source: str = Field(description="where the frames come from")
    source_frames: FrameAccount
    frames: SplitReport
    facts: dict[str, Plain] = Field(description="what host and model allow to be tried")
    baseline: str = Field(default="", description="the baseline's name")
    front: list[str] = Field(description="candidates that none beats in everything, the fastest first")
    winner: str | None = Field(description="null where every candidate is beyond the budget")
    shown_on_search_frames: bool = Field(
        default=False, description="whether the winner's whole interval is within the budget"
    )
    nearest_miss: NearestMiss | None = Field(default=None, description="null with a winner")
    candidates: list[SearchCandidate]
    left_out: dict[str, str] = Field(description="what was not tried, and why")
    recipe: str | None = Field(default=None, description="file of the winner's recipe")
    seconds: float = Field(description="how long it took")
    compressed: CompressionReport | EarlierResult | None = Field(
        default=None, description="the winner, verified on other frames; null without a winner"
    )
    plot: str | None = Field(default=None, description="file of the plot of the front")

    @property
    def verdict(self) -> tuple[Verdict | EarlierVerdict, str] | None:
        """The winner's verdict and its text."""
        found = self.compressed
        gate = found.gate if isinstance(found, CompressionReport) else found
        return None if gate is None else (gate.verdict, gate.verdict_text)
