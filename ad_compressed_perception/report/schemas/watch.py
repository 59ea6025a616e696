# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp watch`` shows of a running comparison, schema "adcp-watch/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure, Percentiles
from ad_compressed_perception.report.schemas.pairs import Alarm


class Series(StrictModel):
    """A figure over the last minutes, oldest first; null where there was none."""

    values: list[Figure] = Field(description="equally long spans of time, the last one ends now")
    low: float = Field(default=0.0, description="value at the bottom of a drawing")
    high: float = Field(default=1.0, description="value at its top")


class Row(StrictModel):
    """One node; figures without another span are those of the window."""

    level: str = Field(
        description="OK, WARN or ERROR by the monitor's alarms; NO LIMIT: no agreement raises one; NO SCORE: "
        "nothing to compare in the window; LOW: agreement below its limit without an alarm, for too few "
        "pairs or not long enough; NO RESULT: no report yet, or no result compared yet"
    )
    task: str
    name: str = Field(description="short name of the node in the comparison")
    model: str = Field(description="model and variant that it runs; empty before it reported")
    is_baseline: bool = Field(description="the others of the task are compared with it")
    rate_hz: Figure = Field(description="results a second")
    infer_ms: Percentiles = Field(description="inference")
    end_to_end_ms: Percentiles = Field(description="age of its results")
    late_share: Figure = Field(description="results after the deadline; null without a deadline or result")
    drop_share: Figure = Field(description="frames without a result")
    failed: Count = Field(description="frames that failed")
    longest_miss_run: Count = Field(
        description="most consecutive frames of the whole run with a late result or none"
    )
    p99_9: str = Field(description="of the whole run end to end, in words")
    distance_during_p99_m: Figure = Field(
        description="how far the vehicle goes during p99; null where its speed is not known"
    )
    over_budget: list[str] = Field(description="stages whose p99 is beyond their budget")
    fallback_share: Figure = Field(description="results that the primary did not make")
    agreement: str = Field(description="in words")
    score: Figure = Field(description="agreement, 0..1")
    pairs: Count | None = Field(description="frames that it is about")
    frames: Count | None = Field(description="frames that it could have been about")
    speedup: Figure = Field(description="median of baseline / variant inference of the same frame")
    p95_series: Series = Field(description="end to end, ms")
    score_series: Series = Field(description="agreement")


class View(Document):
    """All that is shown."""

    schema_: Literal["adcp-watch/1"] = field_of_kind("adcp-watch/1")
    monitor: str = Field(description="full name of the monitor")
    state: str = Field(description="the worst level of all; NO DATA where the figures are not of now")
    age_s: float = Field(description="since the summary came")
    figures: str = Field(description="what the figures of the rows are of: last 10 s, or whole run")
    rows: list[Row] = Field(description="tasks and their nodes")
    alarms: list[Alarm] = Field(description="figures beyond their limits, the worst first")
    missing: list[str] = Field(description="nodes that are silent, in sentences")
    notes: list[str] = Field(default_factory=list, description="what makes the figures doubtful")
