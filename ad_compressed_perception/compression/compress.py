# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compression end to end: baseline, recipe and frames in; a verified variant with its verdict out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.analysis.output_plausibility import check_outputs, choose_evenly
from ad_compressed_perception.analysis.processor import host_record
from ad_compressed_perception.analysis.sizes import measure_both
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.stage_file import STAGED
from ad_compressed_perception.compression.drift_recording import (
    PREFIX,
    DriftRecording,
    choose_consecutive,
    record_references,
)
from ad_compressed_perception.compression.pass_runner import (
    Samples,
    choose_samples,
    exported_file,
    run_passes,
)
from ad_compressed_perception.compression.quantization.layer_report import (
    float_layers_text,
    measure_variant_layers,
)
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.advice import with_advice
from ad_compressed_perception.compression.verification.build_report import Findings, write_report_folder
from ad_compressed_perception.compression.verification.coverage import measure_coverage
from ad_compressed_perception.compression.verification.difference_images import Snapshots
from ad_compressed_perception.compression.verification.frame_log import FrameLog
from ad_compressed_perception.compression.verification.gate import decide
from ad_compressed_perception.compression.verification.graph_optimization_speedup import (
    measure_graph_optimization_speedup,
)
from ad_compressed_perception.compression.verification.head_labels import check_all, open_choices
from ad_compressed_perception.compression.verification.informative import refuse_uninformative
from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice, LabeledFrames
from ad_compressed_perception.compression.verification.mirror import mirror_warning
from ad_compressed_perception.compression.verification.outcome import (
    CompressionResult,
    figures_of_heads,
    gate_figures,
    manifest_figures,
)
from ad_compressed_perception.compression.verification.scores import AgreementScore
from ad_compressed_perception.compression.verification.task_scores import (
    check_terms,
    create_score,
)
from ad_compressed_perception.compression.verification.verify import verify
from ad_compressed_perception.core.host import HostInfo, read_host, tool_versions
from ad_compressed_perception.core.manifest import CalibrationRecord, Manifest, Variant, file_sha256
from ad_compressed_perception.core.model_files import STAGES_NAME, further_files
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.onnx_graph.io import (
    check_model,
    finish_model,
    read_model,
    refuse_suppression,
)
from ad_compressed_perception.onnx_graph.metadata import METADATA_KEY
from ad_compressed_perception.packing.packed_file import SUFFIX
from ad_compressed_perception.packing.packed_file_writer import pack
from ad_compressed_perception.report.schemas.compression import Layer, PassReport
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline, heads_of, open_pipeline
from ad_compressed_perception.workspace.stale_checkpoints import (
    discard_refused_checkpoints,
    remove_checkpoints,
)
from ad_compressed_perception.workspace.store import (
    content_hash,
    open_target,
    staging,
    store_variant,
    stored_name,
)

if TYPE_CHECKING:
    from onnx import ModelProto


def compress_model(
    manifest: Manifest,
    recipe: LoadedRecipe,
    source: str,
    *,
    frames: int | None = None,
    name: str | None = None,
    work: Path | None = None,
    in_place: bool = False,
    backend: str | None = None,
    labeled: LabeledChoice | None = None,
    max_bad_frames: BadFrameLimit | None = None,
    check_baseline: bool = True,
    progress: Progress = no_progress,
) -> CompressionResult:
    """Compress a model's baseline by a recipe, verify the result and store it with its verdict and report.

    Nothing is stored unless all of it succeeded; a variant that the gate rejects is stored and marked.

    Args:
        manifest: the model; its baseline must be an ONNX file.
        recipe: what to do.
        source: BAG, BAG:TOPIC or a folder of images, for calibration and for verification.
        frames: frames to calibrate on; None for the recipe's number.
        name: the variant's name; None for the recipe's.
        work: work folder; None for ``$ADCP_WORK`` or ``./adcp_work``.
        in_place: store in the model's own folder instead.
        backend: runs the variant instead of the recipe's; the recipe's backend options are then not used.
        labeled: labeled data to measure accuracy on; None for none.
        max_bad_frames: how many frames may be left out because they cannot be read; None for the recipe's
            limit.
        check_baseline: whether a baseline without information on the frames is refused where there are no
            labels; else the verdict is inconclusive.
        progress: called with the step, see core.progress.

    Raises:
        AdcpError: anything wrong with the model, recipe, frames or folders; one line.
    """
    start = perf_counter()
    recipe.require_runnable(backend)
    chosen = recipe.recipe.name if name is None else name
    target = open_target(manifest, work, in_place, chosen)
    score = create_score(manifest, recipe.recipe.verify)
    check_terms(manifest, recipe.recipe.verify, recipe.recipe.accept)
    labels = open_choices(manifest, recipe, labeled)
    job = _job(
        manifest, recipe, chosen, choose_samples(recipe, source, frames, max_bad_frames, manifest), backend
    )
    model = job.read()
    baseline = open_pipeline(manifest, manifest.baseline, options=job.baseline_options)
    try:
        shown = job.samples.verification
        check_outputs(baseline, shown.source.frames(choose_evenly(shown.indices)), shown.source.describe)
        if check_baseline and labeled is None:
            refuse_uninformative(baseline, manifest, shown, partial(progress, "baseline"))
        warnings = [
            warning
            for head, one in heads_of(baseline).items()
            if head not in labels and (warning := mirror_warning(one, one.task.manifest, shown))
        ]
        with staging(target.folder) as scratch:
            checkpoints = checkpoint_folder(target, chosen, recipe, job.samples, job.backend)
            with discard_refused_checkpoints(checkpoints):
                built = _build(job, model, scratch, checkpoints, progress)
            found = _examine(job, built, baseline, score, labels, scratch, progress)
            recording = _record_drift(job, built, baseline, progress)
            notes = [*warnings, *([recording.line] if recording.line else [])]
            found = replace(found, notes=[*notes, *found.notes])
            entry = _entry(job, built, found)
            report = write_report_folder(found, entry, scratch / "report")
            progress("report", 3, 3)
            replaced = store_variant(
                target, chosen, entry, built.path, scratch / "report", recording.references
            )
            remove_checkpoints(checkpoints.parent, chosen)
    finally:
        baseline.close()
    return CompressionResult(
        target, chosen, replaced, recipe, job.samples.calibration.source.describe, built.passes,
        found.coverage, found.verification, *found.sizes, perf_counter() - start, report,
    )  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """The compression to do: file, recipe, frames and runtime.

    Attributes:
        source: the baseline's file.
        backend, options: of the variant, or of each of its stages.
        baseline_options: backend options of the baseline while it is compared with the variant.
    """

    manifest: Manifest
    recipe: LoadedRecipe
    name: str
    samples: Samples
    source: Path
    backend: str
    options: Mapping[str, Any]
    baseline_options: Mapping[str, Any]

    def read(self) -> ModelProto:
        """Return the baseline's graph; errors of its file are clearer from here than from a runtime."""
        model = read_model(self.source)
        # Of task raw, outputs may vary in length: they are compared as rows.
        decoder = create_task(self.manifest).decoder
        if self.manifest.task != RAW and getattr(decoder, "needs_nms", True):
            refuse_suppression(model, self.source)
        return model


@dataclass(frozen=True)
class _Built:
    """The file that the passes made, what it runs on, and records and notes for the report."""

    path: Path
    backend: str
    options: Mapping[str, Any]
    changed: Manifest
    passes: list[PassReport]
    snapshots: Snapshots
    layers: Sequence[Layer]
    notes: Sequence[str]
    provenance: dict[str, Any]


def _job(manifest: Manifest, recipe: LoadedRecipe, name: str, samples: Samples, backend: str | None) -> _Job:
    runtime = backend or recipe.recipe.backend
    options = recipe.recipe.options if runtime == recipe.recipe.backend else {}
    # The same threads for both, whatever the recipe gives the variant.
    threads = {key: options[key] for key in ("threads",) if key in options}
    baseline_options = {**manifest.variant(manifest.baseline).options, **threads}
    source = manifest.checked_path(manifest.baseline, allow_rejected=True)
    return _Job(manifest, recipe, name, samples, source, runtime, options, baseline_options)


def _build(job: _Job, model: ModelProto, scratch: Path, checkpoints: Path, progress: Progress) -> _Built:
    """Apply the recipe's passes to the graph and write the file."""
    host, snapshots = read_host(), Snapshots()
    records, model, changed = run_passes(
        model, job.recipe, job.manifest, job.samples, host, scratch, checkpoints, progress,
        runtime=(job.backend, job.options), snapshots=snapshots,
    )  # fmt: skip
    progress("layers", 0, 1)
    layers, notes = measure_variant_layers(snapshots, job.samples.verification, records)
    metadata = {METADATA_KEY: float_layers_text(model, layers)} if layers else {}
    progress("layers", 1, 1)
    provenance = _provenance(job.manifest, job.recipe, job.samples, host)
    suffix = SUFFIX if job.recipe.recipe.store == "packed" else ".onnx"
    path = exported_file(scratch) or _write(model, provenance, metadata, scratch / f"variant{suffix}")
    backend, options = job.backend, job.options
    if path.is_dir():
        path, backend, options = path / STAGES_NAME, STAGED, {}
    notes = [*(record.notes["summary"] for record in records if "summary" in record.notes), *notes]
    return _Built(path, backend, options, changed, records, snapshots, layers, notes, provenance)


def _examine(
    job: _Job,
    built: _Built,
    baseline: Pipeline,
    score: AgreementScore,
    labels: Mapping[str, LabeledFrames],
    scratch: Path,
    progress: Progress,
) -> Findings:
    """Compare the file with the baseline: results, times, sizes and, with labeled data, accuracy."""
    log, frames = FrameLog(), job.samples.verification
    progress("load", 0, 1)
    variant = _load(built, job.name)
    try:
        coverage = measure_coverage(variant.session)
        progress("load", 1, 1)
        verification = verify(baseline, variant, frames, score, partial(progress, "verify"), log)
        checks = check_all(baseline, variant, labels, partial(progress, "labeled data"))
        info = variant.session.info
    finally:
        variant.close()
    progress("report", 0, 3)
    baseline_backend = job.manifest.variant(job.manifest.baseline).backend
    sizes = measure_both(
        (job.source, baseline_backend, job.baseline_options), (built.path, built.backend, built.options)
    )
    progress("report", 1, 3)
    optimized = built.snapshots.optimized
    graph_optimization = (
        None
        if optimized is None
        else measure_graph_optimization_speedup(baseline, optimized, job.baseline_options, frames, scratch)
    )
    progress("report", 2, 3)
    return Findings(
        manifest=job.manifest,
        changed=built.changed,
        name=job.name,
        recipe=job.recipe,
        samples=job.samples,
        verification=verification,
        score=score,
        log=log,
        labeled=checks.pop("", None),
        labeled_heads=checks,
        coverage=coverage,
        sizes=sizes,
        files=(job.source, built.path),
        infos=(baseline.session.info, info),
        layers=built.layers,
        passes=built.passes,
        snapshots=built.snapshots,
        graph_optimization=graph_optimization,
        notes=built.notes,
    )


def _record_drift(job: _Job, built: _Built, baseline: Pipeline, progress: Progress) -> DriftRecording:
    """Record drift references of baseline and variant; a model of task raw has no node, and none."""
    if job.manifest.task == RAW:
        return DriftRecording("")
    if job.manifest.outputs is not None:
        return DriftRecording(f"{PREFIX} none, there is none yet for models with several heads")
    indices = choose_consecutive(job.samples)
    if isinstance(indices, DriftRecording):
        return indices
    variant = _load(built, job.name)
    try:
        name = job.manifest.baseline
        return record_references(
            job.samples.calibration.source,
            indices,
            {
                name: (baseline, job.manifest.variant(name).sha256),
                job.name: (variant, file_sha256(built.path)),
            },
            partial(progress, "drift reference"),
        )
    finally:
        variant.close()


def _entry(job: _Job, built: _Built, found: Findings) -> Variant:
    """Return the manifest's entry with the gate's verdict."""
    accuracy = None if found.labeled is None else found.labeled.gate_drop
    samples, manifest, changed = job.samples, job.manifest, built.changed
    return Variant(
        file=stored_name(job.name, built.path),
        sha256=file_sha256(built.path),
        files={name: file_sha256(built.path.parent / name) for name in sorted(further_files(built.path))},
        backend=built.backend,
        options=dict(built.options),
        precision=found.infos[1].precision,
        derived_from=manifest.baseline,
        recipe=job.recipe.recipe.name,
        calibration=CalibrationRecord(
            source=samples.calibration.source.describe,
            sha256=samples.sha256,
            frames=len(samples.calibration),
        ),
        verdict=with_advice(
            decide(
                job.recipe.recipe.accept,
                gate_figures(
                    found.verification,
                    found.coverage,
                    found.sizes,
                    accuracy,
                    figures_of_heads(job.recipe.recipe.accept, job.manifest, found.labeled_heads),
                ),
            ),
            job.recipe,
            built.snapshots,
            built.layers,
            samples.verification,
        ),
        input=changed.input if changed.input != manifest.input else None,
        output=changed.output if changed.output != manifest.output else None,
        outputs=changed.outputs if changed.outputs != manifest.outputs else None,
        figures=manifest_figures(found.verification, found.coverage, found.sizes, built.passes, accuracy),
        provenance=built.provenance,
    )


def checkpoint_folder(
    target: Manifest, name: str, recipe: LoadedRecipe, samples: Samples, backend: str | None = None
) -> Path:
    """Return the folder of the checkpoints of exactly this model, recipe, runtime and choice of frames.

    Args:
        target: the model; its input and output decide what is trained, too.
        name: the variant's.
        recipe: what is done.
        samples: the frames.
        backend: times the layers in place of the recipe's; None for that one.
    """
    parts = [content_hash(target, target.baseline), recipe.sha256, samples.sha256]
    parts += [target.input.model_dump_json(), target.output.model_dump_json(), *target.labels]
    parts += [head.model_dump_json() for head in (target.outputs or {}).values()]
    key = hashlib.sha256(json.dumps([*parts, backend or recipe.recipe.backend]).encode()).hexdigest()
    return target.folder / "checkpoints" / f"{name}-{key[:12]}"


def _provenance(manifest: Manifest, recipe: LoadedRecipe, samples: Samples, host: HostInfo) -> dict[str, Any]:
    return {
        "source_sha256": manifest.variant(manifest.baseline).sha256,
        "recipe_sha256": recipe.sha256,
        "recipe_text": recipe.text,
        "calibration_sha256": samples.sha256,
        "versions": tool_versions(),
        "host": host_record(host),
    }


def _write(model: ModelProto, provenance: dict[str, Any], metadata: dict[str, str], path: Path) -> Path:
    """Write the finished model with its provenance as metadata; raise ModelFileError where it is invalid."""
    origin = {
        f"adcp.{key}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in provenance.items()
    }
    finish_model(model, {**origin, **metadata})
    check_model(model, "the compressed model")
    if path.suffix == SUFFIX:
        pack(model, path)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _load(built: _Built, name: str) -> Pipeline:
    session = create_backend(built.backend).load(built.path, built.options)
    try:
        return Pipeline(create_task(built.changed), session, name)
    except BaseException:
        session.close()
        raise
