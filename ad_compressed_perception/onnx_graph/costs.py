# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Static cost of an ONNX file: multiply-accumulates and parameters, layer by layer.

Counted on the file as written, not on the optimized graph, so that a quantized file and its float
baseline compare one to one: quantize and dequantize nodes count zero, and a weight behind a
DequantizeLinear counts like the float weight.

Multiply-accumulates (MAC; a FLOP count is about twice as high), with numel the number of elements:
    Conv, QLinearConv, ConvInteger:   numel(output) * numel(weight) / output channels
    ConvTranspose:                    numel(input) * numel(weight) / input channels
    MatMul, Gemm and their integer forms: numel(output) * shared dimension
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.denormals import denormal_tensors
from ad_compressed_perception.onnx_graph.graph import Graph, Shape, tensor_shapes
from ad_compressed_perception.onnx_graph.io import opset_of
from ad_compressed_perception.onnx_graph.layers import is_compute, read_onnx
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.packing.decompress import decompress

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

# Operator: index of its data input and of its weight input.
_CONVOLUTIONS = {"Conv": (0, 1), "FusedConv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
_TRANSPOSED = {"ConvTranspose": (0, 1)}
_PRODUCTS = {
    **dict.fromkeys(("MatMul", "Gemm", "FusedMatMul", "MatMulInteger"), (0, 1)),
    **dict.fromkeys(("QLinearMatMul", "QGemm"), (0, 3)),
}
_BIAS_INPUT = {"Conv": 2, "FusedConv": 2, "ConvTranspose": 2, "Gemm": 2, "QLinearConv": 8, "QGemm": 6}
_PASSES_WEIGHTS_ON = frozenset(
    {"DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose", "Reshape"}
)
FUSIBLE = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
        *("BatchNormalization", "Add", "Sub", "Mul", "Div", "Dropout", "Identity"),
        *("QuantizeLinear", "DequantizeLinear"),
    }
)
_OPSET_WITH_DATA_PROPAGATION = 13


@dataclass(frozen=True)
class LayerCost:
    """One convolution or matrix product of the file.

    Attributes:
        name: the node's name, or its first output's where it has none.
        operator: ONNX operator.
        output: name of its first output.
        output_shape: None where a dimension is not known before the model runs.
        macs: multiply-accumulates of one inference; None where the shapes are not known.
        parameters: elements of its weight and bias; 0 for a product of two activations.
        absorbs: names of the nodes that follow it alone (activation, normalization, ...) and of their
            outputs: a runtime that fuses them may name the fused layer after any of these.
    """

    name: str
    operator: str
    output: str
    output_shape: Shape
    macs: int | None
    parameters: int
    absorbs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelCosts:
    """Size and cost of a model file.

    Attributes:
        file: the file.
        size_bytes: of the file as stored, packed or not; weights kept in files beside it are not counted.
        opset: version of the default operator set; 0 for a format without one.
        ir_version: of the file format.
        nodes: operators in the file.
        operators: how many of each.
        macs: sum over the layers whose shapes are known.
        layers_without_macs: convolutions and matrix products whose shapes are not known.
        parameters: elements of all weights, biases and other float constants.
        denormal_weights: how many of them are float32 below the smallest normal number; see
            onnx_graph/denormals.py for what they cost.
        layers: convolutions and matrix products.
        inputs: graph inputs.
        outputs: graph outputs.
    """

    file: Path
    size_bytes: int
    opset: int
    ir_version: int
    nodes: int
    operators: dict[str, int]
    macs: int
    layers_without_macs: int
    parameters: int
    denormal_weights: int
    layers: tuple[LayerCost, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def model_costs(path: Path, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> ModelCosts:
    """Count an ONNX or .tflite file.

    Args:
        path: the file.
        input_shapes: sizes for inputs the file leaves dynamic; a dynamic first dimension not given
            here counts as a batch of one.

    Raises:
        BackendError: the file is missing or is not ONNX.
    """
    model = read_onnx(decompress(path))
    graph = Graph(model, with_bodies=True)
    inputs = [value for value in model.graph.input if value.name in graph.inputs]
    specs = tuple(_spec(value) for value in inputs)
    output_specs = tuple(_spec(value) for value in model.graph.output)
    _fix_input_shapes(inputs, input_shapes or {})
    shapes = _shapes(model)
    layers = tuple(_layer_cost(node, shapes, graph) for node in graph.nodes if is_compute(node))
    return ModelCosts(
        file=path,
        size_bytes=path.stat().st_size,
        opset=opset_of(model),
        ir_version=model.ir_version,
        nodes=len(graph.nodes),
        operators=dict(Counter(node.op_type for node in graph.nodes).most_common()),
        macs=sum(layer.macs or 0 for layer in layers),
        layers_without_macs=sum(layer.macs is None for layer in layers),
        parameters=_count_parameters(graph),
        denormal_weights=sum(int(mask.sum()) for _, _, mask in denormal_tensors(model)),
        layers=layers,
        inputs=specs,
        outputs=output_specs,
    )


def layer_macs(model: ModelProto, input_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return the multiply-accumulates of a graph's layers by their first output's name, if known."""
    fixed = copied(model)
    _fix_input_shapes(list(fixed.graph.input), input_shapes)
    graph, shapes = Graph(fixed, with_bodies=True), _shapes(fixed)
    costs = (_layer_cost(node, shapes, graph) for node in graph.nodes if is_compute(node))
    return {cost.output: cost.macs for cost in costs if cost.macs is not None}


def _spec(value: ValueInfoProto) -> TensorSpec:
    from onnx import helper

    kind = value.type.tensor_type.elem_type
    try:
        dtype = str(helper.tensor_dtype_to_np_dtype(kind))
    except (KeyError, ValueError):
        dtype = "unknown"
    return TensorSpec(value.name, _dimensions(value), dtype)


def _dimensions(value: ValueInfoProto) -> Shape:
    return tuple(
        size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None
        for size in value.type.tensor_type.shape.dim
    )


def _fix_input_shapes(inputs: list[ValueInfoProto], given: Mapping[str, tuple[int, ...]]) -> None:
    for value in inputs:
        sizes = given.get(value.name, ())
        for index, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.HasField("dim_value") and dimension.dim_value > 0:
                continue
            if len(sizes) == len(value.type.tensor_type.shape.dim):
                dimension.dim_value = sizes[index]
            elif index == 0:
                dimension.dim_value = 1


def _shapes(model: ModelProto) -> dict[str, Shape]:
    from onnx import version_converter

    # Each step may fail on operators unknown to the installed onnx; their counts are reported as unknown.
    with suppress(Exception):
        # Sizes computed in the graph (Shape, Slice, Resize) are propagated from this opset on only.
        if opset_of(model) < _OPSET_WITH_DATA_PROPAGATION:
            model = version_converter.convert_version(model, _OPSET_WITH_DATA_PROPAGATION)
    with suppress(ModelFileError):
        return tensor_shapes(model)
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


def _layer_cost(node: NodeProto, shapes: dict[str, Shape], graph: Graph) -> LayerCost:
    output = node.output[0] if node.output else ""
    parameters = 0
    for index in (_weight_index(node), _BIAS_INPUT.get(node.op_type, -1)):
        name = node.input[index] if 0 <= index < len(node.input) else ""
        if _is_constant(name, graph):
            parameters += _numel(shapes.get(name, ())) or 0
    return LayerCost(
        name=node.name or output,
        operator=node.op_type,
        output=output,
        output_shape=shapes.get(output, ()),
        macs=_macs(node, shapes),
        parameters=parameters,
        absorbs=_absorbs(node, graph),
    )


def _absorbs(node: NodeProto, graph: Graph) -> tuple[str, ...]:
    """Follow a layer's output while its only consumer is elementwise, with constant other inputs."""
    names: list[str] = []
    for _ in graph.nodes:  # a broken graph may be a circle
        output = node.output[0] if node.output else ""
        followers = graph.consumers.get(output, [])
        if len(followers) != 1 or followers[0].op_type not in FUSIBLE:
            return tuple(names)
        node = followers[0]
        if not all(name == output or _is_constant(name, graph) for name in node.input):
            return tuple(names)
        names += [node.name, node.output[0]]
    return tuple(names)


def _weight_index(node: NodeProto) -> int:
    return {**_CONVOLUTIONS, **_TRANSPOSED, **_PRODUCTS}.get(node.op_type, (-1, -1))[1]


def _is_constant(name: str, graph: Graph) -> bool:
    """Whether a tensor is a weight, possibly through a quantize/dequantize pair or a reshape."""
    for _ in graph.nodes:  # a broken graph may be a circle
        node = graph.producers.get(name)
        if node is None or node.op_type not in _PASSES_WEIGHTS_ON:
            return name in graph.weights or (node is not None and node.op_type == "Constant")
        name = node.input[0]
    return False


def _macs(node: NodeProto, shapes: dict[str, Shape]) -> int | None:
    operator = node.op_type
    table = {**_CONVOLUTIONS, **_TRANSPOSED, **_PRODUCTS}
    if operator not in table:
        return None
    data, weight = (shapes.get(node.input[index], ()) for index in table[operator])
    output = _numel(shapes.get(node.output[0], ()))
    if operator in _PRODUCTS:
        if not data or output is None:
            return None
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        shared = data[-2] if attributes.get("transA") and len(data) > 1 else data[-1]
        return None if shared is None else output * shared
    if len(weight) < 3 or None in weight:
        return None
    per_element = prod(size for size in weight[1:] if size is not None)
    elements = _numel(data) if operator in _TRANSPOSED else output
    return None if elements is None else elements * per_element


def _numel(shape: Shape) -> int | None:
    """Return the number of elements of a shape; None where a dimension or the whole shape is unknown."""
    if not shape or any(size is None for size in shape):
        return None
    return prod(size for size in shape if size is not None)


def _count_parameters(graph: Graph) -> int:
    """Count float and quantized constants, without quantization parameters and shapes."""
    from onnx import TensorProto

    counted = {
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE),
        *(TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4),
    }
    scales, biases = set(), set()
    for node in graph.nodes:
        operator, names = node.op_type, list(node.input)
        if operator in ("QuantizeLinear", "DequantizeLinear"):
            scales |= set(names[1:3])
            biases |= set(names[:1])
        elif operator in ("QLinearConv", "QLinearMatMul"):
            scales |= {*names[1:3], *names[4:8]}
            biases |= set(names[8:9])
        elif operator == "QGemm":
            scales |= {*names[1:3], *names[4:6], *names[7:9]}
            biases |= set(names[6:7])
        elif node.domain == "com.microsoft" and operator.startswith("QLinear"):
            scales |= {name for name in names if name.endswith(("_scale", "_zero_point"))}
        elif operator in ("Resize", "Upsample", "Clip"):
            scales |= set(names[1:])
    total = 0
    for tensor in graph.weights.values():
        integer_bias = tensor.data_type == TensorProto.INT32 and tensor.name in biases
        if tensor.name not in scales and (tensor.data_type in counted or integer_bias):
            total += prod(tensor.dims)
    for node in graph.nodes:
        if node.op_type != "Constant" or node.output[0] in scales:
            continue
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type in counted:
                total += prod(attribute.t.dims)
    return total
