# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Replace the baseline by a small network with random weights; a later pass must train it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ad_compressed_perception.compression.passes.graph.decodable import require_decodable
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import InputSpec, Manifest, OutputSpec
from ad_compressed_perception.onnx_graph.graph import refresh_outputs
from ad_compressed_perception.onnx_graph.resize import resized_spec
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

_DECODERS = {"segmentation": ("argmax",), "planning": ("steering", "trajectory"), "detection": ("yolox",)}


class ReplaceWithStudentOptions(PassOptions):
    """Options of replace_with_student."""

    renamed = {"start": "initialize_from"}

    encoder: Literal["efficientnet_lite", "mobilenet", "squeezenet"] = Field(
        "efficientnet_lite", description="architecture of the backbone"
    )
    width: float = Field(1.0, gt=0.0, le=16.0, description="multiplies all channel counts")
    input_width: int | None = Field(None, ge=32, le=16384, description="pixels; needs input_height")
    input_height: int | None = Field(None, ge=32, le=16384, description="pixels; needs input_width")
    channel_multiple: int = Field(
        16, ge=1, le=64, description="channel counts are rounded to a multiple of this"
    )
    output_stride: Literal[1, 2, 4, 8] = Field(
        2, description="segmentation: input pixels per score pixel, along each axis"
    )
    seed: int = Field(0, ge=0, description="random seed of the initial weights")
    initialize_from: str | None = Field(
        None,
        description="ONNX file of an earlier student with the same input and output: initial weights",
    )

    @model_validator(mode="after")
    def _both_sides(self) -> ReplaceWithStudentOptions:
        if (self.input_width is None) != (self.input_height is None):
            raise ValueError("give input_width and input_height together, or neither")
        return self


class ReplaceWithStudent(Pass):
    """Replaces the graph; the student's input and output are stored with the variant."""

    name = "replace_with_student"
    image_input_only = True
    one_task_only = True
    options_type = ReplaceWithStudentOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the student; ``context.input`` and ``context.output`` are its own.

        Size, labels, the pixels' color, scale, mean and resizing stay as the passes before left them, except
        where an option changes them; the layout is NCHW.

        Raises:
            ModelFileError: the file of initial weights cannot be read.
            RecipeError: a file of another input or output, a size that does not fit, a decoder without a
                student, or a detector with other strides.
        """
        from ad_compressed_perception.training.students.build import build_student
        from ad_compressed_perception.training.students.spec import StudentSpec

        options: ReplaceWithStudentOptions = self.options
        manifest = context.manifest
        _require_decoder(manifest)
        spec = _input(context.input, options)
        if manifest.task == "detection":
            _require_same_strides(context.output)
        fresh = build_student(
            StudentSpec(
                encoder=options.encoder,
                task="trajectory" if context.output.decoder == "trajectory" else manifest.task,
                input_width=spec.width,
                input_height=spec.height,
                input_channels=spec.channels,
                input_name=model.graph.input[0].name,
                width=options.width,
                channel_multiple=options.channel_multiple,
                classes=len(context.output.options.get("label_ids") or manifest.labels) or 1,
                output_stride=options.output_stride,
                collision=bool(context.output.options.get("collision_output")),
                seed=options.seed,
            )
        )
        student = fresh if options.initialize_from is None else _read_student(options.initialize_from, fresh)
        context.input = spec
        context.output = _output(context.output)
        require_decodable(context, refresh_outputs(student))
        context.notes.update(
            encoder=options.encoder,
            width=options.width,
            input=f"{spec.width}x{spec.height}",
            parameters=sum(_elements(t.dims) for t in student.graph.initializer if t.data_type == _FLOAT),
            start=options.initialize_from or "fresh weights",
        )
        if options.initialize_from is None:
            context.notes["needs_fine_tuning"] = (
                "the student has random weights until a pass trains it: put distill after it"
            )
        return student


_FLOAT = 1  # TensorProto.FLOAT


def _elements(dims: Any) -> int:
    count = 1
    for size in dims:
        count *= int(size)
    return count


def _require_decoder(manifest: Manifest) -> None:
    decoders = _DECODERS.get(manifest.task, ())
    if manifest.output.decoder not in decoders:
        raise RecipeError(
            f"a student for {manifest.task} fits decoder {' or '.join(decoders)}, and the model's is "
            f"{manifest.output.decoder!r}: use prune_channels and distill instead"
        )


def _input(spec: InputSpec, options: ReplaceWithStudentOptions) -> InputSpec:
    width, height = options.input_width or spec.width, options.input_height or spec.height
    sized = spec if (width, height) == (spec.width, spec.height) else resized_spec(spec, width, height)
    # The student's graph takes the baseline's pixels as floats; embed_preprocessing makes them bytes again.
    return sized.model_copy(update={"layout": "NCHW", "dtype": "float32"})


def _output(output: OutputSpec) -> OutputSpec:
    from ad_compressed_perception.training.students import (
        detection_head,
        planning_head,
        segmentation_head,
        trajectory_head,
    )

    options: dict[str, Any] = dict(output.options)
    if output.decoder == "argmax":
        options.update(layout="NCHW", output=segmentation_head.OUTPUT)
    elif output.decoder == "yolox":
        options.update(output=detection_head.OUTPUT)
    elif output.decoder == "trajectory":
        options.update(output=trajectory_head.OUTPUT)
    else:
        options.update(steering_output=planning_head.STEERING)
        if options.get("collision_output"):
            options.update(collision_output=planning_head.COLLISION)
    return output.model_copy(update={"options": options})


def _read_student(path: str, fresh: ModelProto) -> ModelProto:
    """Return the model of a file whose inputs and outputs are those of a new student."""
    from ad_compressed_perception.onnx_graph.io import read_model

    model = read_model(Path(path).expanduser())
    found, expected = (_signature(one) for one in (model, fresh))
    if found != expected:
        raise RecipeError(f"initialize_from: {path} has {found}, this student {expected}")
    return model


def _signature(model: ModelProto) -> str:
    """Return inputs and outputs with their types and sizes, as text."""
    parts = []
    for values in (model.graph.input, model.graph.output):
        shapes = (
            (value.name, [size.dim_value for size in value.type.tensor_type.shape.dim]) for value in values
        )
        parts.append(", ".join(f"{name} {shape}" for name, shape in shapes))
    return " -> ".join(parts)


def _require_same_strides(output: OutputSpec) -> None:
    from ad_compressed_perception.training.students.detection_head import STRIDES

    strides = output.options.get("strides", STRIDES)
    if strides != STRIDES:
        raise RecipeError(
            "a detection student is trained on its teacher's output cell by cell and has cells at strides "
            f"{STRIDES}, not {strides}: use prune_channels and distill instead"
        )
