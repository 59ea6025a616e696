# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The whole way: baseline, recipe and frames in; a verified variant with its verdict out."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.coverage import measure_coverage
from ad_compressed_perception.compression.gate import judge
from ad_compressed_perception.compression.onnx_file import check_model, finish_model, read_model
from ad_compressed_perception.compression.outcome import CompressionResult, gate_figures, manifest_figures
from ad_compressed_perception.compression.packed_file import SUFFIX, pack
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.scores import create_score
from ad_compressed_perception.compression.sizes import measure_both
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
    progress: Progress = lambda step, done, total: None,
) -> CompressionResult:
    """Compress a model's baseline by a recipe, verify the result and store it with its verdict.

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
        progress: told how far it is.

    Raises:
        AdcpError: anything wrong with the model, recipe, frames or folders; one line.
    """
    start = perf_counter()
    chosen = name or recipe.recipe.name
    target = open_target(manifest, work, in_place, chosen)
    score = create_score(manifest, recipe.recipe.verify)
    samples = choose_samples(recipe, source, frames)
    # Before a runtime sees the file: what is wrong with it is told better here.
    source_path = manifest.checked_path(manifest.baseline, allow_rejected=True)
    model = read_model(source_path)
    baseline = open_pipeline(manifest, manifest.baseline)
    try:
        host = read_host()
        with staging(target.folder) as scratch:
            checkpoints = checkpoint_folder(target, chosen, recipe, samples)
            runtime = backend or recipe.recipe.backend
            options = recipe.recipe.options if runtime == recipe.recipe.backend else {}
            records, model, changed = run_passes(
                model,
                recipe,
                manifest,
                samples,
                host,
                scratch,
                checkpoints,
                progress,
                runtime=(runtime, options),
            )
            provenance = _provenance(manifest, recipe, samples, host)
            suffix = SUFFIX if recipe.recipe.store == "packed" else ".onnx"
            built = _write(model, provenance, scratch / f"variant{suffix}")
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
                )
                precision = variant.session.info.precision
            finally:
                variant.close()
            judged_by = manifest.variant(manifest.baseline)
            sizes = measure_both(
                (source_path, judged_by.backend, judged_by.options), (built, runtime, options)
            )
            verdict = judge(recipe.recipe.accept, gate_figures(verification, coverage, sizes))
            entry = Variant(
                file=f"{chosen}{suffix}",
                sha256=file_sha256(built),
                backend=runtime,
                options=dict(options),
                precision=precision,
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
                figures=manifest_figures(verification, coverage, sizes, records),
                provenance=provenance,
            )
            replaced = store_variant(target, chosen, entry, built)
            shutil.rmtree(checkpoints, ignore_errors=True)
    finally:
        baseline.close()
    return CompressionResult(
        target, chosen, replaced, recipe, samples.calibration.source.describe, records, coverage,
        verification, *sizes, perf_counter() - start,
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


def _write(model: ModelProto, provenance: dict[str, Any], path: Path) -> Path:
    """Write the finished model with its provenance inside; raise ModelFileError where it is invalid."""
    metadata = {
        f"adcp.{key}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in provenance.items()
    }
    finish_model(model, metadata)
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
