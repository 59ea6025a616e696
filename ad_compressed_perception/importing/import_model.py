# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Imports a model of any known framework into a new model folder and runs it once before keeping it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import ValidationError

from ad_compressed_perception.analysis.output_plausibility import check_outputs, choose_evenly
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, ResultError
from ad_compressed_perception.core.manifest import (
    MANIFEST_NAME,
    InputSpec,
    Manifest,
    TaskName,
    Variant,
    describe_validation_error,
    file_sha256,
)
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.frameworks import Framework, framework_of
from ad_compressed_perception.importing.from_tensorflow import (
    keras_to_onnx,
    saved_model_to_onnx,
    tflite_to_onnx,
)
from ad_compressed_perception.importing.from_torch import exported_program_to_onnx, torchscript_to_onnx
from ad_compressed_perception.importing.infer_manifest import infer_input, infer_output
from ad_compressed_perception.onnx_graph.io import check_model, pin_input_shape, read_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest

BASELINE = "fp32"


@dataclass(frozen=True)
class ImportRequest:
    """What the user specifies of a model; the rest is read from its file.

    Attributes:
        task: detection, segmentation or planning.
        name: the model's name; the file's by default.
        labels: class names, in the order of the model's classes.
        decoder: name of the decoder; the task's usual one by default.
        decoder_options: its options.
        input: fields of InputSpec.
        convert: turn a .tflite file into ONNX instead of running it in LiteRT.
        sample: BAG, BAG:TOPIC or a folder of images that the outputs are checked on; None for drawn ones.
    """

    task: TaskName
    name: str | None = None
    labels: Sequence[str] = ()
    decoder: str | None = None
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)
    convert: Literal["auto", "onnx"] = "auto"
    sample: str | None = None


@dataclass(frozen=True)
class Imported:
    """Result of an import: the manifest, with its folder, and the framework of the source."""

    manifest: Manifest
    framework: Framework


def import_model(source: Path, folder: Path, request: ImportRequest) -> Imported:
    """Make a model folder from a model file, run it on a few frames, and keep it if that worked.

    Args:
        source: ONNX, .tflite, TorchScript, torch.export, .keras file or SavedModel folder.
        folder: to be created; may exist if it has no model.yaml.
        request: what the file does not contain.

    Raises:
        ManifestError: the folder has a model already, or the request contradicts itself or the file.
        ModelFileError: the file cannot be read, converted or run, or its outputs are not what the decoder
            expects; nothing is kept.
        DataError: the sample cannot be read.
        BackendError: its runtime is missing or cannot load it.
    """
    framework = framework_of(source)
    if (folder / MANIFEST_NAME).exists():
        raise ManifestError(f"{folder} has a {MANIFEST_NAME} already: choose another folder")
    parent = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=parent))
    except OSError as error:
        raise ManifestError(f"cannot write to {parent}: {error.strerror or error}") from error
    try:
        file, backend = _convert(source, framework, scratch, request)
        manifest = _infer_manifest(file, backend, source, request)
        save_manifest(manifest, scratch)
        manifest.folder = scratch
        _check_inference(manifest, request.sample)
        folder.mkdir(parents=True, exist_ok=True)
        for name in (file.name, MANIFEST_NAME):
            (scratch / name).chmod(0o644)
            os.replace(scratch / name, folder / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    manifest.folder = folder.resolve()
    return Imported(manifest, framework)


def _convert(source: Path, framework: Framework, scratch: Path, request: ImportRequest) -> tuple[Path, str]:
    target = scratch / f"{BASELINE}.onnx"
    if framework == "onnx":
        model = read_model(source)
        check_model(model, f"model {source}")
        target.write_bytes(model.SerializeToString(deterministic=True))
    elif framework == "tflite" and request.convert == "auto":
        target = scratch / f"{BASELINE}.tflite"
        shutil.copyfile(source, target)
        return target, "litert"
    elif framework == "tflite":
        tflite_to_onnx(source, target)
    elif framework == "torchscript":
        torchscript_to_onnx(source, target, _shape_for_torchscript(source, request))
    elif framework == "exported_program":
        exported_program_to_onnx(source, target)
    elif framework == "keras":
        keras_to_onnx(source, target)
    else:
        saved_model_to_onnx(source, target)
    return target, "onnxruntime"


def _shape_for_torchscript(source: Path, request: ImportRequest) -> tuple[int, ...]:
    missing = [f"--input-{key}" for key in ("width", "height") if key not in request.input]
    if missing:
        raise ModelFileError(
            f"{source} is TorchScript, which does not store its input's size: give {' and '.join(missing)}"
        )
    fields = {"layout": "NCHW", "color": "RGB", **request.input}
    sizes = InputSpec(**{key: fields[key] for key in ("width", "height", "layout", "color")})
    return sizes.shape


def _infer_manifest(file: Path, backend: str, source: Path, request: ImportRequest) -> Manifest:
    inputs, outputs, precision = _tensor_specs(file, backend)
    spec = infer_input(inputs, request.input)
    if backend == "onnxruntime" and any(size is None for size in inputs[0].shape):
        model = read_model(file)
        pin_input_shape(model, spec)
        file.write_bytes(model.SerializeToString(deterministic=True))
        inputs, outputs, precision = _tensor_specs(file, backend)
    name = request.name or re.sub(r"[^A-Za-z0-9_.-]+", "_", source.stem).lstrip("_.-") or "model"
    if request.task != "planning" and not request.labels:
        shown = "; ".join(f"{output.name} {list(output.shape)}" for output in outputs)
        raise ManifestError(
            f"task {request.task} needs --labels, one for each of the model's classes (its outputs: {shown})"
        )
    try:
        return Manifest(
            name=name,
            task=request.task,
            description=f"imported from {source.name}",
            labels=list(request.labels),
            input=spec,
            output=infer_output(
                request.task, request.labels, outputs, request.decoder, request.decoder_options
            ),
            baseline=BASELINE,
            variants={
                BASELINE: Variant(
                    file=file.name, sha256=file_sha256(file), backend=backend, precision=precision
                )
            },
        )
    except ValidationError as error:
        raise ManifestError(f"model {name!r}: {describe_validation_error(error)}") from error


def _tensor_specs(file: Path, backend: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], str]:
    session = create_backend(backend).load(file, {"warmup_runs": 0})
    try:
        return session.info.inputs, session.info.outputs, session.info.precision
    finally:
        session.close()


def _check_inference(manifest: Manifest, sample: str | None) -> None:
    """Run a few frames, so that a decoder that does not fit the outputs fails now, not on the car."""
    source = "drawn images"
    frames: Iterable[Frame] = _drawn_frames(manifest.input)
    if sample is not None:
        opened = open_frames(sample)
        source, frames = opened.describe, opened.frames(opened.readable(choose_evenly(range(len(opened)))))
    pipeline = open_pipeline(manifest)
    try:
        check_outputs(pipeline, frames, source)
    except ResultError as error:
        raise ModelFileError(f"not imported: {error}") from error
    finally:
        pipeline.close()


def _drawn_frames(spec: InputSpec) -> list[Frame]:
    """Return black, gray and white, a ramp, and noise of pixels and of large blocks."""
    rng = np.random.default_rng(0)
    shape = (spec.height, spec.width, 3)
    images = [np.full(shape, value, np.uint8) for value in (0, 114, 255)]
    images.append(np.broadcast_to(np.linspace(0, 255, spec.width).astype(np.uint8)[:, None], shape).copy())
    images += [rng.integers(0, 256, shape, dtype=np.uint8)]
    blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    images.append(np.asarray(cv2.resize(blocks, (spec.width, spec.height))))
    return [Frame(image, "BGR") for image in images]
