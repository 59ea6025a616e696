# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the report of a compression from its findings, and writes the report's folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ad_compressed_perception.analysis.costs import file_costs
from ad_compressed_perception.analysis.evaluate import Figure
from ad_compressed_perception.analysis.sizes import Sizes
from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.compression.pass_runner import PassRecord, Samples
from ad_compressed_perception.compression.quantization.layer_report import LAYER_FRAMES
from ad_compressed_perception.compression.quantization.layer_sqnr import LayerSqnr
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.coverage import IntegerCoverage
from ad_compressed_perception.compression.verification.difference_images import Snapshots
from ad_compressed_perception.compression.verification.frame_log import FrameLog
from ad_compressed_perception.compression.verification.gate import AccuracyDrop
from ad_compressed_perception.compression.verification.graph_optimization_speedup import (
    GraphOptimizationSpeedup,
)
from ad_compressed_perception.compression.verification.labeled_check import AccuracyComparison, LabeledCheck
from ad_compressed_perception.compression.verification.output_figures import OutputFigures
from ad_compressed_perception.compression.verification.rerender import render_into
from ad_compressed_perception.compression.verification.scores import AgreementScore
from ad_compressed_perception.compression.verification.verify import LatencyFigures, Verification
from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import CalibrationRecord, Manifest, Variant, Verdict
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.image.decode import to_bgr8
from ad_compressed_perception.onnx_graph.costs import ModelCosts
from ad_compressed_perception.pass_api.terms import AcceptSpec
from ad_compressed_perception.report import compression_schema as schema
from ad_compressed_perception.report.difference import difference_image
from ad_compressed_perception.report.host import describe_host

_DIGITS = 6


@dataclass(frozen=True)
class Findings:
    """The data of the report, besides the frames' images.

    Attributes:
        manifest: of the model.
        changed: the manifest with the variant's input and output.
        name: the variant's name.
        recipe: the recipe applied.
        samples: the frames.
        verification: agreement and times.
        score: computes the agreement on any choice of frames.
        log: attributes of the frames, and the frames that differ most.
        labeled: accuracy on labeled data; None without.
        coverage: of the executed graph.
        sizes: of baseline and variant.
        files: of baseline and variant.
        infos: of the loaded models, by their runtimes.
        layers: SQNR of each; empty where nothing was quantized.
        passes: record of each.
        snapshots: of the model between passes.
        graph_optimization: its speed-up; None where it was not measured.
        notes: for the reader, in sentences.
    """

    manifest: Manifest
    changed: Manifest
    name: str
    recipe: LoadedRecipe
    samples: Samples
    verification: Verification
    score: AgreementScore
    log: FrameLog
    labeled: LabeledCheck | None
    coverage: IntegerCoverage
    sizes: tuple[Sizes, Sizes]
    files: tuple[Path, Path]
    infos: tuple[SessionInfo, SessionInfo]
    layers: Sequence[LayerSqnr]
    passes: Sequence[PassRecord]
    snapshots: Snapshots
    graph_optimization: GraphOptimizationSpeedup | None
    notes: Sequence[str] = ()


def write_report_folder(found: Findings, entry: Variant, folder: Path) -> schema.CompressionReport:
    """Write report.json, report.md, plots and images into a folder and return the report.

    Raises:
        DataError: an image cannot be encoded.
        OSError: the disk is full, or the folder cannot be written to.
    """
    folder.mkdir()
    worst = _write_images(found, folder)
    report = build_report(found, entry, worst)
    return render_into(report, folder)


def build_report(
    found: Findings, entry: Variant, worst: Sequence[schema.WorstImage] = ()
) -> schema.CompressionReport:
    """Return the report without its list of files.

    Args:
        found: the data of the report.
        entry: the manifest's new entry.
        worst: the images already written.
    """
    verdict, spec = entry.verdict or Verdict(status="inconclusive"), found.recipe.recipe
    calibration = entry.calibration or CalibrationRecord(source="", sha256="", frames=1)
    return schema.CompressionReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=found.manifest.name,
        task=found.manifest.task,
        gate=schema.Gate(
            verdict_text=schema.verdict_text(verdict),
            verdict=verdict,
            terms=_terms(found.manifest.task, spec.accept, found.labeled),
        ),
        baseline=_runner(found, 0, found.manifest.variant(found.manifest.baseline)),
        variant=_runner(found, 1, entry),
        costs=_costs(found),
        coverage=schema.Coverage(
            integer=found.coverage.integer,
            compute=found.coverage.compute,
            share=found.coverage.share,
            precisions=found.coverage.precisions,
        ),
        latency=_latency(found.verification.latency, len(found.log.stamps_ns)),
        agreement=_agreement(found),
        accuracy=None if found.labeled is None else _accuracy(found.labeled),
        layers=[schema.Layer.model_validate(asdict(layer)) for layer in found.layers],
        layer_frames=LAYER_FRAMES if found.layers else 0,
        passes=[schema.PassReport.model_validate(_plain(asdict(record))) for record in found.passes],
        graph_optimization=_graph_optimization(found),
        worst_frames=list(worst),
        frames=_series(found),
        provenance=schema.Provenance(
            source_sha256=entry.provenance["source_sha256"],
            recipe=spec.name,
            recipe_sha256=found.recipe.sha256,
            recipe_text=found.recipe.text,
            calibration=calibration,
            verification_source=found.samples.verification.source.describe,
            verification_frames=len(found.samples.verification),
            frames=found.samples.verification.source.account(),
        ),
        host=describe_host(),
        notes=[*found.notes, *found.samples.verification.source.account().sentences()],
    )


def _terms(task: str, accept: AcceptSpec, labeled: LabeledCheck | None) -> dict[str, Any]:
    terms = accept.model_dump(exclude_none=True)
    if task in ("segmentation", "classification", RAW):
        terms["max_label_drop"] = accept.label_limit
    if labeled is not None and accept.max_accuracy_drop is not None:
        terms["accuracy_metric"] = labeled.labeled.metric
    return terms


def _runner(found: Findings, which: int, entry: Variant) -> schema.Runner:
    info, spec = found.infos[which], (found.manifest, found.changed)[which].input
    return schema.Runner(
        name=(found.manifest.baseline, found.name)[which],
        sha256=entry.sha256,
        backend=info.backend,
        provider=info.provider,
        precision=info.precision,
        threads=info.threads,
        options=entry.options,
        input_width=spec.width,
        input_height=spec.height,
    )


def _costs(found: Findings) -> schema.Costs:
    one, other = (_counted(file, found, which) for which, file in enumerate(found.files))
    sizes = {
        key: _pair(getattr(found.sizes[0], key), getattr(found.sizes[1], key))
        for key in ("stored_bytes", "file_bytes", "loaded_bytes", "running_bytes", "peak_bytes")
    }
    return schema.Costs(
        **sizes,
        macs=_pair(*(None if side is None else side.macs or None for side in (one, other))),
        parameters=_pair(*(None if side is None else side.parameters for side in (one, other))),
    )


def _counted(file: Path, found: Findings, which: int) -> ModelCosts | None:
    spec = (found.manifest, found.changed)[which].input
    try:
        return file_costs(file, {spec.name: spec.shape} if spec.name else {})
    except AdcpError:  # not an ONNX file: nothing to count
        return None


def _pair(baseline: float | None, variant: float | None) -> schema.Pair:
    ratio = variant / baseline if baseline and variant is not None else None
    return schema.Pair(baseline=baseline, variant=variant, ratio=ratio)


def _latency(found: LatencyFigures, frames: int) -> schema.Latency:
    infer = schema.Timing(
        baseline_p50_ms=found.baseline_p50_ms,
        baseline_p99_ms=found.baseline_p99_ms,
        variant_p50_ms=found.variant_p50_ms,
        variant_p99_ms=found.variant_p99_ms,
        speedup_p50=_interval(found.speedup_p50, found.speedup_p50_low, found.speedup_p50_high),
        speedup_p99=_interval(found.speedup_p99, found.speedup_p99_low, found.speedup_p99_high),
    )
    end_to_end = schema.Timing(
        baseline_p50_ms=found.baseline_end_to_end_p50_ms,
        variant_p50_ms=found.variant_end_to_end_p50_ms,
        speedup_p50=_interval(
            found.speedup_end_to_end_p50, found.speedup_end_to_end_p50_low, found.speedup_end_to_end_p50_high
        ),
    )
    return schema.Latency(frames=frames, infer=infer, end_to_end=end_to_end)


def _agreement(found: Findings) -> schema.Agreement:
    overall = found.verification.agreement
    slices = []
    for rule, part in found.verification.slices.items():
        slices.append(
            schema.AgreementSlice(
                name=rule.name,
                title=rule.title,
                attribute=rule.attribute,
                frames=part.frames,
                score=part.score,
                drop=_interval(part.drop, part.drop_low, part.drop_high),
            )
        )
    parts = {
        key: [
            schema.PartAgreement(
                name=one.name, frames=one.frames, drop=_interval(one.drop, one.low, one.high)
            )
            for one in getattr(overall, key)
        ]
        for key in ("labels", "sizes", "distances")
    }
    return schema.Agreement(
        measure=overall.measure,
        score=overall.score,
        drop=_interval(overall.drop, overall.drop_low, overall.drop_high),
        strict_measure=overall.strict_measure,
        strict_score=overall.strict_score,
        frames=overall.frames,
        informative_frames=overall.informative_frames,
        failed_frames=overall.failed_frames,
        difference_unit=found.score.difference_unit,
        details=_plain(overall.details),
        slices=slices,
        worst_slice=_worst({one.name: one.drop.value for one in slices}),
        outputs=[_output(one) for one in overall.outputs],
        **parts,
    )


def _output(one: OutputFigures) -> schema.OutputAgreement:
    shown = {
        key: getattr(one, key)
        for key in (
            *("name", "compared_as", "shape", "channels", "judged_channels", "sqnr_db", "cosine"),
            *("largest_error", "equal_share", "is_constant"),
        )
    }
    return schema.OutputAgreement(
        **_plain(shown),
        worst_part=one.worst,
        drop=_interval(one.drop, one.low, one.high),
        sqnr_of_worst_db=_interval(*_plain(one.sqnr_of_worst_db)),
    )


def _accuracy(check: LabeledCheck) -> schema.Accuracy:
    metric = check.labeled.metric
    slices = [
        schema.AccuracySlice(
            name=rule.name,
            title=rule.title,
            attribute=rule.attribute,
            frames=part.frames,
            figures=_figures(part),
        )
        for rule, part in check.slices.items()
    ]
    return schema.Accuracy(
        data=check.labeled.data.describe,
        frames=check.overall.frames,
        metric=metric,
        figures=_figures(check.overall),
        slices=slices,
        worst_slice=_worst({one.name: one.figures[metric].drop.value for one in slices}),
        settings=check.settings,
        resamples=check.resamples,
        block_length=check.block_length,
        notes=check.notes,
    )


def _figures(part: AccuracyComparison) -> dict[str, schema.LabeledFigure]:
    return {
        name: schema.LabeledFigure(
            baseline=_of_figure(part.baseline[name]),
            variant=_of_figure(part.variant[name]),
            drop=_interval(drop.value, drop.low, drop.high),
            unit=_unit(drop),
        )
        for name, drop in part.drop.items()
    }


def _unit(drop: AccuracyDrop) -> Any:
    return drop.unit


def _of_figure(figure: Figure) -> schema.Interval:
    return _interval(figure.value, figure.low, figure.high)


def _interval(value: float, low: float, high: float) -> schema.Interval:
    return schema.Interval(value=value, low=low, high=high)


def _worst(drops: dict[str, float | None]) -> str | None:
    known = {name: drop for name, drop in drops.items() if drop is not None}
    return max(known, key=lambda name: known[name]) if known else None


def _graph_optimization(found: Findings) -> schema.GraphOptimization | None:
    optimized, speed = found.snapshots.optimized, found.graph_optimization
    if optimized is None or speed is None:
        return None
    ratio = speed.ratio
    return schema.GraphOptimization(
        passes=found.snapshots.cleaners,
        nodes_before=found.passes[0].nodes_before,
        nodes_after=optimized.nodes,
        speedup=_interval(ratio.median, ratio.low, ratio.high),
        rounds=speed.rounds,
    )


def _series(found: Findings) -> schema.FrameSeries:
    log, times = found.log, found.verification.times
    columns = {
        "difference": log.differences,
        "brightness": log.brightness,
        "object_density": log.object_density,
        "steering_magnitude": log.steering_magnitude,
        **asdict(times),
    }
    rounded: dict[str, Any] = {
        name: [round(value, _DIGITS) if math.isfinite(value) else None for value in values]
        for name, values in columns.items()
    }
    return schema.FrameSeries(stamp_ns=log.stamps_ns, **rounded)


def _write_images(found: Findings, folder: Path) -> list[schema.WorstImage]:
    written = []
    names = (found.manifest.baseline, found.name)
    for number, one in enumerate(found.log.worst, start=1):
        caption = f"frame {one.place + 1} of {len(found.log.stamps_ns)}, stamp {one.frame.stamp_ns}"
        image = difference_image(to_bgr8(one.frame), one.baseline, one.variant, names=names, headline=caption)
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        if not done:
            raise DataError(f"cannot encode a {image.shape} image of the report")
        file = f"worst_{number}.jpg"
        (folder / file).write_bytes(data.tobytes())
        written.append(
            schema.WorstImage(
                file=file,
                place=one.place,
                stamp_ns=one.frame.stamp_ns,
                difference=one.difference,
                caption=caption,
            )
        )
    return written


def _plain(value: Any) -> Any:
    """Return plain values for JSON: no NaN, no numpy numbers, no tuples."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
