# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading ONNX graphs: which nodes are compute layers, which run as integers, in what precision.

Works on a model file and on the optimized graph that ONNX Runtime writes, whose nodes are the
operators actually executed (``com.microsoft:QLinearConv``, ``com.microsoft.nchwc:Conv``, ...).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord
from ad_compressed_perception.onnx_graph.walk import all_nodes, bodies, graph_nodes

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

FLOAT_COMPUTE = frozenset(
    {
        *("Conv", "ConvTranspose", "MatMul", "Gemm", "DeformConv"),
        *("FusedConv", "NhwcConv", "NhwcFusedConv", "FusedMatMul", "FusedGemm", "FusedMatMulActivation"),
        *("TransposeMatMul", "GroupedConv", "ConvTransposeWithDynamicPads", "GemmFastGelu", "GemmFloat8"),
        *("Attention", "MultiHeadAttention", "GroupQueryAttention"),
    }
)
INTEGER_COMPUTE = frozenset(
    {
        *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm", "QLinearConvTranspose"),
        *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger16", "QAttention"),
        *("QOrderedMatMul", "QOrderedAttention"),
    }
)
# Weights of few bits, arithmetic by the attribute accuracy_level: 4 means 8-bit integers.
WEIGHT_ONLY_COMPUTE = frozenset({"MatMulNBits", "MatMulBnb4", "MatMulFpQ4"})
_INT8_ACCURACY_LEVEL = 4
_INT32_RESULT = frozenset({"ConvInteger", "MatMulInteger", "MatMulInteger16"})
_FLOAT_RESULT = frozenset({"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention"})
_INT64_RESULT = frozenset({"Shape", "Size", "NonZero", "ArgMax", "ArgMin", "NonMaxSuppression"})
_INDEX_BESIDE = frozenset({"TopK", "MaxPool", "Unique"})
"""Operators whose outputs behind the first are indices."""
_BOOL_RESULT = frozenset(
    {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf"}
)
_QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def read_onnx(path: Path, content: bytes | None = None) -> ModelProto:
    """Parse an ONNX file, or its content where it was read already, without its external weights.

    Raises:
        BackendError: the file is missing, is not ONNX, is cut short or holds no graph.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise BackendError(f"no model file at {path}")
    try:
        model = (
            onnx.load(str(path), load_external_data=False)
            if content is None
            else onnx.ModelProto.FromString(content)
        )
    except OSError as error:
        raise BackendError(f"cannot read model file {path}: {error.strerror or error}") from error
    except (DecodeError, ValueError, RuntimeError) as error:
        raise BackendError(f"{path} is not an ONNX file or is cut short: {one_line(error)}") from error
    if not model.graph.output:
        raise BackendError(f"{path} is not an ONNX file or is empty: it holds no graph with outputs")
    return model


def is_compute(node: NodeProto) -> bool:
    """Whether a node is a convolution or a matrix product, of any number type."""
    return node.op_type in FLOAT_COMPUTE | INTEGER_COMPUTE | WEIGHT_ONLY_COMPUTE


def is_integer(node: NodeProto) -> bool:
    """Whether a compute node multiplies integers."""
    if node.op_type in WEIGHT_ONLY_COMPUTE:
        return any(a.name == "accuracy_level" and a.i == _INT8_ACCURACY_LEVEL for a in node.attribute)
    return node.op_type in INTEGER_COMPUTE


def stores_weights_only(model: ModelProto) -> bool:
    """Whether a file has DequantizeLinear of stored weights only and no other Q/DQ nodes.

    Dynamically quantized matrix products need no Q/DQ pairs and are allowed.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    expanding = False
    for node in all_nodes(model):
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            expanding = True
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            return False
    return expanding


def is_plain_float32(model: ModelProto) -> bool:
    """Whether nothing in a file is quantized or of half precision, so that it runs as fp32 on a CPU."""
    from onnx import TensorProto

    plain = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
    if any(tensor.data_type not in plain for tensor in model.graph.initializer):
        return False
    if any(value.type.tensor_type.elem_type not in plain for value in model.graph.input):
        return False
    halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    for node in all_nodes(model):
        if node.op_type in _QUANTIZING or is_integer(node) or node.op_type in WEIGHT_ONLY_COMPUTE:
            return False
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in halves:
                return False
            if attribute.HasField("t") and attribute.t.data_type not in plain:
                return False
    return True


def has_compute(model: ModelProto) -> bool:
    """Whether a file has a convolution or matrix product at all."""
    return any(is_compute(node) for node in all_nodes(model))


def element_types(model: ModelProto) -> dict[str, int]:
    """Return the ONNX element type of each tensor, in bodies too, where it is stated or follows."""
    types: dict[str, int] = {}
    _propagate(model.graph, types)
    return types


def layer_records(model: ModelProto) -> list[LayerRecord]:
    """List the nodes of a graph with the number type each computes in.

    Types the file does not state are propagated from inputs and initializers by the operators' rules,
    because the optimizer writes most intermediate tensors without a type.
    """
    types = element_types(model)
    records = []
    for node in graph_nodes(model.graph):
        compute, integer = is_compute(node), is_integer(node)
        precision = "int8" if integer else _precision(node, types, compute)
        records.append(
            LayerRecord(
                name=node.name or (node.output[0] if node.output else node.op_type),
                operator=node.op_type,
                precision=precision,
                kernel=f"{node.domain or 'ai.onnx'}:{node.op_type}",
                is_compute=compute,
                is_integer=compute and integer,
            )
        )
    return records


def _precision(node: NodeProto, types: dict[str, int], compute: bool) -> str:
    # A compute layer has the type of its second input (the weights), other nodes that of their output.
    preferred = list(node.input[1:2]) if compute and node.op_type not in WEIGHT_ONLY_COMPUTE else []
    if node.op_type not in _QUANTIZING | {"Cast"}:
        preferred += [*node.output[:1], *node.input[:1]]
    else:
        preferred += list(node.output[:1])
    for name in preferred:
        if name in types:
            return precision_name(types[name])
    return "unknown"


def precision_name(element_type: int) -> str:
    """Return the package's name of an ONNX element type: fp32, fp16, bf16, int8 (signed or not), int64 ..."""
    from onnx import TensorProto

    names = {
        TensorProto.FLOAT: "fp32",
        TensorProto.FLOAT16: "fp16",
        TensorProto.BFLOAT16: "bf16",
        TensorProto.DOUBLE: "fp64",
        TensorProto.UINT8: "int8",
    }
    for kind, name in names.items():
        if kind == element_type:
            return name
    try:
        return str(TensorProto.DataType.Name(element_type)).lower()
    except ValueError:
        return "unknown"


def _propagate(graph: GraphProto, types: dict[str, int]) -> None:
    for tensor in graph.initializer:
        types[tensor.name] = tensor.data_type
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type:
            types.setdefault(value.name, value.type.tensor_type.elem_type)
    # ONNX graphs are written in topological order, so one traversal reaches every producer first.
    for node in graph.node:
        for body in bodies(node):
            _propagate(body, types)
        for name, result in zip(node.output, _result_types(node, types), strict=True):
            if result:
                types.setdefault(name, result)


def _result_types(node: NodeProto, types: dict[str, int]) -> list[int]:
    """Return the type of each output of a node; 0 where it is unknown."""
    from onnx import TensorProto

    inside = list(bodies(node))
    if inside:  # branches and loops give what their bodies give, a loop without its condition
        made = [value.name for value in inside[0].output][1 if node.op_type == "Loop" else 0 :]
        return [types.get(name, 0) for name in (made + [""] * len(node.output))[: len(node.output)]]
    found = [_result_type(node, types)] * len(node.output)
    if node.op_type in _INDEX_BESIDE:
        found[1:] = [int(TensorProto.INT64)] * len(found[1:])
    return found


def _result_type(node: NodeProto, types: dict[str, int]) -> int:
    from onnx import TensorProto

    attributes = {attribute.name: attribute for attribute in node.attribute}
    operator = node.op_type

    def of_input(index: int) -> int:
        return types.get(node.input[index], 0) if index < len(node.input) and node.input[index] else 0

    if operator == "Cast" and "to" in attributes:
        return attributes["to"].i
    if operator in ("Constant", "ConstantOfShape") and "value" in attributes:
        return attributes["value"].t.data_type
    if operator in ("QuantizeLinear", "DynamicQuantizeLinear"):
        return of_input(2) or TensorProto.UINT8
    if operator == "DequantizeLinear":
        return of_input(1)
    if operator == "QLinearConv":
        return of_input(7) or of_input(0)
    if operator == "QGemm":
        # Without the output's zero point (input 8) the result is float.
        return of_input(8) or TensorProto.FLOAT
    if operator in _INT32_RESULT:
        return TensorProto.INT32
    if operator in _FLOAT_RESULT or operator in WEIGHT_ONLY_COMPUTE:
        return TensorProto.FLOAT
    if operator in _INT64_RESULT:
        return TensorProto.INT64
    if operator in _BOOL_RESULT:
        return TensorProto.BOOL
    if operator in ("Where", "QLinearConcat"):
        # Where's first input is the condition; QLinearConcat's the output's scale, then its zero point.
        return of_input(1)
    return of_input(0)
