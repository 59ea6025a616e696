# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which tensors of a student are trained, what they hold, and those of its teacher that they match."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import helper

from ad_compressed_perception.core.errors import ManifestError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec
from ad_compressed_perception.core.registry import DECODERS, find
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.image_free import outputs_without_input
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.base import Decoder
from ad_compressed_perception.tasks.output_kinds import OutputKinds
from ad_compressed_perception.training.distillation.declared_kinds import require_columns, require_declared
from ad_compressed_perception.training.distillation.recognized_kinds import is_softmax, recognized_kinds
from ad_compressed_perception.training.graph_module.module import GraphModule

if TYPE_CHECKING:
    from onnx import ModelProto

Observed = Mapping[str, tuple[tuple[int, ...], bool]]
Kinds = Mapping[str, OutputKinds]


@dataclass(frozen=True)
class TrainedTensor:
    """A tensor of a graph, and what its numbers are.

    Attributes:
        name: of the tensor.
        kinds: of its numbers.
        is_softmaxed: whether a Softmax computes it.
    """

    name: str
    kinds: OutputKinds
    is_softmaxed: bool


@dataclass(frozen=True)
class TrainedOutput:
    """A tensor of the student, that of its teacher, and the shape of the student's."""

    student: TrainedTensor
    teacher: TrainedTensor
    shape: tuple[int, ...]


def trained_outputs(
    student: GraphModule, teacher: ModelProto, example: torch.Tensor, context: PassContext
) -> list[TrainedOutput]:
    """Return the outputs that the decoder reads, or all tensors that the student gives.

    All are trained where the decoder declares no kinds, or reads what is behind operators that training does
    not run; what tensors without declared kinds consist of is recognized in the graph.

    Raises:
        RecipeError: nothing depends on the image, a tensor that the teacher lacks or without a batch axis.
        ModelFileError: the decoder cannot read the graph.
    """
    model, observed = student.model, student.observed(example)
    constant = outputs_without_input(model)
    given = [name for name in student.output_names if name not in constant]
    own = _declared(context, context.output, context.input, model)
    of_teacher = _declared(context, context.manifest.output, context.manifest.input, teacher)
    if own and own.keys() <= set(given):
        other = list(of_teacher.items())
        if len(own) != len(other):
            raise RecipeError(
                f"the decoder reads {len(own)} outputs of the student, {len(other)} of its teacher"
            )
    else:
        in_teacher = {name for node in teacher.graph.node for name in node.output}
        own = _parts(model, given, own, in_teacher, observed)
        other = _in_teacher(own, observed, teacher, of_teacher, context.manifest.input)
    if not own:
        raise RecipeError("no output of the graph depends on the image: there is nothing to train")
    found = []
    for (name, kinds), (teacher_name, teacher_kinds) in zip(own.items(), other, strict=True):
        shape = observed[name][0]
        if shape[:1] != (1,):
            raise RecipeError(
                f"output {name!r} is {list(shape)}: its first axis is not the batch, so that it cannot be "
                "compared image by image"
            )
        size = context.input.width, context.input.height
        require_columns(context.output.decoder, name, kinds, shape, size)
        tensors = [
            TrainedTensor(tensor, of, is_softmax(graph, tensor))
            for graph, tensor, of in ((model, name, kinds), (teacher, teacher_name, teacher_kinds))
        ]
        found.append(TrainedOutput(tensors[0], tensors[1], shape))
    return found


def _parts(
    model: ModelProto,
    names: Iterable[str],
    declared: Kinds,
    in_teacher: Collection[str],
    observed: Observed,
) -> dict[str, OutputKinds]:
    """Return the tensors that outputs consist of, with their kinds."""
    parts: dict[str, OutputKinds] = {}
    shares = {name for name, (_, is_share) in observed.items() if is_share}
    for name in names:
        known = {name: declared[name]} if name in declared else None
        parts |= known or recognized_kinds(model, name, in_teacher, shares)
    return parts


def _in_teacher(
    own: Kinds, observed: Observed, teacher: ModelProto, declared: Kinds, spec: InputSpec
) -> list[tuple[str, OutputKinds]]:
    """Return the teacher's tensor for each of the student's: of the same name, or alone of its kind and size.

    Passes that simplify a graph rename tensors and move transpositions.
    """
    in_teacher = {name for node in teacher.graph.node for name in node.output}
    lacking = [name for name in own if name not in in_teacher]
    if not lacking:
        return list(own.items())
    module = GraphModule(teacher)
    seen = module.observed(torch.rand(*spec.shape, generator=torch.Generator().manual_seed(0)))
    parts = _parts(module.model, module.output_names, declared, in_teacher, seen)
    found: dict[str, str] = {}
    for name in lacking:
        fitting = [
            part
            for part, kinds in parts.items()
            if part not in own
            and kinds.columns == own[name].columns
            and sorted(seen[part][0]) == sorted(observed[name][0])
        ]
        if len(fitting) != 1:
            raise RecipeError(f"the teacher has no output {name} that the student could learn")
        found[name] = fitting[0]
    return [(found[name], parts[found[name]]) if name in found else (name, own[name]) for name in own]


def _declared(context: PassContext, output: OutputSpec, spec: InputSpec, model: ModelProto) -> Kinds:
    """Return what the decoder of an output declares of a graph's outputs."""
    manifest = context.manifest.model_copy(update={"output": output, "input": spec})
    decoder: Decoder = find(DECODERS, output.decoder, ManifestError)(manifest)
    specs = []
    for value in model.graph.output:
        kind = value.type.tensor_type
        sizes = tuple(side.dim_value if side.HasField("dim_value") else None for side in kind.shape.dim)
        specs.append(
            TensorSpec(value.name, sizes, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name)
        )
    decoder.check(tuple(specs))
    return require_declared(output.decoder, decoder.output_kinds(), [spec.name for spec in specs])
