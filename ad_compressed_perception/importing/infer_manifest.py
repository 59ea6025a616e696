# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Infers the input and output sections of a manifest from a model's input and output tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec, TaskName, describe_validation_error
from ad_compressed_perception.core.tensors import TensorSpec

DEFAULT_DECODERS: dict[TaskName, str] = {
    "detection": "yolox",
    "segmentation": "argmax",
    "planning": "steering",
    "classification": "classes",
    "raw": "raw",
}
_CHANNELS = (1, 3)
_DTYPES = ("float32", "float16", "uint8")


def infer_input(inputs: Sequence[TensorSpec], given: Mapping[str, Any]) -> InputSpec:
    """Return the input section: values read from the file, overridden by those the user gave.

    Size, layout, type and whether it is gray are read from the file; no file contains color order,
    scale, mean, std and resizing.

    Args:
        inputs: of the loaded model.
        given: fields of InputSpec that the user gave; they take precedence.

    Raises:
        ModelFileError: several inputs, not an image, or a dynamic size that the user did not
            give.
        ManifestError: a given field with an invalid value.
    """
    chosen = [spec for spec in inputs if spec.name == given.get("name", spec.name)]
    if len(inputs) != 1 or not chosen:
        names = ", ".join(spec.name for spec in inputs) or "none"
        more = "; describe all of them as inputs" if len(inputs) > 1 else ""
        raise ModelFileError(f"the model needs exactly one input, an image; it has: {names}{more}")
    spec = chosen[0]
    _check_axes(spec)
    if spec.dtype not in _DTYPES:
        raise ModelFileError(f"input {spec.name!r} is {spec.dtype}; images are {', '.join(_DTYPES)}")
    layout = given.get("layout") or _layout(spec)
    channels, height, width = (spec.shape[axis] for axis in ((1, 2, 3) if layout == "NCHW" else (3, 1, 2)))
    fields: dict[str, Any] = {
        "name": spec.name,
        "width": width,
        "height": height,
        "layout": layout,
        "dtype": spec.dtype,
        "color": "GRAY" if channels == 1 else "RGB",
        **given,
    }
    open_sizes = [key for key in ("width", "height") if fields[key] is None]
    if open_sizes:
        raise ModelFileError(
            f"input {spec.name!r} is {_spec_text(spec)}: give its " + " and ".join(open_sizes)
        )
    try:
        return InputSpec.model_validate(fields)
    except ValidationError as error:
        raise ManifestError(f"input: {describe_validation_error(error)}") from error


def _check_axes(spec: TensorSpec) -> None:
    """Raise ModelFileError where an input is no single image; the line says what would be needed."""
    shown, shape = f"input {spec.name!r} is {_spec_text(spec)}", spec.shape
    if len(shape) == 3 and shape[2] in _CHANNELS:
        raise ModelFileError(
            f"{shown}, an image without an axis for the batch: export it with [1, {shape[0]}, {shape[1]}, "
            f"{shape[2]}]; a Squeeze of axis 0 before the first operator does it without the training code"
        )
    if len(shape) == 5:
        raise ModelFileError(
            f"{shown}, a sequence of images: frames are given one at a time here; export the model for a "
            "single image, with [1, channels, height, width]"
        )
    if len(shape) != 4 or shape[0] not in (None, 1):
        raise ModelFileError(f"{shown}: an image has a batch of one, channels, height and width")
    if shape[1] == 4 and shape[3] not in _CHANNELS or shape[3] == 4 and shape[1] not in _CHANNELS:
        raise ModelFileError(f"{shown}: images have 1 or 3 channels here; export a model that takes 3")
    stacked = [size for size in (shape[1], shape[3]) if size is not None and size > 3 and size % 3 == 0]
    if stacked and not {shape[1], shape[3]} & {*_CHANNELS, None}:
        channels = min(stacked)
        raise ModelFileError(
            f"{shown}: {channels} channels are {channels // 3} color images, frames of a sequence or of "
            "several cameras; one image at a time is given here, so export a model that takes 3 channels"
        )


def _spec_text(spec: TensorSpec) -> str:
    return f"{spec.dtype}[{', '.join('?' if size is None else str(size) for size in spec.shape)}]"


def _layout(spec: TensorSpec) -> str:
    fits = {"NCHW": spec.shape[1] in _CHANNELS, "NHWC": spec.shape[3] in _CHANNELS}
    if sum(fits.values()) != 1:
        raise ModelFileError(
            f"input {spec.name!r} is {_spec_text(spec)}: which axis holds 1 or 3 channels is ambiguous; "
            "give the layout, NCHW or NHWC"
        )
    return next(name for name, fit in fits.items() if fit)


def infer_output(
    task: TaskName,
    labels: Sequence[str],
    outputs: Sequence[TensorSpec],
    decoder: str | None,
    options: Mapping[str, Any],
) -> OutputSpec:
    """Return the output section: the task's default decoder unless one is given, layout by the shape."""
    name = decoder or DEFAULT_DECODERS[task]
    chosen = dict(options)
    if name == "argmax" and "layout" not in chosen:
        output_name = chosen.get("output")
        spec = next((output for output in outputs if output_name in (None, output.name)), None)
        if spec is not None:
            chosen["layout"] = _score_layout(spec, len(labels))
    return OutputSpec(decoder=name, options=chosen)


def _score_layout(spec: TensorSpec, labels: int) -> str:
    if len(spec.shape) in (3, 4) and labels > 1:
        if spec.shape[-3] == labels:
            return "NCHW"
        if spec.shape[-1] == labels:
            return "NHWC"
    return "NCHW" if len(spec.shape) == 4 and 1 not in spec.shape[1:] else "LABELS"
