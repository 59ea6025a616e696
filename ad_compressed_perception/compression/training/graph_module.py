# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph as a torch module that can be trained, and the trained weights back in the graph.

The graph stays the source of truth: the module runs its nodes in order, and what training changes
are initialisers, written back by name. Nothing is traced and nothing exported, so names, the
placement of Q/DQ nodes and metadata survive as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn

from ad_compressed_perception.compression.training.fake_quantize import ActivationQuantizer, WeightQuantizer
from ad_compressed_perception.compression.training.operators import (
    OPERATORS,
    Attributes,
    pad_window,
    same_padding,
)
from ad_compressed_perception.errors import ModelFileError

# Positions of the inputs that training may change; convolutions are submodules of their own.
_LEARNING_INPUTS = {
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "BatchNormalization": (1, 2),
    "PRelu": (1,),
}
_OTHER_OPERATORS = {"Conv", "QuantizeLinear", "DequantizeLinear"}


class Convolution(nn.Conv2d):
    """A Conv node; pads may be asymmetric, the weight may pass a quantiser."""

    def __init__(self, weight: NDArray[Any], bias: NDArray[Any] | None, attributes: Attributes) -> None:
        group = attributes.get("group", 1)
        super().__init__(
            weight.shape[1] * group, weight.shape[0], tuple(weight.shape[2:]),
            tuple(attributes.get("strides", [1, 1])), 0, tuple(attributes.get("dilations", [1, 1])),
            group, bias is not None,
        )  # fmt: skip
        self.attributes = attributes
        self.weight_quantizer: WeightQuantizer | None = None
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(np.array(weight, np.float32)))
            if self.bias is not None and bias is not None:
                self.bias.copy_(torch.from_numpy(np.array(bias, np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """Run the node."""
        weight = self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)
        pads = same_padding(self.attributes, list(x.shape[2:]), list(weight.shape[2:]))
        x, rest = pad_window(x, pads, 0.0)
        return F.conv2d(x, weight, self.bias, self.stride, tuple(rest), self.dilation, self.groups)


class Step:
    """One node as the module runs it."""

    def __init__(self, node: NodeProto, attributes: Attributes) -> None:
        self.operator = node.op_type
        self.name = node.name
        self.inputs = list(node.input)
        self.outputs = list(node.output)
        self.attributes = attributes


def attributes_of(node: NodeProto) -> Attributes:
    """Return a node's attributes as Python values; bytes become text."""
    values: Attributes = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        values[attribute.name] = value.decode() if isinstance(value, bytes) else value
    values["outputs"] = len(node.output)
    return values


class GraphModule(nn.Module):
    """Runs an ONNX graph node by node; weights of convolutions and products learn.

    Convolutions are submodules (``convolutions``, by the node's index), so that structured pruning
    finds them. A batch larger than the graph's one is allowed.
    """

    def __init__(self, model: ModelProto) -> None:
        """Take over the graph.

        Raises:
            ModelFileError: a node's operator is not among OPERATORS; the line names node and operator.
        """
        super().__init__()
        self.model = model
        graph = model.graph
        self._arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                value = attributes_of(node)["value"]
                self._arrays[node.output[0]] = numpy_helper.to_array(value)
        self.input_names = [value.name for value in graph.input if value.name not in self._arrays]
        self.output_names = [value.name for value in graph.output]
        self.convolutions = nn.ModuleDict()
        self.quantizers = nn.ModuleDict()
        self.parameters_by_name = nn.ParameterDict()
        self._parameter_keys: dict[str, str] = {}
        self._constant_keys: dict[str, str] = {}
        self._quantised_weights: dict[str, NodeProto] = {}
        self.steps: list[Step] = []
        self._plan()
        self._last_use = self._lifetimes()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the graph's outputs in their order."""
        values = dict(zip(self.input_names, inputs, strict=True))
        return self.run(values, self.output_names)

    def run(self, feeds: Mapping[str, Tensor], wanted: list[str]) -> tuple[Tensor, ...]:
        """Return any tensors of the graph by name."""
        values: dict[str, Tensor] = dict(feeds)
        keep = set(wanted)
        for index, step in enumerate(self.steps):
            outputs = self._execute(index, step, values)
            for name, value in zip(step.outputs, outputs, strict=False):
                values[name] = value
            for name in self._last_use.get(index, ()):
                if name not in keep:
                    values.pop(name, None)
        return tuple(values[name] for name in wanted)

    def write_back(self) -> ModelProto:
        """Return a copy of the graph with the present weights (integers where it is quantised)."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        fresh: dict[str, NDArray[Any]] = {}
        for index, step in enumerate(self.steps):
            key = str(index)
            if step.operator == "Conv" and key in self.convolutions:
                module: Any = self.convolutions[key]
                if module.weight_quantizer is None:
                    fresh[step.inputs[1]] = module.weight.detach().cpu().numpy()
                else:
                    node = self._quantised_weights[step.inputs[1]]
                    integers, scales = module.weight_quantizer.integers(module.weight)
                    fresh[node.input[0]], fresh[node.input[1]] = integers, scales
                if module.bias is not None:
                    self._write_bias(step, module, fresh)
        for name, key in self._parameter_keys.items():
            fresh[name] = self.parameters_by_name[key].detach().cpu().numpy()
        for tensor in model.graph.initializer:
            if tensor.name in fresh:
                tensor.CopyFrom(numpy_helper.from_array(fresh[tensor.name], tensor.name))
        return model

    def _plan(self) -> None:
        for node in self.model.graph.node:
            if node.op_type == "Constant":
                continue
            if node.op_type == "DequantizeLinear" and node.input[0] in self._arrays:
                self._quantised_weights[node.output[0]] = node
                continue
            if node.op_type not in OPERATORS.keys() | _OTHER_OPERATORS:
                raise ModelFileError(
                    f"training cannot run operator {node.op_type} of node {node.name or node.output[0]!r}; "
                    f"it knows {', '.join(sorted(OPERATORS.keys() | _OTHER_OPERATORS))}"
                )
            step = Step(node, attributes_of(node))
            index = str(len(self.steps))
            self.steps.append(step)
            if node.op_type == "Conv":
                self._plan_convolution(index, step)
            elif node.op_type == "QuantizeLinear":
                scale, zero = self._arrays[node.input[1]], self._arrays[node.input[2]]
                self.quantizers[index] = ActivationQuantizer(
                    float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]), str(zero.dtype)
                )
            else:
                for position in _LEARNING_INPUTS.get(node.op_type, ()):
                    if position < len(node.input) and node.input[position] in self._arrays:
                        self._learn(node.input[position])
        for name, value in self._arrays.items():
            if name not in self._parameter_keys:
                key = f"constant_{len(self._constant_keys)}"
                self.register_buffer(key, torch.from_numpy(np.array(value)), persistent=False)
                self._constant_keys[name] = key

    def _plan_convolution(self, index: str, step: Step) -> None:
        weight, quantizer = self._weight(step.inputs[1])
        bias = None
        if len(step.inputs) > 2 and step.inputs[2]:
            bias, _ = self._weight(step.inputs[2])
        module = Convolution(weight, bias, step.attributes)
        module.weight_quantizer = quantizer
        self.convolutions[index] = module

    def _weight(self, name: str) -> tuple[NDArray[Any], WeightQuantizer | None]:
        if name in self._arrays:
            return self._arrays[name], None
        node = self._quantised_weights.get(name)
        if node is None:
            raise ModelFileError(f"training needs constant weights; {name!r} is computed in the graph")
        integers, scale = self._arrays[node.input[0]], self._arrays[node.input[1]]
        axis = int(attributes_of(node).get("axis", 1)) if scale.size > 1 else 0
        shape = [1] * integers.ndim
        if scale.size > 1:
            shape[axis] = -1
        value = integers.astype(np.float32) * scale.astype(np.float32).reshape(shape)
        return value, WeightQuantizer(axis, str(integers.dtype)) if integers.dtype == np.int8 else None

    def _learn(self, name: str) -> None:
        if name not in self._parameter_keys:
            key = f"p{len(self._parameter_keys)}"
            self._parameter_keys[name] = key
            self.parameters_by_name[key] = nn.Parameter(
                torch.from_numpy(np.array(self._arrays[name], np.float32))
            )

    def _write_bias(self, step: Step, module: Any, fresh: dict[str, NDArray[Any]]) -> None:
        name = step.inputs[2]
        bias = module.bias.detach().cpu().numpy()
        node = self._quantised_weights.get(name)
        if node is None:
            fresh[name] = bias
            return
        # An int32 bias lives on the grid of input scale times weight scale, so that it adds exactly.
        _, scales = module.weight_quantizer.integers(module.weight)
        input_scale = self._scale_of(step.inputs[0])
        grid = (input_scale * scales).astype(np.float32)
        fresh[node.input[0]] = np.clip(np.round(bias / grid), -(2**31), 2**31 - 1).astype(np.int32)
        fresh[node.input[1]] = grid

    def _scale_of(self, name: str) -> float:
        for step in self.steps:
            if name in step.outputs and step.operator == "DequantizeLinear":
                return float(self._arrays[step.inputs[1]].reshape(-1)[0])
        raise ModelFileError(f"the input {name!r} of a quantised product has no scale")

    def _execute(self, index: int, step: Step, values: dict[str, Tensor]) -> tuple[Tensor, ...]:
        key = str(index)
        if step.operator == "Conv":
            return (self.convolutions[key](values[step.inputs[0]]),)
        if step.operator == "QuantizeLinear":
            return (self.quantizers[key](values[step.inputs[0]]),)
        if step.operator == "DequantizeLinear":
            return (values[step.inputs[0]],)
        inputs = [self._value(name, values) for name in step.inputs]
        result = OPERATORS[step.operator](step.attributes, *inputs)
        return result if isinstance(result, tuple) else (result,)

    def _value(self, name: str, values: dict[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        if name in values:
            return values[name]
        if name in self._parameter_keys:
            return self.parameters_by_name[self._parameter_keys[name]]
        if name in self._constant_keys:
            return getattr(self, self._constant_keys[name])
        value, _ = self._weight(name)
        return torch.from_numpy(value)

    def _lifetimes(self) -> dict[int, list[str]]:
        last: dict[str, int] = {}
        for index, step in enumerate(self.steps):
            for name in (*step.inputs, *step.outputs):
                last[name] = index
        lifetimes: dict[int, list[str]] = {}
        for name, index in last.items():
            lifetimes.setdefault(index, []).append(name)
        return lifetimes
