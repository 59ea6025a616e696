# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.json of a compression, schema "adcp-compression/1": a variant and its comparison with the baseline.

Plots and Markdown are rendered from this document alone. A figure that could not be measured is null, never
NaN. ``adcp compress --json`` prints the same document, with the places of the files in ``stored``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from ad_compressed_perception.core.json_values import Plain
from ad_compressed_perception.core.manifest import CalibrationRecord, StrictModel, TaskName, Verdict
from ad_compressed_perception.data.bad_frames import FrameAccount
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure
from ad_compressed_perception.report.schemas.host import Host

SCHEMA: Final = "adcp-compression/1"

# Old values in reports, accepted for one version.
_RENAMED_VALUES = {
    "quantised": "quantized",
    "crowding": "object_density",
    "turning": "steering_magnitude",
}


def _present_value(value: Any) -> Any:
    return _RENAMED_VALUES.get(value, value) if isinstance(value, str) else value


class Pair(StrictModel):
    """A figure of baseline and variant."""

    baseline: Figure = None
    variant: Figure = None
    ratio: Figure = Field(default=None, description="variant / baseline")


class Runner(StrictModel):
    """One of the two files, with the runtime that executes it."""

    name: str = Field(description="the variant's name in the manifest")
    sha256: str = Field(description="of the file")
    backend: str = Field(description="runtime")
    provider: str = Field(description="device or execution provider that ran it")
    precision: str = Field(
        description="of convolutions and matrix products as executed: fp32, bf16, fp16, int8 or mixed"
    )
    threads: Count = Field(description="inside one inference; 0: the runtime's choice")
    options: dict[str, Any] = Field(default_factory=dict, description="the runtime's own options")
    input_width: Count = Field(description="pixels")
    input_height: Count = Field(description="pixels")


class Gate(StrictModel):
    """Verdict of the accept gate."""

    renamed = {"words": "verdict_text"}

    verdict_text: str = Field(description="accepted, rejected(reason) or inconclusive(need more frames)")
    verdict: Verdict
    terms: dict[str, Any] = Field(default_factory=dict, description="the recipe's accept terms")


class Costs(StrictModel):
    """Costs of both: bytes on disk, bytes of memory, counted operations."""

    stored_bytes: Pair = Field(description="file as stored and transferred")
    file_bytes: Pair = Field(description="file the runtime reads")
    loaded_bytes: Pair = Field(description="memory after loading, in a process of its own")
    running_bytes: Pair = Field(description="memory after a first inference")
    peak_bytes: Pair = Field(description="peak memory while loading and running")
    macs: Pair = Field(description="multiply-accumulates of one inference, counted on the file")
    parameters: Pair = Field(description="elements of weights, biases and other float constants")


class Coverage(StrictModel):
    """Convolutions and matrix products of the graph that the runtime executes."""

    integer: Count = Field(description="how many run as integer kernels")
    compute: Count = Field(description="how many there are")
    share: Figure = Field(default=None, description="integer / compute; null without any")
    precisions: dict[str, Count] = Field(default_factory=dict, description="precision to count")


class Timing(StrictModel):
    """Times of one stage of both, measured interleaved on the same frames."""

    baseline_p50_ms: Figure = Field(default=None, description="median")
    baseline_p99_ms: Figure = Field(default=None, description="99th percentile")
    variant_p50_ms: Figure = Field(default=None, description="median")
    variant_p99_ms: Figure = Field(default=None, description="99th percentile")
    speedup_p50: Interval = Field(
        description="baseline / variant of the medians; above 1 the variant is faster"
    )
    speedup_p99: Interval | None = Field(default=None, description="of the 99th percentiles")


class Latency(StrictModel):
    """Latency of both."""

    renamed = {"whole": "end_to_end"}

    frames: Count = Field(description="pairs of measurements")
    infer: Timing = Field(description="inference alone")
    end_to_end: Timing = Field(description="from camera frame to result: prepare, infer, decode")


class AgreementSlice(StrictModel):
    """Agreement on a tenth of the frames that is harder than the rest."""

    renamed = {"trait": "attribute"}

    name: str
    title: str = Field(description="as text")
    attribute: Annotated[str, BeforeValidator(_present_value)] = Field(
        description="attribute that the frames were ordered by"
    )
    frames: Count
    score: Figure = Field(default=None, description="agreement, 0..1")
    drop: Interval = Field(description="1 - agreement")


class PartAgreement(StrictModel):
    """Agreement on a part of what is compared: a label, a class of object sizes, a band of distances."""

    name: str
    frames: Count = Field(description="frames on which either side has something of it")
    drop: Interval = Field(description="1 - agreement; of a label 1 - IoU or 1 - F1")


class OutputAgreement(StrictModel):
    """One output of a model whose outputs nothing decodes, against the baseline's."""

    name: str = Field(description="of the output; several that make one table of rows are joined by +")
    compared_as: Literal["numbers", "whole numbers", "rows"]
    shape: str = Field(description="as text")
    channels: Count
    judged_channels: Count = Field(description="channels that have a limit of their own")
    drop: Interval = Field(description="noise to signal of its worst part; null where it never changes")
    worst_part: str = Field(default="", description="that part; empty where it is the only one")
    sqnr_of_worst_db: Interval = Field(description="the same in decibels; null without any noise")
    sqnr_db: Figure = Field(default=None, description="of all elements together, decibels")
    cosine: Figure = Field(default=None, description="cosine similarity of all elements of all frames")
    largest_error: Figure = Field(default=None, description="as a share of the baseline's range")
    equal_share: Figure = Field(default=None, description="whole numbers: share of equal elements")
    is_constant: bool = Field(default=False, description="whether the baseline's is the same on all frames")


class Agreement(StrictModel):
    """The variant's results against the baseline's on held-out frames without labels."""

    renamed = {"telling_frames": "informative_frames"}

    measure: str = Field(description="name of the measure that the gate uses")
    score: Figure = Field(default=None, description="agreement, 0..1")
    drop: Interval = Field(description="1 - agreement")
    strict_measure: str = Field(default="", description="name of the strict measure, which is not gated")
    strict_score: Figure = Field(default=None, description="its value, 0..1")
    frames: Count = Field(description="frames compared")
    informative_frames: Count = Field(description="those on which the baseline is informative")
    failed_frames: Count = Field(description="frames on which the variant gave no result")
    difference_unit: str = Field(description="measure that frames are ranked by")
    details: dict[str, Plain] = Field(default_factory=dict, description="the task's other figures")
    slices: list[AgreementSlice] = Field(default_factory=list)
    worst_slice: str | None = Field(default=None, description="name of the slice with the largest drop")
    labels: list[PartAgreement] = Field(
        default_factory=list,
        description="segmentation, classification: informative labels, raw: the worst informative channels, "
        "each with a limit of its own",
    )
    outputs: list[OutputAgreement] = Field(default_factory=list, description="raw: each output")
    sizes: list[PartAgreement] = Field(default_factory=list, description="detection: by size of the object")
    distances: list[PartAgreement] = Field(
        default_factory=list, description="by distance, where the recipe gives the camera"
    )


class LabeledFigure(StrictModel):
    """One accuracy metric of both."""

    baseline: Interval
    variant: Interval
    drop: Interval = Field(description="how much worse the variant is, paired by frame")
    unit: Literal["points", "percent"] = Field(
        description="points: 100 times the difference; percent: of the baseline's error"
    )


class AccuracySlice(StrictModel):
    """Accuracy on a tenth of the labeled frames that is harder than the rest."""

    renamed = {"trait": "attribute"}

    name: str
    title: str = Field(description="as text")
    attribute: Annotated[str, BeforeValidator(_present_value)] = Field(
        description="attribute that the frames were ordered by"
    )
    frames: Count
    figures: dict[str, LabeledFigure]


class Accuracy(StrictModel):
    """Both against the labels."""

    data: str = Field(description="where the labeled frames come from")
    frames: Count
    metric: str = Field(description="metric that the gate uses")
    figures: dict[str, LabeledFigure] = Field(description="name to figure")
    slices: list[AccuracySlice] = Field(default_factory=list)
    worst_slice: str | None = Field(default=None, description="slice with the largest drop of the metric")
    settings: dict[str, Any] = Field(default_factory=dict, description="detection: of the decoder")
    resamples: Count = Field(description="bootstrap resamples of each interval")
    block_length: Count = Field(description="neighboring frames resampled together")
    notes: list[str] = Field(default_factory=list, description="notes for the reader, in sentences")


class Head(StrictModel):
    """One task of a model with several heads, judged by itself."""

    task: TaskName
    terms: dict[str, Any] = Field(default_factory=dict, description="accept terms of this head")
    agreement: Agreement
    accuracy: Accuracy | None = Field(default=None, description="null without labeled data of this head")


class Layer(StrictModel):
    """One convolution or matrix product, in the order of execution."""

    name: str
    operator: str
    kind: Annotated[Literal["quantized", "weights only", "float"], BeforeValidator(_present_value)]
    sqnr_db: Figure = Field(default=None, description="signal to noise ratio of its output, decibels")
    why_float: str | None = Field(default=None, description="why it stays in float")


class PassReport(StrictModel):
    """What one pass did."""

    name: str
    seconds: float
    nodes_before: Count
    nodes_after: Count
    notes: dict[str, Plain] = Field(default_factory=dict, description="facts that the pass recorded")


class GraphOptimization(StrictModel):
    """Effect of the graph optimization that the recipe begins with, which leaves the outputs as they are."""

    passes: list[str]
    nodes_before: Count
    nodes_after: Count
    speedup: Interval = Field(description="baseline / optimized graph, inference on the baseline's runtime")
    rounds: Count = Field(description="pairs of measurements")


class WorstImage(StrictModel):
    """A frame on which the two differ most."""

    file: str = Field(description="image beside the report")
    place: Count = Field(description="index among the compared frames")
    stamp_ns: int = Field(description="source stamp")
    difference: Figure = Field(default=None, description="null where the variant gave no result")
    caption: str


class FrameSeries(StrictModel):
    """Every compared frame in temporal order; lists of equal length."""

    renamed = {
        "crowding": "object_density",
        "turning": "steering_magnitude",
        "baseline_whole_ms": "baseline_end_to_end_ms",
        "variant_whole_ms": "variant_end_to_end_ms",
    }

    stamp_ns: list[int] = Field(default_factory=list)
    difference: list[Figure] = Field(default_factory=list, description="null: the variant gave no result")
    brightness: list[Figure] = Field(default_factory=list, description="mean luma, 0..255")
    object_density: list[Figure] = Field(default_factory=list, description="objects, or share of label edges")
    steering_magnitude: list[Figure] = Field(default_factory=list, description="steering-wheel angle, rad")
    baseline_ms: list[Figure] = Field(default_factory=list, description="inference")
    variant_ms: list[Figure] = Field(default_factory=list, description="inference")
    baseline_end_to_end_ms: list[Figure] = Field(default_factory=list, description="frame to result")
    variant_end_to_end_ms: list[Figure] = Field(default_factory=list, description="frame to result")


class Provenance(StrictModel):
    """Where the variant comes from; the manifest and the model file hold the same."""

    source_sha256: str = Field(description="of the baseline's file")
    recipe: str = Field(description="the recipe's name")
    recipe_sha256: str
    recipe_text: str
    calibration: CalibrationRecord
    verification_source: str
    verification_frames: Count
    frames: FrameAccount | None = Field(
        default=None, description="frames of the source that were asked for, read and left out"
    )


class Stored(StrictModel):
    """Where ``adcp compress`` stored the variant."""

    manifest: str = Field(description="model.yaml with the new entry")
    file: str = Field(description="the variant's file")
    report: str = Field(description="report.json, beside the plots and images")
    recipe: str = Field(description="the recipe's file")
    replaced: bool = Field(description="whether an earlier variant of that name was replaced")
    seconds: float = Field(description="how long it all took")


class CompressionReport(Document):
    """Report of one compression."""

    renamed = {"clean_up": "graph_optimization"}
    indent = 1

    schema_: Literal["adcp-compression/1"] = field_of_kind(SCHEMA)
    created: str = Field(description="when it was written, ISO 8601 with time zone")
    model: str
    task: TaskName
    gate: Gate
    baseline: Runner
    variant: Runner
    costs: Costs
    coverage: Coverage
    latency: Latency
    agreement: Agreement
    accuracy: Accuracy | None = Field(default=None, description="null without labeled data")
    heads: dict[str, Head] | None = Field(
        default=None,
        description="each head of a model with several, whose agreement is then that of the head that lost "
        "most; absent for a model with one task",
    )
    layers: list[Layer] = Field(default_factory=list, description="empty where nothing was quantized")
    layer_frames: Count = Field(default=0, description="frames the layers were measured on")
    passes: list[PassReport]
    graph_optimization: GraphOptimization | None = Field(
        default=None, description="null where the recipe begins with no such pass"
    )
    worst_frames: list[WorstImage] = Field(default_factory=list, description="largest difference first")
    frames: FrameSeries = Field(default_factory=FrameSeries)
    provenance: Provenance
    host: Host
    notes: list[str] = Field(default_factory=list, description="notes for the reader, in sentences")
    files: list[str] = Field(default_factory=list, description="files beside the report")
    stored: Stored | None = Field(
        default=None, description="with --json: where the results are; null in the file, which may be moved"
    )

    def to_json(self, indent: int | None = -1) -> str:
        """Return the document as JSON text; ``heads`` only of a model that has some."""
        return self.model_dump_json(
            by_alias=True,
            indent=self.indent if indent == -1 else indent,
            exclude={"heads"} if self.heads is None else None,
        )


def verdict_text(verdict: Verdict) -> str:
    """Return the verdict as text."""
    if verdict.status == "rejected":
        return f"rejected({'; '.join(verdict.reasons)})"
    return "inconclusive(need more frames)" if verdict.status == "inconclusive" else "accepted"
