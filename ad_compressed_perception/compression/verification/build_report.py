# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the report of a compression from its findings, and writes the report's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2

from ad_compressed_perception.analysis.costs import file_costs
from ad_compressed_perception.analysis.sizes import Sizes
from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.compression.pass_runner import Samples
from ad_compressed_perception.compression.quantization.layer_report import LAYER_FRAMES
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.coverage import IntegerCoverage
from ad_compressed_perception.compression.verification.difference_images import Snapshots
from ad_compressed_perception.compression.verification.frame_log import FrameLog
from ad_compressed_perception.compression.verification.graph_optimization_speedup import (
    GraphOptimizationSpeedup,
)
from ad_compressed_perception.compression.verification.heads_score import HeadsScore
from ad_compressed_perception.compression.verification.labeled_check import LabeledCheck
from ad_compressed_perception.compression.verification.report_figures import (
    accuracy_section,
    agreement_section,
    latency_section,
)
from ad_compressed_perception.compression.verification.rerender import render_into
from ad_compressed_perception.compression.verification.scores import AgreementScore
from ad_compressed_perception.compression.verification.task_scores import accept_of_head
from ad_compressed_perception.compression.verification.verify import Verification
from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import CalibrationRecord, Manifest, Variant, Verdict
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.image.decode import to_bgr8
from ad_compressed_perception.onnx_graph.costs import ModelCosts
from ad_compressed_perception.pass_api.terms import AcceptSpec
from ad_compressed_perception.report.difference import difference_image
from ad_compressed_perception.report.host import describe_host
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas import compression as schema

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
        labeled_heads: of a model with several heads: accuracy of those with labeled data.
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
    layers: Sequence[schema.Layer]
    passes: Sequence[schema.PassReport]
    snapshots: Snapshots
    graph_optimization: GraphOptimizationSpeedup | None
    notes: Sequence[str] = ()
    labeled_heads: Mapping[str, LabeledCheck] = field(default_factory=dict)


def write_report_folder(found: Findings, entry: Variant, folder: Path) -> schema.CompressionReport:
    """Write report.json, report.md, plots and images into a folder and return the report.

    Raises:
        DataError: an image cannot be encoded, or a file cannot be written.
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
    source, verification = found.samples.verification.source, found.verification
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
        coverage=copied(schema.Coverage, found.coverage),
        latency=latency_section(verification.latency, len(found.log.stamps_ns)),
        agreement=agreement_section(verification, found.score.difference_unit),
        accuracy=None if found.labeled is None else accuracy_section(found.labeled),
        heads=_heads(found),
        layers=list(found.layers),
        layer_frames=LAYER_FRAMES if found.layers else 0,
        passes=list(found.passes),
        graph_optimization=_graph_optimization(found),
        worst_frames=list(worst),
        frames=_series(found),
        provenance=schema.Provenance(
            source_sha256=entry.provenance["source_sha256"],
            recipe=spec.name,
            recipe_sha256=found.recipe.sha256,
            recipe_text=found.recipe.text,
            calibration=entry.calibration or CalibrationRecord(source="", sha256="", frames=1),
            verification_source=source.describe,
            verification_frames=len(found.samples.verification),
            frames=source.account(),
        ),
        host=describe_host(),
        notes=[*found.notes, *source.account().sentences()],
    )


def _heads(found: Findings) -> dict[str, schema.Head] | None:
    """Return the figures of each head; None of a model with one task."""
    if found.manifest.outputs is None or not isinstance(found.score, HeadsScore):
        return None
    accept, checks = found.recipe.recipe.accept, found.labeled_heads
    return {
        name: schema.Head(
            task=spec.task,
            terms=_terms(spec.task, accept_of_head(accept, found.manifest, name), checks.get(name)),
            agreement=agreement_section(
                found.verification.of_head(name), found.score.heads[name].difference_unit
            ),
            accuracy=accuracy_section(checks[name]) if name in checks else None,
        )
        for name, spec in found.manifest.outputs.items()
    }


def _terms(task: str, accept: AcceptSpec, labeled: LabeledCheck | None) -> dict[str, Any]:
    terms = accept.model_dump(exclude_none=True)
    if task in ("segmentation", "classification", RAW):
        terms["max_label_drop"] = accept.label_limit
    if labeled is not None and accept.max_accuracy_drop is not None:
        terms["accuracy_metric"] = labeled.labeled.metric
    return terms


def _runner(found: Findings, which: int, entry: Variant) -> schema.Runner:
    spec = (found.manifest, found.changed)[which].input
    return copied(
        schema.Runner,
        found.infos[which],
        name=(found.manifest.baseline, found.name)[which],
        sha256=entry.sha256,
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


def _graph_optimization(found: Findings) -> schema.GraphOptimization | None:
    optimized, speed = found.snapshots.optimized, found.graph_optimization
    if optimized is None or speed is None:
        return None
    return schema.GraphOptimization(
        passes=found.snapshots.cleaners,
        nodes_before=found.passes[0].nodes_before,
        nodes_after=optimized.nodes,
        speedup=speed.ratio,
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
        name: [round(value, _DIGITS) for value in values] for name, values in columns.items()
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
