# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Applies a recipe's passes in order to a model, with the frames they may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.compression.frame_split import FrameSample, split_by_shares, split_frames
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.difference_images import Snapshots
from ad_compressed_perception.core.errors import AdcpError, DataError, ModelFileError, RecipeError
from ad_compressed_perception.core.host import HostInfo
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.input_frames import open_model_frames
from ad_compressed_perception.onnx_graph.float16 import raise_to_float32
from ad_compressed_perception.onnx_graph.io import input_name, input_specs
from ad_compressed_perception.pass_api.passes import Feeds, Pass, PassContext
from ad_compressed_perception.report.schemas.compression import PassReport
from ad_compressed_perception.tasks.inputs import prepared_feeds

if TYPE_CHECKING:
    from onnx import ModelProto


EXPORTED = "exported"
"""Stem of the file of another runtime that the last pass of a recipe wrote, in the folder ``scratch``."""


def exported_file(scratch: Path) -> Path | None:
    """Return the file that a pass wrote for another runtime; None where the result is the graph itself."""
    return next(iter(scratch.glob(f"{EXPORTED}.*")), None)


@dataclass(frozen=True)
class Samples:
    """Calibration and verification frames of one source, and the calibration set's hash."""

    calibration: FrameSample
    verification: FrameSample
    sha256: str


def choose_samples(
    recipe: LoadedRecipe,
    source: str,
    frames: int | None,
    max_bad: BadFrameLimit | None = None,
    manifest: Manifest | None = None,
) -> Samples:
    """Open the source and choose the frames; bad ones are left out.

    Args:
        recipe: numbers of frames, and how many may be bad.
        source: BAG, BAG:TOPIC or a folder of images.
        frames: frames to calibrate on; None for the recipe's number.
        max_bad: how many frames may be bad, instead of the recipe's limit.
        manifest: the model, whose further inputs come with the frames; None for an image alone.

    Raises:
        DataError: there are too few frames, or too many bad ones.
    """
    spec = recipe.recipe
    stride, limit = spec.calibration.stride, max_bad or spec.bad_frame_limit
    if manifest is None:
        opened = open_frames(source, stride=stride, max_bad=limit)
    else:
        opened = open_model_frames(manifest, source, stride=stride, max_bad=limit)
    counts = (frames or spec.calibration.frames, spec.verify.frames)
    if spec.split is None:
        calibration, verification = split_frames(len(opened), *counts)
    else:
        calibration, _, verification = split_by_shares(
            len(opened), (counts[0], 0, counts[1]), spec.split.calibration, spec.split.search
        )
    readable = set(opened.readable(sorted([*calibration, *verification])))
    samples = [
        FrameSample(opened, [index for index in chosen if index in readable])
        for chosen in (calibration, verification)
    ]
    if not all(samples):
        raise DataError(
            f"{opened.describe}: no frame that can be read is left to calibrate or to verify on; ask for "
            "more frames (to calibrate on, and verify.frames in the recipe)"
        )
    return Samples(samples[0], samples[1], samples[0].sha256())


def run_passes(
    model: ModelProto,
    recipe: LoadedRecipe,
    manifest: Manifest,
    samples: Samples,
    host: HostInfo,
    scratch: Path,
    checkpoints: Path,
    progress: Progress,
    snapshots: Snapshots | None = None,
    runtime: tuple[str, Mapping[str, Any]] | None = None,
) -> tuple[list[PassReport], ModelProto, Manifest]:
    """Apply a recipe's passes in order; raise AdcpError naming the pass that failed.

    Args:
        model: may be changed in place; half precision is raised to single precision first.
        recipe: names the passes and the terms of verification.
        manifest: the model's.
        samples: the frames.
        host: this processor.
        scratch: for temporary files.
        checkpoints: folder of the checkpoints of long passes.
        progress: called with (step, done, total).
        snapshots: receives the model before and after the passes that the report compares.
        runtime: backend and options that the variant is to run on; None for the recipe's.

    Returns:
        What each pass did, the model, and the manifest with the input and output it has now.
    """
    records: list[PassReport] = []
    original, baseline = manifest, manifest.variant_path(manifest.baseline)
    raised = raise_to_float32(model)
    manifest = _with_input_type(manifest, model)
    for index, step in enumerate(recipe.passes):
        _refuse_further(step, manifest)
        folder = scratch / f"{index}_{step.name}"
        folder.mkdir()
        label = step.name
        context = PassContext(
            manifest=original,
            input=manifest.input,
            output=manifest.output,
            feeds=_feeder(samples.calibration, manifest, input_specs(model)),
            images=samples.calibration.__iter__,
            frames=len(samples.calibration),
            baseline=baseline,
            host=host,
            scratch=folder,
            checkpoints=checkpoints / folder.name,
            verify=recipe.recipe.verify,
            runtime=runtime or (recipe.recipe.backend, recipe.recipe.options),
            advance=partial(progress, label),
        )
        progress(label, 0, 1)
        if snapshots is not None:
            snapshots.before(step, model, manifest)
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
        if context.exported is not None:
            context.exported.replace(scratch / f"{EXPORTED}{context.exported.suffix}")
        manifest = manifest.model_copy(update={"input": context.input, "output": context.output})
        if snapshots is not None:
            snapshots.after(step, model, manifest)
        if raised and not records:
            context.notes["raised_to_float32"] = raised
        after = len(model.graph.node)
        records.append(
            PassReport(
                name=step.name,
                seconds=perf_counter() - start,
                nodes_before=before,
                nodes_after=after,
                notes=context.notes,
            )
        )
        progress(label, 1, 1)
    return records, model, manifest


def _refuse_further(step: Pass, manifest: Manifest) -> None:
    """Raise RecipeError where a pass cannot work on several inputs or heads yet."""
    if step.image_input_only and manifest.inputs is not None:
        raise RecipeError(
            f"pass {step.name} takes models with one input, the image; {manifest.name!r} also has "
            f"{', '.join(manifest.inputs)}: leave the pass out"
        )
    if step.one_task_only and manifest.outputs is not None:
        raise RecipeError(
            f"pass {step.name} takes models with one task; {manifest.name!r} has the heads "
            f"{', '.join(manifest.outputs)}: leave the pass out"
        )


def _with_input_type(manifest: Manifest, model: ModelProto) -> Manifest:
    """Return the manifest with an input in single precision where the graph's is."""
    from onnx import TensorProto

    kind = next(
        v.type.tensor_type.elem_type
        for v in model.graph.input
        if v.name == input_name(model, manifest.input.name)
    )
    if manifest.input.dtype != "float16" or kind != TensorProto.FLOAT:
        return manifest
    return manifest.model_copy(update={"input": manifest.input.model_copy(update={"dtype": "float32"})})


def _feeder(
    sample: FrameSample, manifest: Manifest, inputs: tuple[TensorSpec, ...]
) -> Callable[[], Iterator[Feeds]]:
    return lambda: prepared_feeds(manifest, inputs, sample)
