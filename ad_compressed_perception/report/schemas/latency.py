# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a report about latency: its tail, runs of misses, clocks, budgets, and who answered."""

from __future__ import annotations

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.schemas.fields import Count, Figure, Percentiles


class TailLatency(StrictModel):
    """The latency that one of a thousand results exceeds, over the whole run.

    Frames without a result have no latency and are not in it: ``without_result`` counts them.
    """

    p99_9: Figure = Field(default=None, description="ms; null with fewer results than needed")
    p99_9_high: Figure = Field(
        default=None, description="its 95 % upper bound by order statistics, ms; null with fewer than needed"
    )
    count: Count = Field(default=0, description="results it is of")
    needed: Count = Field(default=0, description="results from which on there is a bound")
    exact: bool = Field(
        default=True, description="false: many values were counted in bins of 1 % width, see monitor.md"
    )
    without_result: Count = Field(default=0, description="frames of the node that have no latency")
    sentence: str = Field(default="", description="all that in words")


class MissFigures(StrictModel):
    """Frames with a result after the deadline, or with none.

    A frame that was dropped, failed, was lost at a restart, or in whose place an earlier frame's result was
    published, has none. A result of unknown age neither ends a run nor makes it longer.
    """

    frames: Count = Field(default=0, description="missed in all")
    longest_run: Count = Field(default=0, description="most consecutive ones")
    first_stamp_ns: int | None = Field(default=None, description="stamp of the longest run's first frame, ns")
    last_stamp_ns: int | None = Field(default=None, description="stamp of its last frame, ns")
    current_run: Count = Field(default=0, description="the run that goes on now")
    longest_gap_s: Figure = Field(
        default=None,
        description="longest time without a result, by the monitor's clock; the present one too",
    )


class ClockFigures(StrictModel):
    """Transport age is measured by the ROS clock, all other stages by the monotonic one."""

    steps: Count = Field(default=0, description="times the ROS clock was set, against the monotonic one")
    largest_step_ms: Figure = Field(default=None, description="the largest of them, ms; below 0: back")
    last_step_stamp_ns: int | None = Field(
        default=None, description="stamp of the frame on which the last one was seen, ns"
    )
    unknown_ages: Count = Field(
        default=0,
        description="results whose age is not known: no stamp, or one before a step; in no end-to-end figure",
    )
    negative_ages: Count = Field(
        default=0, description="results that are older than their frame: clock or stamp is wrong; as above"
    )


class StageBudget(StrictModel):
    """A stage's part of the deadline."""

    budget_ms: float = Field(description="what it may take, ms")
    source: str = Field(default="", description="a parameter, or the stage's default share of the deadline")
    p50_share: Figure = Field(default=None, description="p50 / deadline")
    p99_share: Figure = Field(default=None, description="p99 / deadline")
    is_over: bool = Field(default=False, description="p99 is beyond the budget")


class AnswerAccount(StrictModel):
    """What one model did at one level in one node."""

    level: str = Field(description="primary, standby, hold, or unknown")
    model: str = Field(default="", description="the model's name")
    variant: str = Field(default="", description="the variant's name")
    backend: str = Field(default="", description="runtime")
    provider: str = Field(default="", description="provider or device")
    precision: str = Field(default="", description="precision as executed")
    is_current: bool = Field(default=False, description="the primary of now")
    begun: Count = Field(default=0, description="times it began to answer")
    processed: Count = Field(default=0, description="results")
    first_stamp_ns: int | None = Field(default=None, description="source stamp of its first frame, ns")
    last_stamp_ns: int | None = Field(default=None, description="of its last frame, ns")
    deadline_misses: Count = Field(default=0, description="results later than the deadline")
    infer_ms: Percentiles = Field(default_factory=Percentiles, description="inference")
    end_to_end_ms: Percentiles = Field(
        default_factory=Percentiles, description="transport age plus all stages"
    )
