# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clean networks with one fault each, and the nodes at which a target's rules must find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmark.preflight_graphs import FORMS, Net, build, clean

TRT = ("tensorrt10", "tensorrt11")
_LACKING = {
    "tensorrt10": ("Bernoulli", ""),
    "tensorrt11": ("Bernoulli", ""),
    "openvino": ("Bernoulli", ""),
    "qnn": ("Sinh", ""),
    "litert": ("Sinh", ""),
    "onnxruntime": ("Twist", "example.com"),
}


@dataclass(frozen=True)
class Seeded:
    """A network with a fault.

    Attributes:
        model: the network.
        rule: name of the rule that must find it.
        nodes: names of the nodes at which it must be found.
    """

    model: ModelProto
    rule: str
    nodes: frozenset[str]


def seeded(target: str, fault: str, seed: int) -> Seeded:
    """Return a clean network of a target with a fault at a random place."""
    return FAULTS[fault][1](target, seed)


def faults_of(target: str) -> list[str]:
    """Return the faults that a target has a rule for."""
    return [name for name, (targets, _) in FAULTS.items() if target in targets]


class _Edit:
    """A clean network that is being changed."""

    def __init__(self, target: str, seed: int, model: ModelProto | None = None) -> None:
        self.model = clean(target, seed) if model is None else model
        del self.model.graph.value_info[:]
        self.rng = np.random.default_rng(seed + 1000)

    def pick(self, accept: Callable[[NodeProto], bool]) -> NodeProto:
        found = [node for node in self.model.graph.node if accept(node)]
        return found[int(self.rng.integers(len(found)))]

    def producer(self, name: str) -> NodeProto | None:
        return next((node for node in self.model.graph.node if name in node.output), None)

    def readers(self, name: str) -> list[NodeProto]:
        return [node for node in self.model.graph.node if name in node.input]

    def store(self, name: str, value: NDArray[np.generic]) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def stored(self, name: str) -> NDArray[np.generic]:
        tensor = next(one for one in self.model.graph.initializer if one.name == name)
        value: NDArray[np.generic] = numpy_helper.to_array(tensor)
        return value

    def replace(self, old: str, new: str, but: NodeProto | None = None) -> None:
        for node in self.model.graph.node:
            if node is not but:
                node.input[:] = [new if name == old else name for name in node.input]

    def at_input(self, nodes: list[NodeProto], output: str) -> None:
        """Put nodes between the input x and what reads it."""
        self.replace("x", output)
        for place, node in enumerate(nodes):
            self.model.graph.node.insert(place, node)

    def done(self, rule: str, *nodes: str) -> Seeded:
        return Seeded(onnx.shape_inference.infer_shapes(self.model), rule, frozenset(nodes))

    def activation(self) -> tuple[NodeProto, NodeProto]:
        """Return a random QuantizeLinear of an activation with the DequantizeLinear behind it."""
        quantize = self.pick(lambda node: node.op_type == "QuantizeLinear")
        return quantize, self.readers(quantize.output[0])[0]

    def quantized_conv(self) -> NodeProto:
        made = {
            name
            for node in self.model.graph.node
            if node.op_type == "DequantizeLinear"
            for name in node.output
        }
        return self.pick(lambda node: node.op_type == "Conv" and node.input[0] in made)


def _lacking(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    operator, domain = _LACKING[target]
    if domain:
        edit.model.opset_import.append(helper.make_opsetid(domain, 1))
    edit.at_input([helper.make_node(operator, ["x"], ["seeded"], "seeded_node", domain=domain)], "seeded")
    return edit.done("operators", "seeded_node")


def _dynamic(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    axis = int(edit.rng.choice([0, 2]))
    edit.model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "N"
    return edit.done({"qnn": "shapes", "litert": "shapes"}.get(target, "input_shapes"), "x")


def _half_data(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    conv = edit.quantized_conv()
    dequantize = edit.producer(conv.input[0])
    assert dequantize is not None
    quantize = edit.producer(dequantize.input[0])
    assert quantize is not None
    conv.input[0] = quantize.input[0]
    return edit.done("units", conv.name)


def _half_weights(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    conv = edit.quantized_conv()
    shape = edit.stored(edit.producer(conv.input[1]).input[0]).shape  # type: ignore[union-attr]
    conv.input[1] = edit.store("seeded_weights", edit.rng.normal(0, 0.2, shape).astype(np.float32))
    return edit.done("units", conv.name)


def _half_output(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    convs = [node for node in edit.model.graph.node if node.op_type == "Conv"]
    edit.rng.shuffle(convs)  # type: ignore[arg-type]
    for conv in convs:
        (quantize,) = edit.readers(conv.output[0])
        (dequantize,) = edit.readers(quantize.output[0])
        if any(node.op_type == "MaxPool" for node in edit.readers(dequantize.output[0])):
            continue  # ONNX Runtime takes the pair behind the MaxPool
        if dequantize.output[0] == "y":
            conv.output[0] = "y"
        edit.replace(dequantize.output[0], conv.output[0])
        for node in (quantize, dequantize):
            edit.model.graph.node.remove(node)
        return edit.done("units", conv.name)
    return _half_output(target, seed + 1000)


def _per_channel(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    quantize = next(node for node in edit.model.graph.node if node.op_type == "QuantizeLinear")
    dequantize = edit.readers(quantize.output[0])[0]  # of the image, whose channels are known
    zero = edit.stored(quantize.input[2])
    names = [
        edit.store("seeded_scale", np.array([0.1, 0.2, 0.3], np.float32)),
        edit.store("seeded_zero", np.full(3, zero, zero.dtype)),
    ]
    for node in (quantize, dequantize):
        node.input[1:] = names
    return edit.done("activation_scales", quantize.name)


def _with_zero(rule: str, zero: NDArray[np.generic]) -> Callable[[str, int], Seeded]:
    def make(target: str, seed: int) -> Seeded:
        edit = _Edit(target, seed)
        quantize, dequantize = edit.activation()
        name = edit.store("seeded_zero", zero)
        quantize.input[2] = dequantize.input[2] = name
        return edit.done(rule, quantize.name)

    return make


def _wide(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    edit.model.opset_import[0].version = 21
    conv = edit.quantized_conv()
    dequantize = edit.producer(conv.input[0])
    assert dequantize is not None
    quantize = edit.producer(dequantize.input[0])
    assert quantize is not None
    name = edit.store("seeded_zero", np.uint16(30000))
    quantize.input[2] = name
    for reader in edit.readers(quantize.output[0]):
        reader.input[2] = name
    return edit.done("units", conv.name)


def _bias(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    conv = edit.pick(lambda node: node.op_type == "Conv")
    channels = edit.stored(conv.input[2]).size
    inputs = [
        edit.store("seeded_bias", np.zeros(channels, np.int32)),
        edit.store("seeded_scale", np.full(channels, 1e-4, np.float32)),
    ]
    node = helper.make_node("DequantizeLinear", inputs, ["seeded_float"], "seeded_node", axis=0)
    edit.model.graph.node.insert(0, node)
    conv.input[2] = "seeded_float"
    return edit.done("bias", "seeded_node")


def _axis(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    conv = edit.quantized_conv()
    dequantize = edit.producer(conv.input[1])
    assert dequantize is not None
    channels = edit.stored(dequantize.input[0]).shape[1]
    dequantize.input[1] = edit.store("seeded_scale", np.full(channels, 0.01, np.float32))
    dequantize.input[2] = edit.store("seeded_zero", np.zeros(channels, np.int8))
    next(one for one in dequantize.attribute if one.name == "axis").i = 1
    return edit.done("weight_axis", conv.name)


def _typed(rule: str, kind: int) -> Callable[[str, int], Seeded]:
    def make(target: str, seed: int) -> Seeded:
        edit = _Edit(target, seed)
        two = helper.make_tensor("seeded_two", kind, [], [2.0])
        edit.model.graph.initializer.append(two)
        nodes = [
            helper.make_node("Cast", ["x"], ["seeded_1"], "seeded_cast", to=kind),
            helper.make_node("Mul", ["seeded_1", "seeded_two"], ["seeded_2"], "seeded_node"),
            helper.make_node("Cast", ["seeded_2"], ["seeded_3"], "seeded_back", to=TensorProto.FLOAT),
        ]
        edit.at_input(nodes, "seeded_3")
        return edit.done(rule, "seeded_node")

    return make


def _cubic(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    edit.store("seeded_scales", np.array([1, 1, 2, 2], np.float32))
    node = helper.make_node("Resize", ["x", "", "seeded_scales"], ["seeded"], "seeded_node", mode="cubic")
    edit.at_input([node], "seeded")
    return edit.done("resize_mode", "seeded_node")


def _dilated(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    attributes = {"kernel_shape": [3, 3], "dilations": [2, 2], "pads": [2, 2, 2, 2]}
    edit.at_input([helper.make_node("MaxPool", ["x"], ["seeded"], "seeded_node", **attributes)], "seeded")
    return edit.done("pool_dilations", "seeded_node")


def _dangling(target: str, seed: int) -> Seeded:
    edit = _Edit(target, seed)
    edit.store("seeded_scale", np.float32(0.1))
    edit.store("seeded_zero", np.int8(0) if target in TRT else np.uint8(128))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "seeded_scale", "seeded_zero"], ["seeded_1"], "seeded_node"),
        helper.make_node("Cast", ["seeded_1"], ["seeded_2"], "seeded_cast", to=TensorProto.FLOAT),
    ]
    edit.at_input(nodes, "seeded_2")
    nodes[0].input[0] = edit.model.graph.node[0].input[0] = "x"
    return edit.done("pairs", "seeded_node")


def _transposed(target: str, seed: int) -> Seeded:
    net = Net(seed, FORMS[target])
    net.pairs.clear()
    made = net.conv("x", 3, 4)
    up = net.conv(made, 4, 4, "ConvTranspose")
    net.conv(up, 4, 4)
    names = [node.name for node in net.nodes if node.op_type == "ConvTranspose"]
    tensor = net.pair(net.nodes[-1].output[0])
    net.nodes[-1].output[0] = "y"
    assert tensor
    graph = helper.make_graph(
        net.nodes,
        "preflight",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        net.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Seeded(onnx.shape_inference.infer_shapes(model), "units", frozenset(names))


Maker = Callable[[str, int], Seeded]
FAULTS: dict[str, tuple[tuple[str, ...], Maker]] = {
    "unsupported operator": ((*TRT, "qnn", "litert", "openvino", "onnxruntime"), _lacking),
    "dynamic shape": ((*TRT, "qnn", "litert", "openvino"), _dynamic),
    "half a unit: data": ((*TRT, "qnn", "openvino", "onnxruntime"), _half_data),
    "half a unit: weights": ((*TRT, "qnn", "openvino"), _half_weights),
    "half a unit: output": (("qnn", "onnxruntime"), _half_output),
    "per-channel activation": ((*TRT, "qnn", "openvino"), _per_channel),
    "asymmetric zero point": (TRT, _with_zero("symmetric", np.int8(3))),
    "unsigned activation": (TRT, _with_zero("quantized_types", np.uint8(0))),
    "16-bit activation": (("openvino", "onnxruntime"), _wide),
    "quantized bias": (TRT, _bias),
    "scales along the wrong axis": ((*TRT, "qnn"), _axis),
    "float64": (TRT, _typed("double", TensorProto.DOUBLE)),
    "bfloat16": (("onnxruntime",), _typed("types", TensorProto.BFLOAT16)),
    "cubic resizing": (TRT, _cubic),
    "dilated pooling": (TRT, _dilated),
    "lone QuantizeLinear": ((*TRT, "qnn"), _dangling),
    "transposed convolution": (("onnxruntime",), _transposed),
}

__all__ = ["FAULTS", "Seeded", "build", "faults_of", "seeded"]
