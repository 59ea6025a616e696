# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The whole way: baseline, recipe and frames in; a verified variant with its verdict out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.abandoned import remove_checkpoints, without_dead_ends
from ad_compressed_perception.compression.build_report import Findings, write_report_folder
from ad_compressed_perception.compression.clean_up_speed import measure_clean_up
from ad_compressed_perception.compression.coverage import measure_coverage
from ad_compressed_perception.compression.frame_log import FrameLog
from ad_compressed_perception.compression.gate import judge
from ad_compressed_perception.compression.labelled_check import LabelledChoice, check_labelled, open_choice
from ad_compressed_perception.compression.layer_report import float_layers_text, look_at_layers
from ad_compressed_perception.compression.onnx_file import (
    check_model,
    finish_model,
    read_model,
    refuse_suppression,
)
from ad_compressed_perception.compression.outcome import CompressionResult, gate_figures, manifest_figures
from ad_compressed_perception.compression.packed_file import SUFFIX, pack
from ad_compressed_perception.compression.passes.quantize_int8_mixed import METADATA_KEY
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.scores import create_score
from ad_compressed_perception.compression.sizes import measure_both
from ad_compressed_perception.compression.snapshots import Snapshots
from ad_compressed_perception.compression.steps import Progress, Samples, choose_samples, run_passes
from ad_compressed_perception.compression.verify import verify
from ad_compressed_perception.compression.workspace import open_target, staging, store_variant
from ad_compressed_perception.host import HostInfo, read_host, tool_versions
from ad_compressed_perception.manifest import CalibrationRecord, Manifest, Variant, file_sha256
from ad_compressed_perception.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.tasks import create_task

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
    labelled: LabelledChoice | None = None,
    progress: Progress = lambda step, done, total: None,
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
        labelled: labelled data to judge by as well; None for none.
        progress: told how far it is.

    Raises:
        AdcpError: anything wrong with the model, recipe, frames or folders; one line.
    """
    start = perf_counter()
    chosen = name or recipe.recipe.name
    target = open_target(manifest, work, in_place, chosen)
    score = create_score(manifest, recipe.recipe.verify)
    labels = open_choice(manifest, recipe, labelled)
    samples = choose_samples(recipe, source, frames)
    # Before a runtime sees the file: what is wrong with it is told better here.
    source_path = manifest.checked_path(manifest.baseline, allow_rejected=True)
    model = read_model(source_path)
    refuse_suppression(model, source_path)
    runtime = backend or recipe.recipe.backend
    options = recipe.recipe.options if runtime == recipe.recipe.backend else {}
    judge_by = manifest.variant(manifest.baseline)
    # The same threads for both, whatever the recipe gives the variant.
    judge_options = {**judge_by.options, **{key: options[key] for key in ("threads",) if key in options}}
    baseline = open_pipeline(manifest, manifest.baseline, options=judge_options)
    try:
        host = read_host()
        with staging(target.folder) as scratch:
            checkpoints = checkpoint_folder(target, chosen, recipe, samples)
            snapshots, log = Snapshots(), FrameLog()
            with without_dead_ends(checkpoints):
                records, model, changed = run_passes(
                    model, recipe, manifest, samples, host, scratch, checkpoints, progress,
                    runtime=(runtime, options), snapshots=snapshots,
                )  # fmt: skip
            progress("layers", 0, 1)
            layers, layer_notes = look_at_layers(snapshots, samples.verification, records)
            metadata = {METADATA_KEY: float_layers_text(model, layers)} if layers else {}
            progress("layers", 1, 1)
            provenance = _provenance(manifest, recipe, samples, host)
            suffix = SUFFIX if recipe.recipe.store == "packed" else ".onnx"
            built = _write(model, provenance, metadata, scratch / f"variant{suffix}")
            progress("load", 0, 1)
            variant = _load(changed, built, chosen, runtime, options)
            try:
                coverage = measure_coverage(variant.session)
                progress("load", 1, 1)
                verification = verify(
                    baseline,
                    variant,
                    samples.verification,
                    score,
                    lambda done, total: progress("verify", done, total),
                    log,
                )
                info = variant.session.info
                check = (
                    None
                    if labels is None
                    else check_labelled(
                        baseline, variant, labels, lambda done, total: progress("labelled data", done, total)
                    )
                )
            finally:
                variant.close()
            progress("report", 0, 3)
            sizes = measure_both((source_path, judge_by.backend, judge_options), (built, runtime, options))
            progress("report", 1, 3)
            clean_up = (
                measure_clean_up(baseline, snapshots.cleaned, judge_options, samples.verification, scratch)
                if snapshots.cleaned is not None
                else None
            )
            progress("report", 2, 3)
            judged = None if check is None else check.judged
            verdict = judge(recipe.recipe.accept, gate_figures(verification, coverage, sizes, judged))
            entry = Variant(
                file=f"{chosen}{suffix}",
                sha256=file_sha256(built),
                backend=runtime,
                options=dict(options),
                precision=info.precision,
                derived_from=manifest.baseline,
                recipe=recipe.recipe.name,
                calibration=CalibrationRecord(
                    source=samples.calibration.source.describe,
                    sha256=samples.sha256,
                    frames=len(samples.calibration),
                ),
                verdict=verdict,
                input=changed.input if changed.input != manifest.input else None,
                output=changed.output if changed.output != manifest.output else None,
                figures=manifest_figures(verification, coverage, sizes, records, judged),
                provenance=provenance,
            )
            findings = Findings(
                manifest=manifest,
                changed=changed,
                name=chosen,
                recipe=recipe,
                samples=samples,
                verification=verification,
                score=score,
                log=log,
                labelled=check,
                coverage=coverage,
                sizes=sizes,
                files=(source_path, built),
                infos=(baseline.session.info, info),
                layers=layers,
                passes=records,
                snapshots=snapshots,
                clean_up=clean_up,
                notes=layer_notes,
            )
            report = write_report_folder(findings, entry, scratch / "report")
            progress("report", 3, 3)
            replaced = store_variant(target, chosen, entry, built, scratch / "report")
            remove_checkpoints(checkpoints.parent, chosen)
    finally:
        baseline.close()
    return CompressionResult(
        target, chosen, replaced, recipe, samples.calibration.source.describe, records, coverage,
        verification, *sizes, perf_counter() - start, report,
    )  # fmt: skip


def checkpoint_folder(target: Manifest, name: str, recipe: LoadedRecipe, samples: Samples) -> Path:
    """Folder of the checkpoints that belong to this model, recipe and choice of frames, no other."""
    baseline = target.variant(target.baseline).sha256
    key = hashlib.sha256(f"{baseline}{recipe.sha256}{samples.sha256}".encode()).hexdigest()
    return target.folder / "checkpoints" / f"{name}-{key[:12]}"


def _provenance(manifest: Manifest, recipe: LoadedRecipe, samples: Samples, host: HostInfo) -> dict[str, Any]:
    return {
        "source_sha256": manifest.variant(manifest.baseline).sha256,
        "recipe_sha256": recipe.sha256,
        "recipe_text": recipe.text,
        "calibration_sha256": samples.sha256,
        "versions": tool_versions(),
        "host": host.as_dict(),
    }


def _write(model: ModelProto, provenance: dict[str, Any], metadata: dict[str, str], path: Path) -> Path:
    """Write the finished model with its provenance inside; raise ModelFileError where it is invalid."""
    told = {
        f"adcp.{key}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in provenance.items()
    }
    finish_model(model, {**told, **metadata})
    check_model(model, "the compressed model")
    if path.suffix == SUFFIX:
        pack(model, path)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _load(manifest: Manifest, path: Path, name: str, backend: str, options: dict[str, Any]) -> Pipeline:
    session = create_backend(backend).load(path, options)
    try:
        return Pipeline(create_task(manifest), session, name)
    except BaseException:
        session.close()
        raise
