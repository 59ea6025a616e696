# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The whole way: baseline, recipe and frames in; a verified variant with its verdict out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.coverage import IntegerCoverage, measure_coverage
from ad_compressed_perception.compression.gate import Measured, judge
from ad_compressed_perception.compression.onnx_file import (
    check_model,
    finish_model,
    input_name,
    one_line,
    read_model,
)
from ad_compressed_perception.compression.packed_file import SUFFIX, pack
from ad_compressed_perception.compression.passes.base import Feeds, PassContext
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.samples import FrameSample, split_frames
from ad_compressed_perception.compression.scores import create_score
from ad_compressed_perception.compression.sizes import Sizes, measure_both
from ad_compressed_perception.compression.verify import Verification, verify
from ad_compressed_perception.compression.workspace import open_target, staging, store_variant
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.errors import AdcpError, ModelFileError
from ad_compressed_perception.host import HostInfo, read_host, tool_versions
from ad_compressed_perception.manifest import (
    CalibrationRecord,
    InputSpec,
    Manifest,
    Variant,
    Verdict,
    file_sha256,
)
from ad_compressed_perception.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.prepare import Preparer

if TYPE_CHECKING:
    from onnx import ModelProto

Progress = Callable[[str, int, int], None]
"""Told the step's name, how much of it is done, and of how much."""


@dataclass(frozen=True)
class PassRecord:
    """What one pass did."""

    name: str
    seconds: float
    nodes_before: int
    nodes_after: int
    notes: dict[str, Any]


@dataclass(frozen=True)
class CompressionResult:
    """Everything one compression found out.

    Attributes:
        manifest: the manifest with the new entry; its ``folder`` is where the variant lies.
        name: the variant's name.
        replaced: whether an older variant of that name was replaced.
        passes: what each pass did.
        coverage: of the executed graph.
        verification: agreement and times.
        baseline_sizes: stored, as read by the runtime, in memory.
        variant_sizes: likewise.
        seconds: how long it all took.
    """

    manifest: Manifest
    name: str
    replaced: bool
    recipe: LoadedRecipe
    source: str
    passes: list[PassRecord]
    coverage: IntegerCoverage
    verification: Verification
    baseline_sizes: Sizes
    variant_sizes: Sizes
    seconds: float

    @property
    def baseline_bytes(self) -> int:
        """Size of the baseline as stored."""
        return self.baseline_sizes.stored_bytes

    @property
    def variant_bytes(self) -> int:
        """Size of the variant as stored."""
        return self.variant_sizes.stored_bytes

    @property
    def variant(self) -> Variant:
        """The new entry."""
        return self.manifest.variant(self.name)

    @property
    def verdict(self) -> Verdict:
        """What the gate said."""
        verdict = self.variant.verdict
        assert verdict is not None  # entered by compress_model
        return verdict


@dataclass(frozen=True)
class Samples:
    """Frames of one source for the two purposes, and the calibration set's hash."""

    calibration: FrameSample
    verification: FrameSample
    sha256: str


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
    samples = choose_samples(recipe, source, frames)
    # Before a runtime sees the file: what is wrong with it is told better here.
    source_path = manifest.checked_path(manifest.baseline, allow_rejected=True)
    model = read_model(source_path)
    baseline = open_pipeline(manifest, manifest.baseline)
    try:
        host = read_host()
        with staging(target.folder) as scratch:
            checkpoints = _checkpoints(target, chosen, recipe, samples)
            records, model, changed = run_passes(
                model, recipe, manifest, samples, host, scratch, checkpoints, progress
            )
            provenance = _provenance(manifest, recipe, samples, host)
            suffix = SUFFIX if recipe.recipe.store == "packed" else ".onnx"
            built = _write(model, provenance, scratch / f"variant{suffix}")
            runtime = backend or recipe.recipe.backend
            options = recipe.recipe.options if runtime == recipe.recipe.backend else {}
            progress("load", 0, 1)
            variant = _load(changed, built, chosen, runtime, options)
            try:
                coverage = measure_coverage(variant.session)
                progress("load", 1, 1)
                verification = verify(
                    baseline,
                    variant,
                    samples.verification,
                    create_score(manifest, recipe.recipe.verify),
                    lambda done, total: progress("verify", done, total),
                )
                precision = variant.session.info.precision
            finally:
                variant.close()
            judged_by = manifest.variant(manifest.baseline)
            sizes = measure_both(
                (source_path, judged_by.backend, judged_by.options), (built, runtime, options)
            )
            verdict = judge(recipe.recipe.accept, _measured(verification, coverage, sizes))
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
                figures=_figures(verification, coverage, sizes, records),
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


def _checkpoints(target: Manifest, name: str, recipe: LoadedRecipe, samples: Samples) -> Path:
    """Folder of the checkpoints that belong to this model, recipe and choice of frames, no other."""
    baseline = target.variant(target.baseline).sha256
    key = hashlib.sha256(f"{baseline}{recipe.sha256}{samples.sha256}".encode()).hexdigest()
    return target.folder / "checkpoints" / f"{name}-{key[:12]}"


def choose_samples(recipe: LoadedRecipe, source: str, frames: int | None) -> Samples:
    """Open the source and choose the frames; raise DataError where there are too few."""
    spec = recipe.recipe
    opened = open_frames(source, stride=spec.calibration.stride)
    calibration, verification = split_frames(
        len(opened), frames or spec.calibration.frames, spec.verify.frames
    )
    sample = FrameSample(opened, calibration)
    return Samples(sample, FrameSample(opened, verification), sample.sha256())


def run_passes(
    model: ModelProto,
    recipe: LoadedRecipe,
    manifest: Manifest,
    samples: Samples,
    host: HostInfo,
    scratch: Path,
    checkpoints: Path,
    progress: Progress,
) -> tuple[list[PassRecord], ModelProto, Manifest]:
    """Apply a recipe's passes in order; raise AdcpError naming the pass that failed.

    Returns:
        What each pass did, the model, and the manifest with the input and output it has now.
    """
    records = []
    original, baseline = manifest, manifest.variant_path(manifest.baseline)
    for index, step in enumerate(recipe.passes):
        folder = scratch / f"{index}_{step.name}"
        folder.mkdir()
        label = step.name
        context = PassContext(
            manifest=original,
            input=manifest.input,
            output=manifest.output,
            feeds=_feeder(samples.calibration, manifest.input, input_name(model)),
            pictures=samples.calibration.__iter__,
            frames=len(samples.calibration),
            baseline=baseline,
            host=host,
            scratch=folder,
            checkpoints=checkpoints / folder.name,
            advance=lambda done, total, label=label: progress(label, done, total),  # type: ignore[misc]
        )
        progress(label, 0, 1)
        start, before = perf_counter(), len(model.graph.node)
        try:
            model = step.apply(model, context)
        except AdcpError as error:
            raise type(error)(f"pass {step.name}: {error}") from error
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a pass may be a third party's
            raise ModelFileError(
                f"pass {step.name} failed: {type(error).__name__}: {one_line(error)}"
            ) from error
        manifest = manifest.model_copy(update={"input": context.input, "output": context.output})
        after = len(model.graph.node)
        records.append(PassRecord(step.name, perf_counter() - start, before, after, context.notes))
        progress(label, 1, 1)
    return records, model, manifest


def _feeder(sample: FrameSample, spec: InputSpec, name: str) -> Callable[[], Iterator[Feeds]]:
    def feeds() -> Iterator[Feeds]:
        prepare = Preparer(spec)
        for frame in sample:
            tensor, _ = prepare(frame)
            yield {name: tensor.copy()}  # the preparer writes the next frame into the same array

    return feeds


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


def _measured(verification: Verification, coverage: IntegerCoverage, sizes: tuple[Sizes, Sizes]) -> Measured:
    agreement, latency = verification.agreement, verification.latency
    return Measured(
        drop=agreement.drop,
        drop_low=agreement.drop_low,
        drop_high=agreement.drop_high,
        frames=agreement.frames,
        telling_frames=agreement.telling_frames,
        failed_frames=agreement.failed_frames,
        speedup=latency.speedup_p50,
        speedup_low=latency.speedup_p50_low,
        speedup_high=latency.speedup_p50_high,
        p99_ms=latency.variant_p99_ms,
        size_ratio=sizes[1].stored_bytes / sizes[0].stored_bytes,
        integer_coverage=coverage.share,
    )


def _figures(
    verification: Verification,
    coverage: IntegerCoverage,
    sizes: tuple[Sizes, Sizes],
    records: list[PassRecord],
) -> dict[str, Any]:
    return {
        "baseline_bytes": sizes[0].stored_bytes,
        "variant_bytes": sizes[1].stored_bytes,
        "size_ratio": sizes[1].stored_bytes / sizes[0].stored_bytes,
        "baseline_sizes": sizes[0].as_dict(),
        "variant_sizes": sizes[1].as_dict(),
        "integer_coverage": coverage.share,
        "integer_products": coverage.integer,
        "products": coverage.compute,
        "agreement": verification.agreement.as_dict(),
        "inference": verification.latency.as_dict(),
        "passes": [asdict(record) for record in records],
    }
