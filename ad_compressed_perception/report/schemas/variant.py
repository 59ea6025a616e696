# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One node that ran one variant: its frame counters, stages, latency and deadline misses."""

from __future__ import annotations

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel, Verdict
from ad_compressed_perception.report.schemas.fields import Count, Figure, Percentiles
from ad_compressed_perception.report.schemas.latency import (
    AnswerAccount,
    ClockFigures,
    MissFigures,
    StageBudget,
    TailLatency,
)


class VariantWindow(StrictModel):
    """What one node did in the last seconds; a window without a frame has counts of 0 and no figures."""

    window_s: float = Field(description="how far back it looks, s")
    span_s: Figure = Field(
        default=None, description="how much of that was watched: less right after the start"
    )
    processed: Count = Field(default=0, description="frames with a published result")
    dropped_stale: Count = Field(default=0, description="frames too old when the worker took them")
    dropped_busy: Count = Field(default=0, description="frames replaced by a newer one while waiting")
    failed: Count = Field(default=0, description="frames that could not be decoded or inferred")
    drop_share: Figure = Field(
        default=None, description="frames without a result / frames completed; null without a frame"
    )
    rate_hz: Figure = Field(default=None, description="results a second; 0 once they stop")
    deadline_misses: Count = Field(default=0, description="results later than the deadline")
    deadline_miss_share: Figure = Field(
        default=None, description="misses / results of known age; null without deadline or result"
    )
    infer_ms: Percentiles = Field(default_factory=Percentiles, description="inference of processed frames")
    end_to_end_ms: Percentiles = Field(
        default_factory=Percentiles, description="transport age plus all stages of processed frames"
    )
    by_level: dict[str, Count] = Field(
        default_factory=dict,
        description="results by who made them: primary, standby or hold; times and misses are the primary's",
    )
    fallback_share: Figure = Field(
        default=None, description="results that the primary did not make / results; null without a result"
    )


class VariantReport(StrictModel):
    """One node that ran one variant of a model.

    Times and deadline misses are those of the variant that it runs now as its primary; ``accounts`` has them
    of every variant and level that answered. Counters of frames and runs of misses are the node's.

    Every frame is accounted for: received = processed + dropped_stale + dropped_busy + failed + pending
    + lost_at_restart. In a replay only the frames that it sent are counted.
    """

    renamed = {"turn_timeouts": "frame_timeouts"}

    node: str = Field(
        default="", description="fully qualified node name; in a replay without its random namespace"
    )
    model: str | None = Field(default=None, description="the model's name; null before the node reported")
    variant: str | None = Field(default=None, description="the variant's name in the model's manifest")
    backend: str | None = Field(default=None, description="runtime that executed it")
    requested_provider: str | None = Field(default=None, description="provider or device asked for")
    provider: str | None = Field(default=None, description="provider or device that executed it")
    precision: str | None = Field(default=None, description="precision of the heavy layers as executed")
    verdict: Verdict | None = Field(
        default=None, description="verdict of the accept gate; null for a baseline"
    )
    every_nth: Count | None = Field(
        default=None, description="live: the node answers one of so many frames, chosen by their stamps"
    )
    sent: Count = Field(default=0, description="replay: frames sent to the node")
    received: Count = Field(default=0, description="frames that arrived in the node")
    processed: Count = Field(default=0, description="frames with a published result")
    dropped_stale: Count = Field(default=0, description="frames too old when the worker took them")
    dropped_busy: Count = Field(default=0, description="frames replaced by a newer one while waiting")
    failed: Count = Field(default=0, description="frames that could not be decoded or inferred")
    reasons: dict[str, Count] = Field(
        default_factory=dict, description="replay: outcome and reason to frames sent that were not processed"
    )
    foreign: Count = Field(
        default=0, description="replay: timings and results of frames that it did not send; in no figure"
    )
    pending: Count = Field(default=0, description="frames received and not completed at the last report")
    lost_at_restart: Count = Field(default=0, description="frames not completed when the node was restarted")
    restarts: Count = Field(default=0, description="times the node's counters started from zero again")
    reports_lost: Count = Field(default=0, description="completed frames whose timing was not received")
    frame_timeouts: Count = Field(default=0, description="replay: frames not completed within the timeout")
    deadline_ms: Figure = Field(default=None, description="end-to-end deadline; null for none")
    deadline_misses: Count = Field(default=0, description="results later than the deadline")
    deadline_miss_rate: Figure = Field(default=None, description="misses per result; null without deadline")
    longest_miss_run: Count = Field(
        default=0, description="most consecutive frames with a late result or none; see misses"
    )
    misses: MissFigures = Field(
        default_factory=MissFigures, description="frames with a late result or none, in the order of stamps"
    )
    throughput_hz: Figure = Field(default=None, description="results per second over the whole run")
    stages_ms: dict[str, Percentiles] = Field(
        default_factory=dict,
        description="stage name to its durations, in the order frames pass them",
    )
    end_to_end_ms: Percentiles = Field(
        default_factory=Percentiles, description="transport age plus all stages of processed frames"
    )
    since_arrival_ms: Percentiles = Field(
        default_factory=Percentiles,
        description="all stages after transport age: durations by the monotonic clock alone",
    )
    tail: TailLatency = Field(
        default_factory=TailLatency, description="p99.9 of end_to_end_ms over the whole run"
    )
    since_arrival_tail: TailLatency = Field(
        default_factory=TailLatency, description="p99.9 of since_arrival_ms over the whole run"
    )
    clocks: ClockFigures = Field(
        default_factory=ClockFigures, description="steps of the clock that ages are measured by"
    )
    budget: dict[str, StageBudget] = Field(
        default_factory=dict, description="stage to its part of the deadline; empty without a deadline"
    )
    speed_mps: Figure = Field(default=None, description="live: the vehicle's speed now, m/s; null: not known")
    distance_during_p99_m: Figure = Field(
        default=None, description="live: speed_mps * p99 of end_to_end_ms; null: speed or p99 not known"
    )
    by_level: dict[str, Count] = Field(
        default_factory=dict,
        description="results by who made them: primary; standby, in its place; hold, of an earlier frame",
    )
    fallback_share: Figure = Field(
        default=None, description="results that the primary did not make / results; null without a result"
    )
    accounts: list[AnswerAccount] = Field(
        default_factory=list,
        description="what each model and level did that answered, in order of appearance",
    )
    accounts_left_out: Count = Field(
        default=0, description="results of further models, in no account; 16 accounts are kept"
    )
    not_inference_share: Figure = Field(
        default=None, description="1 - sum of infer / sum of end-to-end, over processed frames"
    )
    windows: dict[str, VariantWindow] = Field(
        default_factory=dict, description='live: "10s" and "60s" to the figures of the last seconds'
    )
