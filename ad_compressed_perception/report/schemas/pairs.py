# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results compared frame by frame, with a baseline or the ground truth; limits and alarms on them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.schemas.agreement import AgreementFigures, FrameScores
from ad_compressed_perception.report.schemas.fields import Count, Figure

AlarmLevel = Literal["OK", "WARN", "ERROR"]


class ComparisonWindow(StrictModel):
    """A variant against its baseline in the last seconds; without a pair all figures are null."""

    window_s: float = Field(description="how far back it looks, s")
    span_s: Figure = Field(
        default=None, description="how much of that was watched: less right after the start"
    )
    pairs: Count = Field(default=0, description="frames with results of both, compared")
    informative: Count = Field(
        default=0,
        description="pairs on which there is something to compare: an object, two labels, a path, "
        "a label that is not on most of the others",
    )
    unpaired: Count = Field(default=0, description="results whose partner did not come in time")
    incomparable: Count = Field(default=0, description="pairs whose results could not be compared")
    no_evidence: Count = Field(
        default=0, description="pairs that say nothing of the variant: see ComparisonReport"
    )
    frames: Count = Field(
        default=0,
        description="frames that the node of the two that completed more completed, with any outcome",
    )
    compared_share: Figure = Field(
        default=None, description="pairs / frames: how much of the drive the agreement is about"
    )
    agreement: AgreementFigures | None = Field(default=None, description="pooled; null without a pair")
    score: Figure = Field(
        default=None,
        description="pooled agreement, 0..1: F1, weighted mean IoU, the share of paths within the tolerance, "
        "or that of equal labels; null without an informative pair",
    )
    score_low: Figure = Field(default=None, description="lower end of its 95 % interval")
    score_high: Figure = Field(default=None, description="upper end of its 95 % interval")
    worst_score: Figure = Field(default=None, description="of the frame that agrees least")
    worst_stamp_ns: int | None = Field(default=None, description="source stamp of that frame, ns")
    speedup_infer_paired_p50: Figure = Field(
        default=None, description="median over frames of baseline / variant infer of the same frame"
    )


class LimitsReport(StrictModel):
    """The limits that a variant is watched by; null: not watched."""

    min_agreement: Figure = Field(default=None, description="least score of a window, 0..1")
    max_p99_ms: Figure = Field(default=None, description="largest 99th percentile, ms")
    timed: Literal["inference", "end_to_end"] = Field(
        default="end_to_end", description="which times max_p99_ms limits"
    )
    max_deadline_miss_share: Figure = Field(default=None, description="largest share of results too late")
    max_dropped_share: Figure = Field(default=None, description="largest share without a result")
    max_fallback_share: Figure = Field(
        default=None, description="largest share of results that the primary did not make"
    )
    min_compared_share: Figure = Field(default=None, description="least share of frames that form pairs")
    window_s: Figure = Field(default=None, description="window in which they are checked, s")
    min_pairs: Count = Field(
        default=0, description="informative pairs, and results, below which a figure raises no alarm"
    )
    sources: dict[str, str] = Field(
        default_factory=dict,
        description="limit to where it comes from: a parameter, the variant's gate, or a default",
    )


class Alarm(StrictModel):
    """A figure beyond its limit."""

    task: str = Field(description="whose task")
    variant: str = Field(description="name of the variant, as in the report")
    figure: str = Field(
        description="agreement, compared_share, incomparable, p99_ms, deadline_miss_share, drop_share, "
        "fallback_share, rate_hz, age_ms or results"
    )
    level: AlarmLevel = Field(description="how bad it is; OK: it has ended")
    value: Figure = Field(default=None, description="the figure now; null where there is no data")
    threshold: Figure = Field(default=None, description="the limit that it is beyond")
    window_s: Figure = Field(default=None, description="window of the figure, s")
    since: str = Field(default="", description="when it began, ISO 8601 with time zone")
    since_s: Figure = Field(default=None, description="how long ago that was, s")
    worst_stamp_ns: int | None = Field(
        default=None, description="source stamp of the frame that agreed least or took longest, ns"
    )
    sentence: str = Field(default="", description="all that in a sentence")


class EarlierComparison(StrictModel):
    """Agreement of two models that a task's nodes do not both run any more."""

    baseline: str = Field(default="", description="the baseline node's model, variant and runtime")
    variant: str = Field(default="", description="the other node's")
    pairs: Count = Field(default=0, description="frames that both answered, compared")
    agreement: AgreementFigures | None = Field(default=None, description="null without a pair")
    speedup_infer_paired_p50: Figure = Field(
        default=None, description="median over frames of baseline / variant infer of the same frame"
    )


class ComparisonReport(StrictModel):
    """A variant against its task's baseline, frame by frame, paired by source stamp."""

    renamed = {"candidate_missing": "variant_missing"}

    pairs: Count = Field(default=0, description="frames with results of both in time, compared")
    unpaired: Count = Field(default=0, description="results whose partner did not come in time")
    variant_missing: Count = Field(default=0, description="unpaired because the variant gave none")
    baseline_missing: Count = Field(default=0, description="unpaired because the baseline gave none")
    late: Count = Field(default=0, description="results that came after their partner was given up")
    pending: Count = Field(default=0, description="results that still wait for their partner")
    unstamped: Count = Field(default=0, description="results without a source stamp, which cannot be paired")
    incomparable: Count = Field(default=0, description="pairs whose results could not be compared")
    by_fallback: Count = Field(
        default=0, description="pairs not compared: on one side at least the primary did not answer"
    )
    same_model: Count = Field(
        default=0,
        description="pairs not compared: one node changed to the model and runtime of the other",
    )
    is_of_one_model: bool = Field(
        default=False,
        description="both nodes run the same model in the same runtime: figures are about their settings or "
        "computers, and say nothing of a compression",
    )
    unattributed: Count = Field(
        default=0, description="results not compared: no timing came, and so nobody knows who made them"
    )
    earlier: list[EarlierComparison] = Field(
        default_factory=list,
        description="totals of models that ran before a swap; all other figures are of those that run now",
    )
    speedup_infer_p50: Figure = Field(default=None, description="baseline / variant, medians of infer")
    speedup_infer_paired_p50: Figure = Field(
        default=None,
        description="median over frames of baseline / variant infer of the same frame",
    )
    speedup_end_to_end_p50: Figure = Field(default=None, description="baseline / variant, end-to-end p50")
    agreement: AgreementFigures | None = Field(default=None, description="null without a pair")
    frame_score: FrameScores | None = Field(default=None, description="null for planning or without a pair")
    windows: dict[str, ComparisonWindow] = Field(
        default_factory=dict, description='live: "10s" and "60s" to the figures of the last seconds'
    )


class AccuracyReport(StrictModel):
    """A variant against the ground truth, frame by frame, paired by source stamp."""

    renamed = {"truth_missing": "ground_truth_missing"}

    pairs: Count = Field(default=0, description="frames with a result and a ground truth in time, compared")
    ground_truth_missing: Count = Field(
        default=0, description="results whose ground truth did not come in time"
    )
    result_missing: Count = Field(
        default=0, description="ground truths that the variant gave no result for in time"
    )
    pending: Count = Field(default=0, description="results and ground truths that still wait")
    incomparable: Count = Field(default=0, description="pairs that could not be compared")
    figures: AgreementFigures | None = Field(
        default=None,
        description="those of agreement, with the ground truth in the baseline's place; null without a pair",
    )
    frame_score: FrameScores | None = Field(default=None, description="null for planning or without a pair")
