# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Imports a model of any known framework into a new model folder and runs it once before keeping it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ad_compressed_perception.analysis.output_plausibility import MOST_FRAMES, check_outputs, choose_evenly
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, ResultError
from ad_compressed_perception.core.input_sources import split_image
from ad_compressed_perception.core.manifest import (
    MANIFEST_NAME,
    InputSpec,
    Manifest,
    OutputSpec,
    Variant,
    describe_validation_error,
    file_sha256,
)
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.input_frames import open_model_frames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.choices import Guess
from ad_compressed_perception.importing.declared import (
    bake_constants,
    declared_manifest,
    image_of,
    is_declared,
)
from ad_compressed_perception.importing.frameworks import Framework, framework_of
from ad_compressed_perception.importing.from_tensorflow import (
    keras_to_onnx,
    saved_model_to_onnx,
    tflite_to_onnx,
)
from ad_compressed_perception.importing.from_torch import exported_program_to_onnx, torchscript_to_onnx
from ad_compressed_perception.importing.guesser import Guesser
from ad_compressed_perception.importing.infer_manifest import infer_input
from ad_compressed_perception.importing.model_facts import ModelFacts, facts_of
from ad_compressed_perception.importing.one_frame import one_frame
from ad_compressed_perception.importing.report import REPORT, drawn_frames, move_report, write_report
from ad_compressed_perception.importing.request import ImportRequest
from ad_compressed_perception.onnx_graph.io import check_model, pin_input_shape, read_model
from ad_compressed_perception.tasks.inputs import with_example_inputs
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.temporary import scratch_folder

BASELINE = "fp32"


@dataclass(frozen=True)
class Imported:
    """Result of an import: the manifest, with its folder, the framework of the source, and what was guessed.

    ``images`` are those with results drawn, in the folder ``import.report`` of the model.
    """

    manifest: Manifest
    framework: Framework
    guess: Guess
    images: Sequence[Path] = ()


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
    _refuse_model(folder)
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise ManifestError(f"{parent} is a file, not a folder: choose another folder for the model")
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(scratch_folder(parent, ".import-"))
        except OSError as error:
            raise ManifestError(f"cannot write to {parent}: {error.strerror or error}") from error
        return _import(source, folder, framework, scratch, request)


def _import(
    source: Path, folder: Path, framework: Framework, scratch: Path, request: ImportRequest
) -> Imported:
    try:
        file, backend = _convert(source, framework, scratch, request)
        frames, described = _frames(request.sample)
        manifest, guess = _guess(file, backend, source, request, frames, scratch / REPORT)
        save_manifest(manifest, scratch)
        manifest.folder = scratch
        if not (guess.doubt and request.task is None):
            hint = "; or is the scale of the input wrong?" if manifest.task == RAW else guess.hint
            kept = choose_evenly(range(len(frames)), guess.frames or MOST_FRAMES)  # few of a slow model
            if manifest.inputs is not None:
                frames, described = _frames(request.sample, manifest)
                kept = choose_evenly(range(len(frames)))
            drawn = [with_example_inputs(frame, manifest) for frame in drawn_frames(manifest.input)]
            checked = [frames[index] for index in kept] or drawn
            _check_inference(manifest, checked, described, hint)
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            _refuse_model(folder)
            for name in (file.name, MANIFEST_NAME):
                (scratch / name).chmod(0o644)
                os.replace(scratch / name, folder / name)
            images = move_report(scratch / REPORT, folder / REPORT)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ManifestError(f"cannot write to {folder}: {error.strerror}; nothing was imported") from error
    manifest.folder = folder.resolve()
    return Imported(manifest, framework, guess, images)


def _refuse_model(folder: Path) -> None:
    if (folder / MANIFEST_NAME).exists():
        raise ManifestError(f"{folder} has a {MANIFEST_NAME} already: choose another folder")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write into a folder: another import may have been started meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    missing = [key for key in ("width", "height") if key not in request.input]
    if missing:
        raise ModelFileError(
            f"{source} is TorchScript, which does not store its input's size: give {' and '.join(missing)}"
        )
    fields = {"layout": "NCHW", "color": "RGB", **request.input}
    sizes = InputSpec(**{key: fields[key] for key in ("width", "height", "layout", "color")})
    return sizes.shape


def _guess(
    file: Path, backend: str, source: Path, request: ImportRequest, frames: Sequence[Frame], report: Path
) -> tuple[Manifest, Guess]:
    """Return the manifest of a converted file, and what of it was guessed; write images with a sample."""
    model = read_model(file) if backend == "onnxruntime" else None
    if request.inputs and model is None:
        raise ManifestError("further inputs are for ONNX files yet: convert this one to onnx")
    if request.inputs and model is not None:
        request = bake_constants(model, request)
        file.write_bytes(model.SerializeToString(deterministic=True))
    session = create_backend(backend).load(file, {"warmup_runs": 0})
    try:
        if model is not None and not request.inputs and (changed := one_frame(model, session)):
            file.write_bytes(changed.SerializeToString(deterministic=True))
            session.close()
            session = create_backend(backend).load(file, {"warmup_runs": 0})
            model = changed
        facts = facts_of(model, session.info.inputs, session.info.outputs)
        given = _sizes_of_metadata(request.input, facts)
        spec = image_of(facts, request, given) if request.inputs else infer_input(facts.inputs, given)
        further = split_image(request.inputs)[1]
        if model is not None and any(size is None for one in facts.inputs for size in one.shape):
            pin_input_shape(model, spec, further)
            file.write_bytes(model.SerializeToString(deterministic=True))
            session.close()
            session = create_backend(backend).load(file, {"warmup_runs": 0})
            facts = facts_of(model, session.info.inputs, session.info.outputs)
        name = request.name or re.sub(r"[^A-Za-z0-9_.-]+", "_", source.stem).lstrip("_.-") or "model"
        guesser = Guesser(session, facts, request, spec, name, backend, file.name)
        variant = Variant(
            file=file.name, sha256=file_sha256(file), backend=backend, precision=session.info.precision
        )
        if is_declared(request):
            shown = frames or drawn_frames(spec)
            return declared_manifest(guesser, shown, bool(frames), variant, source.name)
        guess = guesser.guess(frames or drawn_frames(spec), are_real=bool(frames), data=request.data)
        manifest = _manifest(name, source, guess, variant)
        if frames:
            write_report(guesser, guess, frames, report)
    finally:
        session.close()
    return manifest, guess


def _sizes_of_metadata(given: Mapping[str, Any], facts: ModelFacts) -> dict[str, Any]:
    """Return the given fields, with the metadata's size where the file leaves it open."""
    known = facts.metadata.image_size
    is_open = len(facts.inputs) == 1 and None in facts.inputs[0].shape[1:]
    if known is None or not is_open:
        return dict(given)
    return {"height": known[0], "width": known[1], **given}


def _manifest(name: str, source: Path, guess: Guess, variant: Variant) -> Manifest:
    candidate = guess.candidate
    summary = guess.summary()
    fields: dict[str, Any] = {
        "name": name,
        "task": RAW if candidate is None else candidate.task,
        "description": f"imported from {source.name}" + (f"; {summary}" if summary else ""),
        "labels": list(guess.labels),
        "input": guess.spec,
        "baseline": BASELINE,
        "variants": {BASELINE: variant},
    }
    if candidate is not None:
        fields["output"] = OutputSpec(decoder=candidate.decoder, options=dict(candidate.options))
    try:
        return Manifest(**fields)
    except ValidationError as error:
        raise ManifestError(f"model {name!r}: {describe_validation_error(error)}") from error


def _frames(sample: str | None, manifest: Manifest | None = None) -> tuple[list[Frame], str]:
    """Return evenly chosen frames of the sample and where they are from; none without a sample.

    With a manifest they come with what its inputs need.
    """
    if sample is None:
        return [], "drawn images"
    opened = open_frames(sample) if manifest is None else open_model_frames(manifest, sample)
    return list(opened.frames(opened.readable(choose_evenly(range(len(opened)))))), opened.describe


def _check_inference(manifest: Manifest, frames: Iterable[Frame], source: str, hint: str) -> None:
    """Run a few frames, so that a decoder that does not fit the outputs fails now, not on the car."""
    pipeline = open_pipeline(manifest)
    try:
        check_outputs(pipeline, frames, source)
    except ResultError as error:
        raise ModelFileError(f"not imported: {error}{hint}") from error
    finally:
        pipeline.close()
