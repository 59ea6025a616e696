# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph as a flat torch program: the operators of ATen with the graph's weights, sizes as constants.

The graph runs once in the module that training uses (``training/graph_module``) while torch records the
operators; arithmetic of shapes is done then and leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from ad_compressed_perception.backends.program_names import ProgramNames
from ad_compressed_perception.compression.passes.export.base import converting
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.equivalence import relative_difference, run_model
from ad_compressed_perception.onnx_graph.graph import label
from ad_compressed_perception.onnx_graph.io import is_quantized, read_model
from ad_compressed_perception.training.graph_module.module import GraphModule

_RANGE_FRAMES = 8
_MOST_APART = 1e-3
"""Largest difference of an output from ONNX Runtime's, as a share of its largest value."""


class _Flat(nn.Module):
    """The module with positional inputs and outputs; in half precision inside where asked for."""

    def __init__(self, module: GraphModule, half: bool) -> None:
        super().__init__()
        self.module, self.half_inside = module.half() if half else module, half

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        module = self.module
        given = [x.half() if self.half_inside and x.is_floating_point() else x for x in inputs]
        found = module.run(dict(zip(module.input_names, given, strict=True)), module.output_names)
        outputs: list[Tensor] = []
        for value in found:
            # Programs want a tensor of its own for each output.
            is_other = any(value is other for other in (*given, *outputs))
            outputs.append(
                value.float() if value.dtype == torch.float16 else value.clone() if is_other else value
            )
        return tuple(outputs)


@dataclass(frozen=True)
class TorchGraph:
    """A graph as a torch program.

    Attributes:
        model: the ONNX graph, with named nodes.
        module: the trainable module that it was recorded from, in single precision.
        program: the recorded operators.
        example: inputs that it was recorded with.
        names: of inputs and outputs, with shapes and types of the inputs.
    """

    model: ModelProto
    module: GraphModule
    program: Any
    example: tuple[Tensor, ...]
    names: ProgramNames

    def exported(self) -> Any:
        """Return the program of torch.export."""
        with torch.no_grad():
            return torch.export.export(self.program, self.example, strict=False)

    def tensors(self, feeds: Feeds) -> tuple[Tensor, ...]:
        """Return a frame's inputs in order."""
        return tuple(torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self.names.inputs)

    @torch.no_grad()
    def ranges(self, frames: Iterable[Feeds]) -> dict[str, tuple[float, float]]:
        """Return least and largest value of each tensor of the ONNX graph over the first frames."""
        found: dict[str, tuple[float, float]] = {}

        def note(name: str, value: Tensor) -> None:
            if value.numel() and value.is_floating_point():
                low, high = found.get(name, (float("inf"), float("-inf")))
                found[name] = min(low, float(value.min())), max(high, float(value.max()))

        for feeds in islice(frames, _RANGE_FRAMES):
            given = dict(zip(self.names.inputs, self.tensors(feeds), strict=True))
            self.module.run(given, self.module.output_names, note)
        return found


def torch_graph(model: ModelProto | Path, precision: str = "fp32") -> TorchGraph:
    """Return an ONNX graph as a torch program.

    Args:
        model: a float graph with inputs of fixed sizes; a dynamic batch becomes 1.
        precision: fp16 for half precision inside; any other for single.

    Raises:
        ModelFileError: it is quantized, has an input of unknown size, an operator without equivalent, which
            the line names, or one that torch computes otherwise, as the softmax before opset 13.
    """
    graph = read_model(model) if isinstance(model, Path) else model
    if is_quantized(graph):
        raise ModelFileError("the graph is quantized already: write the float one, and quantize it there")
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.graph.initializer):
        raise ModelFileError("the graph is in half precision: write the float one with precision: fp16")
    example, names = _inputs(graph)
    try:
        module = GraphModule(graph)
    except ModelFileError as error:
        raise ModelFileError(f"no torch program of this graph: {error}") from error
    _refuse_left_out(graph, module)
    _refuse_other_numbers(graph, module, dict(zip(names.inputs, example, strict=True)))
    traced = GraphModule(graph) if precision == "fp16" else module
    with converting("torch"), torch.no_grad():
        program = make_fx(_Flat(traced, precision == "fp16").eval(), pre_dispatch=True)(*example)
    return TorchGraph(graph, module, program, example, names)


def _inputs(model: ModelProto) -> tuple[tuple[Tensor, ...], ProgramNames]:
    weights = {tensor.name for tensor in model.graph.initializer}
    examples, shapes, dtypes, names = [], [], [], []
    for value in model.graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        sizes = [dim.dim_value or (1 if place == 0 else 0) for place, dim in enumerate(kind.shape.dim)]
        if 0 in sizes:
            raise ModelFileError(
                f"input {value.name!r} has sizes that are not fixed: begin the recipe with pass optimize, "
                "which gives it the manifest's"
            )
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        # Noise, so that nothing is constant by chance.
        noise = np.random.default_rng(0).random(sizes)
        examples.append(torch.from_numpy((noise * (1.0 if dtype.kind == "f" else 100.0)).astype(dtype)))
        names.append(value.name)
        shapes.append(tuple(sizes))
        dtypes.append(dtype.name)
    outputs = tuple(value.name for value in model.graph.output)
    return tuple(examples), ProgramNames(tuple(names), outputs, tuple(shapes), tuple(dtypes))


def _refuse_left_out(model: ModelProto, module: GraphModule) -> None:
    """Raise ModelFileError where the module leaves operators out, naming the first."""
    made = {name for step in module.steps for name in step.outputs}
    left = [node for node in model.graph.node if not made.intersection(node.output)]
    expected = [value.name for value in model.graph.output]
    if module.output_names != expected:
        first = next((node for node in left if node.op_type not in ("Constant", "DequantizeLinear")), None)
        what = (
            "an output of the graph is a constant" if first is None else f"{label(first)} has no equivalent"
        )
        raise ModelFileError(
            f"no torch program of this graph: {what}; cut it from the network (pass trim_output)"
        )


def _refuse_other_numbers(model: ModelProto, module: GraphModule, example: dict[str, Tensor]) -> None:
    """Raise ModelFileError where torch computes something else than ONNX Runtime on the example."""
    expected = run_model(model, {name: value.numpy() for name, value in example.items()})
    with torch.no_grad():
        found = module.run(example, module.output_names)
    for name, own in zip(module.output_names, found, strict=True):
        apart = relative_difference(expected[name], own.numpy())
        if not apart <= _MOST_APART:
            raise ModelFileError(
                f"no torch program of this graph: torch computes {name!r} otherwise than ONNX Runtime, by "
                f"{apart:.2g} of its range: begin the recipe with pass optimize, whose opset it follows"
            )
