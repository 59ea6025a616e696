# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The weights of convolutions and matrix products, for changes in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.graph import attribute
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto


@dataclass
class WeightTensor:
    """One weight tensor of compute ops.

    Attributes:
        tensor: the initializer, inside the model.
        values: its values as float32, in its own shape.
        nodes: the operators that multiply by it; usually one.
    """

    tensor: TensorProto
    values: NDArray[np.float32]
    nodes: list[NodeProto]

    @property
    def name(self) -> str:
        """The initializer's name."""
        return self.tensor.name

    def store(self, values: NDArray[np.floating]) -> None:
        """Write new values into the model, in the tensor's own float type."""
        from onnx import numpy_helper

        own = numpy_helper.to_array(self.tensor).dtype
        self.values = values.reshape(self.values.shape).astype(np.float32)
        self.tensor.CopyFrom(numpy_helper.from_array(self.values.astype(own), self.name))


def find_weights(
    model: ModelProto, pass_name: str, min_size: int, exclude: Sequence[str] = ()
) -> list[WeightTensor]:
    """Return the float weights of compute ops with at least ``min_size`` elements, in graph order.

    Biases, normalizations, quantized weights and weights that other operators use too are excluded.

    Args:
        model: the model.
        pass_name: for error messages.
        min_size: smaller tensors are left out.
        exclude: patterns of weight or operator names to leave out (``*`` and ``?`` as in file names).

    Raises:
        RecipeError: a pattern matches nothing.
        ModelFileError: no such weights, or one that is not finite.
    """
    from onnx import TensorProto, numpy_helper

    tensors = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    users: dict[str, list[NodeProto]] = {}
    other: set[str] = set()
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in tensors:
                if place == 1 and node.op_type in COMPUTE_OPS:
                    users.setdefault(name, []).append(node)
                else:
                    other.add(name)
    found = {name: nodes for name, nodes in users.items() if name not in other}
    left_out = _matching(pass_name, exclude, found)
    weights = []
    for name, nodes in found.items():
        values = np.asarray(numpy_helper.to_array(tensors[name]), np.float32)
        if values.size < min_size or values.ndim < 2 or name in left_out:
            continue
        if not np.isfinite(values).all():
            raise ModelFileError(f"weight {name!r} is not finite: it was damaged or badly trained")
        weights.append(WeightTensor(tensors[name], values, nodes))
    if not weights:
        raise ModelFileError(
            f"no float weights of {min_size} numbers or more in {', '.join(COMPUTE_OPS)}: put this pass "
            "before quantization and after simplify, or lower min_size"
        )
    return weights


def _matching(pass_name: str, patterns: Sequence[str], found: dict[str, list[NodeProto]]) -> set[str]:
    matching: set[str] = set()
    for pattern in patterns:
        hits = {
            name
            for name, nodes in found.items()
            if any(fnmatchcase(text, pattern) for text in (name, *(node.name for node in nodes)))
        }
        if not hits:
            some = ", ".join(list(found)[-3:])
            raise RecipeError(
                f"pass {pass_name!r}: exclude: no weight or operator is called {pattern!r}; "
                f"the last weights are {some}"
            )
        matching |= hits
    return matching


def spread_over_weights(
    node: NodeProto, shape: tuple[int, ...], per_input: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the value of the input channel that each weight multiplies, in a shape that broadcasts.

    Args:
        node: the compute op.
        shape: of its weights: Conv (out, in/groups, ...), ConvTranspose (in, out/groups, ...), Gemm
            (in, out) or with transB (out, in), MatMul (in, out).
        per_input: (in,) one value per input channel.
    """
    ones = (1,) * (len(shape) - 2)
    if node.op_type == "Conv":
        groups = attribute(node, "group", 1)
        rows = per_input.reshape(groups, shape[1])
        return np.repeat(rows, shape[0] // groups, axis=0).reshape(shape[0], shape[1], *ones)
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        return per_input.reshape(1, -1)
    return per_input.reshape(-1, 1, *ones)
