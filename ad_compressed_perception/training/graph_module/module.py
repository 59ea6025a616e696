# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A trainable torch module that runs an ONNX graph and writes the trained weights back into it.

The module runs the graph's nodes in order; training changes initializers only, which are written back by
name. Nothing is traced or exported, so names, the placement of Q/DQ nodes and metadata are preserved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.training.graph_module.fake_quantize import (
    RANGES,
    ActivationQuantizer,
    WeightQuantizer,
    weight_quantizer,
)
from ad_compressed_perception.training.graph_module.layers import (
    Convolution,
    Dense,
    Normalization,
    WeightLayer,
)
from ad_compressed_perception.training.graph_module.operators import OPERATORS, Attributes
from ad_compressed_perception.training.graph_module.tail import is_arithmetic, trained_part
from ad_compressed_perception.training.graph_module.unshare_weights import TRAINABLE_INPUTS, unshare_weights

_OTHER_OPERATORS = {"Conv", "QuantizeLinear", "DequantizeLinear"}


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
    """Runs an ONNX graph node by node; weights of convolutions and matrix products are trainable.

    Convolutions and matrix products with constant weights are submodules (``layers``, by the node's index),
    so that structured pruning finds them, and so are normalizations (``norms``). A batch larger than the
    graph's one is allowed. A fresh module is in evaluation mode. Operators behind the last products that
    training cannot run are left out of the module, not of the graph: ``tail.py``.

    Attributes:
        output_names: of the tensors that it returns: outputs of the graph, and what operators left out read.
        one_by_one: run the images of a batch one after the other, for graphs with a constant batch size of
            one in a shape; set by ``allow_batches``.
    """

    def __init__(self, model: ModelProto) -> None:
        """Convert the graph.

        Raises:
            ModelFileError: an operator before the last products is not among OPERATORS; the message names it.
        """
        super().__init__()
        self.model = unshare_weights(model)
        self.one_by_one = False
        self._images = 1  # in the current batch
        graph = self.model.graph
        self._arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.input_names = [value.name for value in graph.input if value.name not in self._arrays]
        part = trained_part(self.model, OPERATORS.keys() | _OTHER_OPERATORS)
        self.output_names = list(part.outputs)
        self.layers = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        self.quantizers = nn.ModuleDict()
        self.parameters_by_name = nn.ParameterDict()
        self._parameter_keys: dict[str, str] = {}
        self._constant_keys: dict[str, str] = {}
        self._quantized_weights: dict[str, NodeProto] = {}
        self.steps: list[Step] = []
        self._plan(part.nodes)
        self._last_use = self._lifetimes()
        self._runs: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in their order."""
        return self.batch(x, self.output_names)

    def batch(self, x: Tensor, names: list[str]) -> tuple[Tensor, ...]:
        """Return any tensors of the graph by name for a (B, ...) batch of its input."""
        parts = x.split(1) if self.one_by_one and len(x) > 1 else (x,)
        rows = [self.run({self.input_names[0]: part}, names) for part in parts]
        return tuple(torch.cat(values) for values in zip(*rows, strict=True)) if len(rows) > 1 else rows[0]

    @torch.no_grad()
    def allow_batches(self, example: Tensor) -> None:
        """Test with a (1, ...) example whether the graph runs batches; set ``one_by_one``."""
        self.one_by_one = False
        other = example * 0.5
        first, second = self(example), self(other)
        try:
            both = self(torch.cat([example, other]))
            # Compare the second image too: a Gather of channels may take those of the first image for both.
            same = all(
                two.shape == (2 * len(a), *a.shape[1:])
                and torch.allclose(
                    two, torch.cat([a, b]), rtol=1e-3, atol=1e-4 * max(1.0, float(a.abs().max()))
                )
                for a, b, two in zip(first, second, both, strict=True)
            )
        except (ModelFileError, RuntimeError):
            same = False
        self.one_by_one = not same
        for norm in self.norms.values():
            cast(Normalization, norm).frozen = self.one_by_one

    @torch.no_grad()
    def observed(self, x: Tensor) -> dict[str, tuple[tuple[int, ...], bool]]:
        """Return the shapes of all tensors computed for an input, and whether they are within 0..1."""
        found: dict[str, tuple[tuple[int, ...], bool]] = {}

        def note(name: str, value: Tensor) -> None:
            is_share = value.numel() > 0 and float(value.min()) >= 0.0 and float(value.max()) <= 1.0
            found[name] = tuple(value.shape), is_share

        self.run({self.input_names[0]: x}, self.output_names, note)
        return found

    def run(
        self,
        feeds: Mapping[str, Tensor],
        names: list[str],
        note: Callable[[str, Tensor], None] = lambda name, value: None,
    ) -> tuple[Tensor, ...]:
        """Return any tensors of the graph by name, computed from the given ones.

        Args:
            feeds: the graph's input, or tensors inside it that all paths to the requested ones pass through.
            names: of the tensors.
            note: called with all tensors computed.
        """
        values: dict[str, Tensor] = dict(feeds)
        keep = set(names)
        self._images = len(next(iter(values.values()))) if values else 1
        try:
            for index in self._steps_between(tuple(feeds), tuple(names)):
                step = self.steps[index]
                outputs = self.execute(index, values)
                for name, value in zip(step.outputs, outputs, strict=False):
                    values[name] = value
                    note(name, value)
                for name in self.spent_after(index):
                    if name not in keep:
                        values.pop(name, None)
        finally:
            self._images = 1
        # An output may be a constant.
        return tuple(cast(Tensor, self._value(name, values)) for name in names)

    def _steps_between(self, given: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
        """Return the steps that the requested tensors need, in order."""
        key = given, names
        if key not in self._runs:
            needed = set(names) - set(given)
            found = []
            for index in range(len(self.steps) - 1, -1, -1):
                if not needed.isdisjoint(self.steps[index].outputs):
                    found.append(index)
                    needed.update(set(self.steps[index].inputs) - set(given))
            self._runs[key] = found[::-1]
        return self._runs[key]

    def parameter_of(self, name: str) -> nn.Parameter | None:
        """Return the parameter of a trainable weight outside of ``layers``; None for any other tensor."""
        key = self._parameter_keys.get(name)
        return None if key is None else cast(nn.Parameter, self.parameters_by_name[key])

    def execute(self, index: int, values: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs of one step, whose inputs are among the values."""
        return self._execute(index, self.steps[index], values)

    def spent_after(self, index: int) -> list[str]:
        """Return the tensors whose last use is this step; outputs of the graph may be among them."""
        return self._last_use.get(index, [])

    def last_products(self) -> list[int]:
        """Return the products that outputs read, past arithmetic that decodes them."""
        producers = {name: index for index, step in enumerate(self.steps) for name in step.outputs}
        waiting, seen, last = list(self.output_names), set(), []
        while waiting:
            index = producers.get(waiting.pop())
            if index is None or index in seen:
                continue
            seen.add(index)
            step, layer = self.steps[index], str(index)
            if layer in self.layers and next(self.layers[layer].parameters()).requires_grad:
                last.append(index)
            elif layer in self.layers or step.operator not in ("Gemm", "MatMul", "ConvTranspose"):
                waiting += step.inputs
            else:
                last.append(index)
        return last

    def write_back(self) -> ModelProto:
        """Return a copy of the graph with the current weights (integers where it is quantized)."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        fresh: dict[str, NDArray[Any]] = {}
        for index, step in enumerate(self.steps):
            if str(index) in self.layers:
                layer = cast(WeightLayer, self.layers[str(index)])
                if layer.weight_quantizer is None:
                    fresh[self._weight_name(step)] = layer.stored_weight()
                else:
                    node = self._quantized_weights[self._weight_name(step)]
                    integers, scales = layer.stored_integers()
                    shape = self._arrays[node.input[1]].shape
                    fresh[node.input[0]], fresh[node.input[1]] = integers, scales.reshape(shape)
                if layer.bias is not None:
                    self._write_bias(step, layer, fresh)
            elif str(index) in self.norms:
                values = cast(Normalization, self.norms[str(index)]).values()
                fresh.update(zip(step.inputs[1:5], values, strict=True))
        for name, key in self._parameter_keys.items():
            fresh[name] = self.parameters_by_name[key].detach().cpu().numpy()
        for tensor in model.graph.initializer:
            if tensor.name in fresh:
                tensor.CopyFrom(numpy_helper.from_array(fresh[tensor.name], tensor.name))
        return model

    @staticmethod
    def _weight_name(step: Step) -> str:
        return step.inputs[1]

    def _plan(self, nodes: Iterable[NodeProto]) -> None:
        for node in nodes:
            if node.op_type == "DequantizeLinear" and node.input[0] in self._arrays:
                self._quantized_weights[node.output[0]] = node
                continue
            step = Step(node, attributes_of(node))
            index = str(len(self.steps))
            self.steps.append(step)
            if node.op_type == "QuantizeLinear":
                self.quantizers[index] = self._activation_quantizer(step)
            elif node.op_type == "Conv" or self._is_dense(step):
                self.layers[index] = self._layer(step)
                if self._is_arithmetic(step):
                    self.layers[index].requires_grad_(False)
            elif node.op_type == "BatchNormalization" and self._is_stored(step.inputs[1:5]):
                self.norms[index] = Normalization(
                    [self._arrays[name] for name in step.inputs[1:5]], step.attributes
                )
            else:
                for position in TRAINABLE_INPUTS.get(node.op_type, ())[:2]:
                    if position < len(node.input) and node.input[position] in self._arrays:
                        self._make_trainable(node.input[position])
        self._keep_constants()

    def _keep_constants(self) -> None:
        used = {name for step in self.steps for name in step.inputs} | set(self.output_names)
        constants = {name: value for name, value in self._arrays.items() if name not in self._parameter_keys}
        constants |= {name: self._expanded(node) for name, node in self._quantized_weights.items()}
        for name in constants.keys() & used:
            key = f"constant_{len(self._constant_keys)}"
            self.register_buffer(key, torch.from_numpy(np.array(constants[name])), persistent=False)
            self._constant_keys[name] = key

    def _activation_quantizer(self, step: Step) -> ActivationQuantizer:
        scale = self._arrays.get(step.inputs[1])
        has_zero = len(step.inputs) > 2 and step.inputs[2] != ""
        zero = self._arrays.get(step.inputs[2]) if has_zero else np.zeros((), np.uint8)
        if scale is None or zero is None or scale.size != 1 or str(zero.dtype) not in RANGES:
            raise ModelFileError(
                f"training supports activations with one constant scale in 8 or 16 bits; {step.inputs[0]!r} "
                "is quantized differently"
            )
        return ActivationQuantizer(float(scale.reshape(())), int(zero.reshape(())), str(zero.dtype))

    def _is_stored(self, names: list[str]) -> bool:
        return all(name in self._arrays for name in names)

    def _is_arithmetic(self, step: Step) -> bool:
        values = self._constant(self._weight_name(step))
        return values is not None and is_arithmetic(step.operator, values)

    def _is_dense(self, step: Step) -> bool:
        if step.operator not in ("Gemm", "MatMul"):
            return False
        a = step.attributes
        names = [name for name in step.inputs[1:] if name]
        values = [self._constant(name) for name in names]
        if any(value is None for value in values) or values[0].ndim != 2:  # type: ignore[union-attr]
            return False
        plain = a.get("alpha", 1.0) == 1.0 and a.get("beta", 1.0) == 1.0 and not a.get("transA", 0)
        outputs = values[0].shape[0 if a.get("transB", 0) else 1]  # type: ignore[union-attr]
        return plain and (len(values) < 2 or values[1].size == outputs)  # type: ignore[union-attr]

    def _layer(self, step: Step) -> WeightLayer:
        weight, quantizer = self._weight(self._weight_name(step))
        bias = self._constant(step.inputs[2]) if len(step.inputs) > 2 and step.inputs[2] else None
        if len(step.inputs) > 2 and step.inputs[2] and bias is None:
            raise ModelFileError(f"training needs constant weights; {step.inputs[2]!r} is computed")
        if quantizer is not None and bias is not None and step.inputs[2] in self._quantized_weights:
            quantizer.keep_room_for(bias.reshape(-1), self._scale_of(step.inputs[0]))
        if step.operator == "Conv" and weight.ndim != 4:
            raise ModelFileError(
                f"training supports two-dimensional convolutions; Conv {step.name or step.outputs[0]!r} has "
                f"a weight of shape {list(weight.shape)}: leave the passes that train out"
            )
        if step.operator == "Conv":
            return Convolution(weight, bias, step.attributes, quantizer)
        return Dense(weight, bias, not step.attributes.get("transB", 0), quantizer)

    def _constant(self, name: str) -> NDArray[Any] | None:
        """Return the values of a stored tensor, expanded where it is quantized; None where computed."""
        if name in self._arrays:
            return self._arrays[name]
        node = self._quantized_weights.get(name)
        return None if node is None else self._expanded(node)

    def _expanded(self, node: NodeProto) -> NDArray[np.float32]:
        integers, scale = self._arrays[node.input[0]], self._arrays[node.input[1]].astype(np.float32)
        has_zero = len(node.input) > 2 and node.input[2] != ""
        zero = self._arrays[node.input[2]].astype(np.float32) if has_zero else np.zeros((), np.float32)
        shape = [1] * integers.ndim
        if scale.size > 1:
            shape[self._axis(node, integers.ndim)] = -1
        zero = zero.reshape(shape if zero.size > 1 else [1] * integers.ndim)
        value = (integers.astype(np.float32) - zero) * scale.reshape(shape)
        return np.asarray(value, np.float32)

    @staticmethod
    def _axis(node: NodeProto, rank: int) -> int:
        return int(attributes_of(node).get("axis", 1)) % rank if rank > 1 else 0

    def _weight(self, name: str) -> tuple[NDArray[Any], WeightQuantizer | None]:
        if name in self._arrays:
            return self._arrays[name], None
        node = self._quantized_weights.get(name)
        if node is None:
            raise ModelFileError(f"training needs constant weights; {name!r} is computed in the graph")
        integers = self._arrays[node.input[0]]
        zero = self._arrays.get(node.input[2]) if len(node.input) > 2 else None
        if integers.dtype != np.int8 or (zero is not None and np.any(zero)):
            raise ModelFileError(
                f"training supports weights in symmetric int8; {node.input[0]!r} is {integers.dtype}"
                f"{' with a zero point' if zero is not None and np.any(zero) else ''}"
            )
        axis = self._axis(node, integers.ndim)
        return self._expanded(node), weight_quantizer(integers, self._arrays[node.input[1]], axis)

    def _make_trainable(self, name: str) -> None:
        if name not in self._parameter_keys:
            key = f"p{len(self._parameter_keys)}"
            self._parameter_keys[name] = key
            self.parameters_by_name[key] = nn.Parameter(
                torch.from_numpy(np.array(self._arrays[name], np.float32))
            )

    def _write_bias(self, step: Step, layer: WeightLayer, fresh: dict[str, NDArray[Any]]) -> None:
        assert layer.bias is not None
        name, bias = step.inputs[2], layer.bias.detach().cpu().numpy()
        node = self._quantized_weights.get(name)
        if node is None:
            fresh[name] = bias.reshape([1] * (self._arrays[name].ndim - 1) + [-1])
            return
        # The scale of an int32 bias is input scale times weight scale, so that it adds exactly.
        _, scales = layer.stored_integers()
        grid = np.float32(self._scale_of(step.inputs[0])) * scales
        integers = np.clip(np.round(bias.astype(np.float64) / grid), -(2**31), 2**31 - 1)
        fresh[node.input[0]] = integers.astype(np.int32).reshape(self._arrays[node.input[0]].shape)
        fresh[node.input[1]] = grid.astype(np.float32).reshape(self._arrays[node.input[1]].shape)

    def _scale_of(self, name: str) -> float:
        for step in self.steps:
            if name in step.outputs and step.operator == "DequantizeLinear":
                return float(self._arrays[step.inputs[1]].reshape(-1)[0])
        raise ModelFileError(f"the input {name!r} of a quantized compute op has no scale")

    def _execute(self, index: int, step: Step, values: dict[str, Tensor]) -> tuple[Tensor, ...]:
        key = str(index)
        if key in self.layers or key in self.norms:
            layer = self.layers[key] if key in self.layers else self.norms[key]
            return (layer(self._value(step.inputs[0], values)),)
        if step.operator == "QuantizeLinear":
            return (self.quantizers[key](values[step.inputs[0]]),)
        if step.operator == "DequantizeLinear":
            return (values[step.inputs[0]],)
        inputs = [self._value(name, values) for name in step.inputs]
        attributes = step.attributes
        if step.operator in ("Reshape", "Expand"):
            attributes = {**attributes, "images": self._images}
        try:
            result = OPERATORS[step.operator](attributes, *inputs)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelFileError(
                f"training cannot run {step.operator} {step.name or step.outputs[0]!r}: {one_line(error)}"
            ) from error
        return result if isinstance(result, tuple) else (result,)

    def _value(self, name: str, values: dict[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        if name in values:
            return values[name]
        if name in self._parameter_keys:
            return self.parameters_by_name[self._parameter_keys[name]]
        return cast(Tensor, getattr(self, self._constant_keys[name]))

    def _lifetimes(self) -> dict[int, list[str]]:
        last: dict[str, int] = {}
        for index, step in enumerate(self.steps):
            for name in (*step.inputs, *step.outputs):
                last[name] = index
        lifetimes: dict[int, list[str]] = {}
        for name, index in last.items():
            lifetimes.setdefault(index, []).append(name)
        return lifetimes
