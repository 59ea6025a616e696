# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small random networks in the form of each target: clean ones, and partly quantized ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 16
SCALE = 0.05
"""Of every activation."""
TARGETS = ("tensorrt10", "tensorrt11", "qnn", "litert", "openvino", "onnxruntime")


@dataclass(frozen=True)
class Form:
    """How a target wants its pairs.

    Attributes:
        pairs: whether there are any.
        everywhere: on inputs and outputs of all operators; else on the inputs of compute ops.
        unsigned: uint8 with zero points; else int8 symmetric.
        bias: whether biases are quantized to int32.
        nhwc: whether the image is transposed first.
    """

    pairs: bool = True
    everywhere: bool = False
    unsigned: bool = True
    bias: bool = True
    nhwc: bool = False


FORMS = {
    "tensorrt10": Form(unsigned=False, bias=False),
    "tensorrt11": Form(unsigned=False, bias=False),
    "qnn": Form(everywhere=True),
    "litert": Form(pairs=False, nhwc=True),
    "openvino": Form(),
    "onnxruntime": Form(everywhere=True),
}


@dataclass
class Net:
    """A network in the making; ``omit`` says by chance which parts of a unit stay in float."""

    seed: int
    form: Form
    omit: float = 0.0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0
    pairs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def name(self, kind: str) -> str:
        """Return a new name."""
        self.count += 1
        return f"{kind}_{self.count}"

    def store(self, kind: str, value: NDArray[np.generic]) -> str:
        """Store a weight and return its name."""
        name = self.name(kind)
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], outputs: int = 1, **attributes: object) -> str:
        """Append a node and return its first output."""
        name = self.name(operator)
        made = [f"{name}_out{place or ''}" for place in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, made, name, **attributes))
        return made[0]

    def kept(self) -> bool:
        """Whether a pair that belongs here is written."""
        return self.form.pairs and self.rng.random() >= self.omit

    def pair(self, tensor: str, scale: float = SCALE, *, kept: bool | None = None) -> str:
        """Return a tensor behind its Q/DQ pair, or as it is where the pair is left out."""
        if not (self.kept() if kept is None else kept):
            return tensor
        if tensor in self.pairs:
            return self.pairs[tensor]
        unsigned = self.form.unsigned
        zero = np.uint8(128) if unsigned else np.int8(0)
        inputs = [self.store("scale", np.float32(scale)), self.store("zero", zero)]
        made = self.add("DequantizeLinear", [self.add("QuantizeLinear", [tensor, *inputs]), *inputs])
        self.pairs[tensor] = made
        return made

    def stored_pair(self, values: NDArray[np.float32], axis: int) -> str:
        """Return weights dequantized from int8, a scale a channel; plain where the pair is left out."""
        if not self.kept():
            return self.store("weights", values)
        others = tuple(place for place in range(values.ndim) if place != axis)
        scale = (np.abs(values).max(axis=others) / 127.0).astype(np.float32)
        shape = [1] * values.ndim
        shape[axis] = -1
        quantized = np.clip(np.rint(values / scale.reshape(shape)), -127, 127).astype(np.int8)
        inputs = [self.store("weights", quantized), self.store("scale", scale)]
        inputs.append(self.store("zero", np.zeros(scale.shape, np.int8)))
        return self.add("DequantizeLinear", inputs, axis=axis)

    def bias(self, channels: int, weights: str) -> str:
        """Return a bias; where form and weights are quantized, from int32 with the scale of the products."""
        values = self.rng.normal(0, 0.1, channels).astype(np.float32)
        scale_name = next((one.input[1] for one in self.nodes if one.output[0] == weights), None)
        if not self.form.bias or scale_name is None or not self.kept():
            return self.store("bias", values)
        stored = next(one for one in self.weights if one.name == scale_name)
        scale = (numpy_helper.to_array(stored) * np.float32(SCALE)).astype(np.float32)
        inputs = [self.store("bias", np.rint(values / scale).astype(np.int32)), self.store("scale", scale)]
        return self.add("DequantizeLinear", inputs, axis=0)

    def conv(self, tensor: str, channels: int, made: int, operator: str = "Conv") -> str:
        """Append a 3x3 convolution of the same size."""
        transposed = operator == "ConvTranspose"
        shape = (channels, made, 3, 3) if transposed else (made, channels, 3, 3)
        values = self.rng.normal(0, 0.2, shape).astype(np.float32)
        inputs = [self.pair(tensor), self.stored_pair(values, int(transposed))]
        inputs.append(self.bias(made, inputs[1]))
        return self.add(operator, inputs, pads=[1, 1, 1, 1], kernel_shape=[3, 3])

    def between(self, tensor: str) -> str:
        """Return an operator's input as the form has it: in a pair where pairs are everywhere."""
        return self.pair(tensor) if self.form.everywhere else tensor


def build(net: Net, blocks: tuple[str, ...] | None = None) -> onnx.ModelProto:
    """Return a network of two to five blocks, closed by a pair where pairs are everywhere."""
    chosen = blocks or tuple(net.rng.choice(list(_BLOCKS), int(net.rng.integers(2, 6))))
    tensor, channels = "x", 3
    shape: list[int] = [1, 3, SIZE, SIZE]
    if net.form.nhwc:
        shape = [1, SIZE, SIZE, 3]
        tensor = net.add("Transpose", [tensor], perm=[0, 3, 1, 2])
    for block in ("conv", *chosen):
        tensor, channels = (_BLOCKS | {"other": _other})[block](net, tensor, channels)
    if net.rng.random() < 0.5:
        tensor = _classify(net, tensor, channels)
    if net.form.everywhere:
        tensor = net.pair(tensor)
    net.nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        net.nodes,
        "preflight",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        net.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    return model


def _conv(net: Net, tensor: str, channels: int) -> tuple[str, int]:
    made = int(net.rng.choice([4, 8]))
    return net.conv(tensor, channels, made), made


def _conv_relu(net: Net, tensor: str, channels: int) -> tuple[str, int]:
    tensor, channels = _conv(net, tensor, channels)
    if (
        net.form.everywhere
    ):  # the pair behind it clips as the Relu does where its zero point is the least value
        return net.add("LeakyRelu", [net.pair(tensor)], alpha=0.1), channels
    return net.add("Relu", [tensor]), channels


def _residual(net: Net, tensor: str, channels: int) -> tuple[str, int]:
    made = net.conv(tensor, channels, channels)
    return net.add("Add", [net.between(tensor), net.between(made)]), channels


def _gate(net: Net, tensor: str, channels: int) -> tuple[str, int]:
    source = net.between(tensor)
    return net.add("Mul", [source, net.between(net.add("Sigmoid", [source]))]), channels


def _join(net: Net, tensor: str, channels: int) -> tuple[str, int]:
    made = net.conv(tensor, channels, 4)
    return net.add("Concat", [net.between(tensor), net.between(made)], axis=1), channels + 4


def _pool(net: Net, tensor: str, channels: int) -> tuple[str, int]:
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
    return net.add("MaxPool", [net.between(tensor)], **attributes), channels


def _average(net: Net, tensor: str, channels: int) -> tuple[str, int]:
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
    return net.add("AveragePool", [net.between(tensor)], **attributes), channels


_ELEMENTWISE = ("Abs", "Neg", "Erf", "Elu", "Exp", "HardSigmoid", "Sigmoid", "Softmax", "Softplus", "Tanh")
_OF_TWO = ("Div", "Max", "Min", "Sub")


def _other(net: Net, tensor: str, channels: int) -> tuple[str, int]:
    """Append an operator with pairs on all sides, whether or not a runtime has an integer kernel of it."""
    source = net.pair(tensor, kept=True)
    kind = str(net.rng.choice([*_ELEMENTWISE, *_OF_TWO, "normalize", "enlarge", "pad", "largest"]))
    if kind == "normalize":
        one, zero = (net.store("stored", np.full(channels, value, np.float32)) for value in (1.0, 0.0))
        if net.rng.random() < 0.5:
            made = net.add("InstanceNormalization", [source, one, zero])
        else:
            made = net.add("BatchNormalization", [source, one, zero, zero, one])
    elif kind == "enlarge":
        scales = net.store("scales", np.array([1, 1, 1.5, 1.5], np.float32))
        made = net.add("Resize", [source, "", scales], mode="linear")
    elif kind == "pad":
        made = net.add("Pad", [source, net.store("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))])
    elif kind == "largest":
        made = net.add("GlobalMaxPool", [source])
    else:
        made = net.add(kind, [source] * (2 if kind in _OF_TWO else 1))
    return net.pair(made, kept=True), channels


_BLOCKS: dict[str, Callable[[Net, str, int], tuple[str, int]]] = {
    "conv": _conv,
    "conv_relu": _conv_relu,
    "residual": _residual,
    "gate": _gate,
    "join": _join,
    "pool": _pool,
    "average": _average,
}


def _classify(net: Net, tensor: str, channels: int) -> str:
    """Append a global mean and a matrix product."""
    mean = net.add("GlobalAveragePool", [net.between(tensor)])
    flat = net.add("Flatten", [net.between(mean)], axis=1)
    weights = net.rng.normal(0, 0.2, (channels, 5)).astype(np.float32)
    if net.rng.random() < 0.5:
        return net.add("MatMul", [net.pair(flat), net.stored_pair(weights, 1)])
    stored = net.stored_pair(weights, 1)
    return net.add("Gemm", [net.pair(flat), stored, net.bias(5, stored)])


def clean(target: str, seed: int) -> onnx.ModelProto:
    """Return a network in which a target's rules must find nothing."""
    return build(Net(seed, FORMS[target]))


def partly_quantized(target: str, seed: int) -> onnx.ModelProto:
    """Return a network of which a quarter of the pairs are missing.

    Where pairs are everywhere, two operators more have them that a target's rules may or may not know.
    """
    net = Net(seed, FORMS[target], omit=0.25)
    if not net.form.everywhere:
        return build(net)
    chosen = [str(one) for one in net.rng.choice(list(_BLOCKS), int(net.rng.integers(2, 6)))]
    for _ in range(2):
        chosen.insert(int(net.rng.integers(len(chosen) + 1)), "other")
    return build(net, tuple(chosen))
