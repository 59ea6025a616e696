# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds a network layer by layer as an ONNX graph with seeded weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 13
_IR_VERSION = 8


@dataclass(frozen=True)
class Feature:
    """An image-shaped tensor of the graph, (1, channels, height, width).

    Attributes:
        name: in the graph.
        channels: of it.
        height: rows.
        width: columns.
    """

    name: str
    channels: int
    height: int
    width: int


def rounded_channels(channels: float, multiple: int) -> int:
    """Return a channel count rounded to the nearest multiple, at least one multiple.

    Processors multiply 8 or 16 channels at once; a partly filled vector costs as much as a full one.
    """
    return max(multiple, math.floor(channels / multiple + 0.5) * multiple)


class GraphBuilder:
    """Collects nodes and weights of a graph.

    Weights of convolutions and matrix products are drawn from a normal distribution of variance ``2 / fan
    in`` (He et al., Delving Deep into Rectifiers, 2015, equation 10), normalizations are initialized as the
    identity. The same seed and the same calls give the same graph, byte for byte.
    """

    def __init__(self, seed: int) -> None:
        """Start an empty graph."""
        self._rng = np.random.default_rng(seed)
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._counts: dict[str, int] = {}

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        self._counts[operator] = index = self._counts.get(operator, -1) + 1
        name = f"{operator.lower()}_{index}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output or name], name, **attributes))
        return output or name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Store a tensor and return its name."""
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolution(
        self,
        x: Feature,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        normalize: bool = True,
        activate: bool = True,
        bias: float = 0.0,
    ) -> Feature:
        """Append Conv, BatchNormalization and Relu, with "same" padding.

        Args:
            x: the input.
            channels: output channels.
            kernel: width and height, odd.
            stride: in both directions.
            groups: of the convolution; ``x.channels`` for a depthwise one.
            normalize: append BatchNormalization; otherwise the convolution has a bias.
            activate: append Relu.
            bias: its initial value, without normalization.
        """
        label = f"conv_{self._counts.get('Conv', -1) + 1}"
        shape = (channels, x.channels // groups, kernel, kernel)
        weight = self._rng.normal(0.0, math.sqrt(2.0 / math.prod(shape[1:])), shape)
        inputs = [x.name, self.constant(f"{label}.weight", weight.astype(np.float32))]
        if not normalize:
            inputs.append(self.constant(f"{label}.bias", np.full(channels, bias, np.float32)))
        reach = kernel // 2
        name = self.node(
            "Conv", inputs, kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[reach] * 4,
            group=groups,
        )  # fmt: skip
        if normalize:
            name = self._normalization(name, channels)
        if activate:
            name = self.node("Relu", [name])
        return Feature(name, channels, -(-x.height // stride), -(-x.width // stride))

    def _normalization(self, name: str, channels: int) -> str:
        label = f"norm_{self._counts.get('BatchNormalization', -1) + 1}"
        initial = {"scale": 1.0, "shift": 0.0, "mean": 0.0, "variance": 1.0}
        inputs = [
            self.constant(f"{label}.{key}", np.full(channels, value, np.float32))
            for key, value in initial.items()
        ]
        return self.node("BatchNormalization", [name, *inputs], epsilon=1e-5, momentum=0.9)

    def add(self, x: Feature, y: Feature, *, activate: bool = False) -> Feature:
        """Append the sum of two features of one shape."""
        name = self.node("Add", [x.name, y.name])
        return Feature(self.node("Relu", [name]) if activate else name, x.channels, x.height, x.width)

    def concatenate(self, parts: Sequence[Feature]) -> Feature:
        """Append a concatenation of features along the channels."""
        name = self.node("Concat", [part.name for part in parts], axis=1)
        return Feature(name, sum(part.channels for part in parts), parts[0].height, parts[0].width)

    def max_pool(self, x: Feature) -> Feature:
        """Append a 3x3 max pooling with stride 2."""
        name = self.node("MaxPool", [x.name], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        return Feature(name, x.channels, -(-x.height // 2), -(-x.width // 2))

    def upsample(self, x: Feature, factor: int, *, linear: bool = False, output: str = "") -> Feature:
        """Append an upsampling, nearest or linear."""
        factors = np.array([1.0, 1.0, factor, factor], np.float32)
        scales = self.constant(f"factors_{self._counts.get('Resize', -1) + 1}", factors)
        how: dict[str, Any] = (
            {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
            if linear
            else {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        )
        name = self.node("Resize", [x.name, "", scales], output, **how)
        return Feature(name, x.channels, x.height * factor, x.width * factor)

    def dense(self, vector: str, length: int, outputs: int) -> str:
        """Append a fully connected layer with a bias on a (1, length) vector."""
        label = f"dense_{self._counts.get('Gemm', -1) + 1}"
        matrix = self._rng.normal(0.0, math.sqrt(2.0 / length), (outputs, length)).astype(np.float32)
        inputs = [
            vector,
            self.constant(f"{label}.weight", matrix),
            self.constant(f"{label}.bias", np.zeros(outputs, np.float32)),
        ]
        return self.node("Gemm", inputs, transB=1)

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        """Append a Reshape."""
        label = f"shape_{self._counts.get('Reshape', -1) + 1}"
        return self.node("Reshape", [name, self.constant(label, np.array(shape, np.int64))])

    def _drop_unread(self, read: set[str]) -> None:
        """Remove nodes and weights that lead to no output, such as encoder stages without a reader."""
        kept: list[NodeProto] = []
        for node in reversed(self._nodes):
            if read.intersection(node.output):
                kept.append(node)
                read.update(node.input)
        self._nodes = kept[::-1]
        self._weights = [tensor for tensor in self._weights if tensor.name in read]

    def finish(self, name: str, source: Feature, outputs: dict[str, list[int]]) -> ModelProto:
        """Return the graph with its input and outputs as a checked model with all shapes.

        Args:
            name: of the graph.
            source: the input.
            outputs: shapes by name.
        """

        def value(key: str, shape: list[int]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)

        self._drop_unread(set(outputs))
        graph_input = value(source.name, [1, source.channels, source.height, source.width])
        graph = helper.make_graph(
            self._nodes,
            name,
            [graph_input],
            [value(key, shape) for key, shape in outputs.items()],
            self._weights,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION,
            producer_name="ad_compressed_perception",
        )  # fmt: skip
        onnx.checker.check_model(model, full_check=True)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)
