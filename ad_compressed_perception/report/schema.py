# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.json, schema "adcp-report/1": what was compared, how, and the results.

The same document comes from a replayed bag and from the live monitor. A figure that could not be
measured is null, never NaN. docs/report_schema.md and docs/adcp-report-1.schema.json are made from
these models: ``python -m ad_compressed_perception.report.schema_docs docs``.
"""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import StrictModel, Verdict

SCHEMA: Final = "adcp-report/1"


def _null_if_not_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Figure = Annotated[float | None, BeforeValidator(_null_if_not_finite)]
"""A measured number; null where there is none (NaN and infinities become null)."""

Count = Annotated[int, Field(ge=0)]

AlarmLevel = Literal["OK", "WARN", "ERROR"]


class Percentiles(StrictModel):
    """Percentiles of a series of durations; all null where ``count`` is 0."""

    p50: Figure = Field(default=None, description="median, ms")
    p95: Figure = Field(default=None, description="95th percentile, ms")
    p99: Figure = Field(default=None, description="99th percentile, ms")
    max: Figure = Field(default=None, description="largest value, ms")
    count: Count = Field(default=0, description="values in the series")


class Source(StrictModel):
    """Where the frames came from."""

    kind: Literal["bag", "live"] = Field(default="bag", description="a replayed bag or a running car")
    bag: str | None = Field(default=None, description="the bag's path; null when live")
    topic: str | None = Field(default=None, description="the image topic; null when live nodes have several")
    frames: Count = Field(default=0, description="frames offered (bag) or distinct source stamps seen (live)")
    duration_s: Figure = Field(default=None, description="from the first to the last frame, s")
    claimed: Count | None = Field(
        default=None, description="replay: messages on the topic by metadata.yaml; null without one"
    )
    index: Count | None = Field(
        default=None, description="replay: messages on the topic by the files' own index; null when live"
    )
    read: Count = Field(default=0, description="replay: messages read of the selected part")
    left_out: Count = Field(default=0, description="replay: messages before and behind the selected part")
    unreadable: dict[str, Count] = Field(
        default_factory=dict,
        description="replay: reason to messages read that are no images and were not sent",
    )
    not_offered: Count = Field(
        default=0,
        description="frames of the bag that came due while others were processed, and were skipped",
    )


class Host(StrictModel):
    """The machine and the versions the figures belong to."""

    system: str = Field(default="", description="operating system and kernel")
    machine: str = Field(default="", description="instruction set, such as x86_64")
    cpu: str = Field(default="", description="processor model")
    cpu_features: list[str] = Field(
        default_factory=list, description="vector extensions that matter to inference"
    )
    logical_cores: Count = Field(default=0, description="processors this process may use")
    memory_gib: Figure = Field(default=None, description="main memory, GiB")
    python: str = Field(default="", description="Python version")
    ros_distro: str | None = Field(default=None, description="ROS 2 distribution; null without ROS")
    packages: dict[str, str] = Field(default_factory=dict, description="package name to version")


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


class VariantReport(StrictModel):
    """One node that ran one variant of a model.

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
    longest_miss_run: Count = Field(default=0, description="most consecutive results after the deadline")
    throughput_hz: Figure = Field(default=None, description="results per second over the whole run")
    stages_ms: dict[str, Percentiles] = Field(
        default_factory=dict,
        description="stage name to its durations, in the order frames pass them",
    )
    end_to_end_ms: Percentiles = Field(
        default_factory=Percentiles, description="transport age plus all stages of processed frames"
    )
    not_inference_share: Figure = Field(
        default=None, description="1 - sum of infer / sum of end-to-end, over processed frames"
    )
    windows: dict[str, VariantWindow] = Field(
        default_factory=dict, description='live: "10s" and "60s" to the figures of the last seconds'
    )


class ClassAgreement(StrictModel):
    """Detection agreement of one class."""

    precision: float = Field(description="share of the variant's objects the baseline has too")
    recall: float = Field(description="share of the baseline's objects the variant has too")
    f1: float = Field(description="harmonic mean of precision and recall")
    matched: Count = Field(description="objects found by both")
    missed: Count = Field(description="objects found by the baseline only")
    extra: Count = Field(description="objects found by the variant only")


class DetectionFigures(ClassAgreement):
    """Detection agreement over all pairs; the baseline is the reference."""

    kind: Literal["detection"] = "detection"
    iou: float = Field(default=0.5, description="overlap from which two boxes are the same object")
    mean_matched_iou: float = Field(description="mean overlap of the matched boxes")
    per_class: dict[str, ClassAgreement] = Field(
        default_factory=dict, description="label to agreement, for classes either side found"
    )


class SegmentationFigures(StrictModel):
    """Segmentation agreement over all pairs, from the pooled confusion matrix."""

    kind: Literal["segmentation"] = "segmentation"
    miou: float = Field(description="mean IoU over the labels either side has")
    differing_pixels_share: float = Field(description="share of pixels whose labels differ")
    per_class_iou: dict[str, float] = Field(default_factory=dict, description="label to IoU")


class PlanningFigures(StrictModel):
    """Planning agreement over all pairs, meters."""

    kind: Literal["planning"] = "planning"
    ade_m: float = Field(description="mean over frames of the average displacement error")
    fde_m: float = Field(description="mean over frames of the final displacement error")
    max_fde_m: float = Field(description="largest final displacement error of a frame")
    mean_lateral_offset_m: float = Field(description="mean over frames of the largest lateral offset")
    max_lateral_offset_m: float = Field(description="largest lateral offset of any point")


class LabelCounts(StrictModel):
    """Frames with a label as the strongest one."""

    both: Count = Field(description="of both sides")
    only_baseline: Count = Field(description="of the baseline only")
    only_variant: Count = Field(description="of the variant only")


class ClassificationFigures(StrictModel):
    """Classification agreement over all pairs; the baseline is the reference."""

    kind: Literal["classification"] = "classification"
    top1: float = Field(description="share of the frames with the same strongest label")
    mean_score_distance: float = Field(
        description="mean over frames of the largest difference of a label's score"
    )
    max_score_distance: float = Field(description="largest difference of a label's score")
    per_class: dict[str, LabelCounts] = Field(
        default_factory=dict, description="label to frames, for labels that either side has"
    )


AgreementFigures = Annotated[
    DetectionFigures | SegmentationFigures | PlanningFigures | ClassificationFigures,
    Field(discriminator="kind"),
]


class FrameScores(StrictModel):
    """Distribution of the agreement of single frames (F1, mIoU or equal labels, 0..1)."""

    mean: Figure = Field(default=None, description="mean of the frames' scores")
    p50: Figure = Field(default=None, description="median")
    p05: Figure = Field(default=None, description="5th percentile: the frames that agree least")
    min: Figure = Field(default=None, description="the frame that agrees least")


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
        "rate_hz, age_ms or results"
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


class TaskReport(StrictModel):
    """One task: its variants, each compared with the baseline, and all with the ground truth."""

    baseline: str | None = Field(default=None, description="which of the variants is the reference")
    variants: dict[str, VariantReport] = Field(default_factory=dict, description="name to variant")
    comparison: dict[str, ComparisonReport] = Field(
        default_factory=dict, description="variant's name to its comparison with the baseline"
    )
    accuracy: dict[str, AccuracyReport] = Field(
        default_factory=dict,
        description="live: variant's name to its comparison with the ground truth, where that comes",
    )
    limits: dict[str, LimitsReport] = Field(
        default_factory=dict, description="live: variant's name to the limits that it is watched by"
    )
    alarms: list[Alarm] = Field(
        default_factory=list, description="live: figures beyond their limits now, the worst first"
    )


class Report(StrictModel):
    """The whole document."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, populate_by_name=True)

    schema_: Literal["adcp-report/1"] = Field(
        default=SCHEMA, alias="schema", description="format and version"
    )
    created: str = Field(default="", description="when it was written, ISO 8601 with time zone")
    measurement: str = Field(
        default="", description="how the variants were run: interleaved, or at the same time"
    )
    age_reference: str = Field(default="", description="what transport age is measured from")
    source: Source = Field(default_factory=Source, description="where the frames came from")
    host: Host = Field(default_factory=Host, description="the machine the figures belong to")
    tasks: dict[str, TaskReport] = Field(default_factory=dict, description="task name to report")
    missing: list[str] = Field(
        default_factory=list, description="live: which nodes are silent or give no result, in sentences"
    )
    problems: list[str] = Field(
        default_factory=list,
        description="why the figures cannot be relied on, in sentences; replay: counts that do not close, "
        "nodes that gave nothing, strangers' frames; live: two nodes of one name",
    )
    notes: list[str] = Field(default_factory=list, description="what a reader must know, in sentences")
    files: list[str] = Field(default_factory=list, description="files written beside the report")

    def to_json(self, indent: int | None = 2) -> str:
        """Return the document as JSON text."""
        return self.model_dump_json(by_alias=True, indent=indent)


def write_report(report: Report, path: Path) -> None:
    """Write report.json atomically and create its folders; raise DataError in one line."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".report-", suffix=".json")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(report.to_json() + "\n")
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide the report from other users
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise DataError(f"cannot write report {path}: {error.strerror or error}") from error
