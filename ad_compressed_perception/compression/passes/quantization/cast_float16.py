# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights and activations in half precision: half the size, fast where the runtime has FP16 kernels.

IEEE 754 binary16: 11 significant bits (relative rounding error up to 2^-11 = 0.05 %), largest number
65504, least normal one 6.1e-5. Operators whose values exceed it on a calibration frame stay in
single precision. GPUs and ARM processors have FP16 arithmetic; ONNX Runtime on x86 has few FP16 kernels
and inserts casts around the other operators, which is slower than single precision.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ad_compressed_perception.compression.quantization.activation_ranges import EMPTY, collect_ranges
from ad_compressed_perception.compression.quantization.float_graph import name_nodes, quiet, save_float
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.onnx_graph.graph import remove_dead
from ad_compressed_perception.onnx_graph.inferred_types import infer_types
from ad_compressed_perception.onnx_graph.io import float_constants, is_quantized, opset_of
from ad_compressed_perception.onnx_graph.normal_form import sort_nodes
from ad_compressed_perception.onnx_graph.reserved_names import ReservedNames
from ad_compressed_perception.onnx_graph.subgraphs import with_placeholders, without_placeholders
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_FLOAT16 = 65504.0
_OPTIONAL_RESIZE = 13


class CastFloat16Options(PassOptions):
    """Options of cast_float16."""

    headroom: float = Field(
        4.0, ge=1.0, le=1000.0, description="safety factor between the largest activation and overflow"
    )


class CastFloat16(Pass):
    """Turns a single precision graph into half precision; inputs and outputs stay as they are."""

    name = "cast_float16"
    lowers_precision = True
    options_type = CastFloat16Options

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the graph in half precision.

        Raises:
            ModelFileError: quantized, half precision already, a weight beyond 65504, or the converter
                refused the graph.
        """
        from onnxruntime.transformers.float16 import convert_float_to_float16

        options: CastFloat16Options = self.options
        if is_quantized(model):
            raise ModelFileError("the model is quantized already; start from its float baseline")
        constants = list(float_constants(model))
        if any(values.dtype == np.float16 for _, values in constants):
            raise ModelFileError("the model is in half precision already")
        for name, values in constants:
            peak = float(np.abs(values).max(initial=0.0))
            if not peak <= MAX_FLOAT16:
                raise ModelFileError(
                    f"weight {name!r} reaches {peak:.3g}, half precision ends at {MAX_FLOAT16:g}: "
                    "leave this model in single precision or use bf16"
                )
        name_nodes(model)
        _drop_empty_inputs(model)
        kept = self._beyond_range(model, context, MAX_FLOAT16 / options.headroom)
        model = infer_types(model)
        names = ReservedNames(model)
        stored = with_placeholders(model)
        bodied = [node.name for node in model.graph.node if node.op_type in stored]
        try:
            with quiet(), warnings.catch_warnings():
                # It warns about every weight below the smallest FP16 number, to which it rounds them.
                warnings.simplefilter("ignore")
                cast: ModelProto = convert_float_to_float16(
                    model, keep_io_types=True, disable_shape_infer=True, node_block_list=[*kept, *bodied]
                )
        except Exception as error:  # a third party's many types
            reason = names.readable(one_line(error))
            raise ModelFileError(f"the converter refused the graph: {reason}") from error
        _remove_cast_pairs(cast, [*kept, *bodied])
        cast = names.restore(without_placeholders(cast, stored))
        context.notes.update(headroom=options.headroom, single_precision_nodes=kept)
        return cast

    def _beyond_range(self, model: ModelProto, context: PassContext, limit: float) -> list[str]:
        """Return the operators with inputs or outputs beyond the limit on a frame, or without values."""
        kinds = sorted({node.op_type for node in model.graph.node})
        ranges = collect_ranges(save_float(model, context), kinds, "minmax", 100.0, context)
        large = {
            name
            for name, data in ranges.items()
            if max(abs(float(np.min(end))) for end in data.range_value) > limit
        }
        large |= set(context.notes.get(EMPTY, ()))
        return [node.name for node in model.graph.node if large & {*node.input, *node.output}]


def _drop_empty_inputs(model: ModelProto) -> None:
    """Omit inputs of Resize that are empty lists, as opset 13 allows, in place.

    The converter would put casts before them, and a runtime could no longer see that they are empty.
    """
    empty = {tensor.name for tensor in model.graph.initializer if 0 in tensor.dims}
    if opset_of(model) < _OPTIONAL_RESIZE:
        return
    for node in model.graph.node:
        if node.op_type == "Resize":
            for index, name in enumerate(node.input):
                if index > 0 and name in empty:
                    node.input[index] = ""


def _remove_cast_pairs(model: ModelProto, kept: list[str]) -> None:
    """Remove casts between adjacent operators in single precision, in place.

    The converter casts to half precision after each operator and back before the next, which would overflow.
    """
    from onnx import TensorProto

    single = {name for node in model.graph.node if node.name in kept for name in node.output}
    single |= {value.name for value in model.graph.input}
    to_half = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT16 and node.input[0] in single
    }
    same = {
        node.output[0]: to_half[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT and node.input[0] in to_half
    }
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in same:
                node.input[index] = same[name]
    remove_dead(model, keep_shapes=True)
    sort_nodes(model)
