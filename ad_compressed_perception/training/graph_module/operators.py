# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX operators in torch: those that convolutional networks use.

Every function takes the node's attributes and its inputs (None where an optional input is absent)
and returns the node's output, or a tuple of them. Semantics follow the ONNX operator
specification, opset 13 and later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from onnx import helper
from torch import Tensor

from ad_compressed_perception.training.graph_module.resampling import (
    depth_to_space,
    resize,
    space_to_depth,
)

Attributes = dict[str, Any]
Operator = Callable[..., Any]


def _ints(value: Tensor) -> list[int]:
    return [int(v) for v in value.reshape(-1).tolist()]


def same_padding(attributes: Attributes, size: list[int], kernel: list[int]) -> list[int]:
    """Return ONNX pads (begin..., end...) of a window operator, with auto_pad resolved.

    Raises:
        ValueError: an unsupported auto_pad.
    """
    rank = len(kernel)
    auto = attributes.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return list(attributes.get("pads", [0] * 2 * rank))
    if auto == "VALID":
        return [0] * 2 * rank
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad {auto!r}")
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    begin, end = [], []
    for axis in range(rank):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        steps = -(-size[axis] // strides[axis])
        total = max(0, (steps - 1) * strides[axis] + reach - size[axis])
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return begin + end


def pad_window(x: Tensor, pads: list[int], value: float) -> tuple[Tensor, list[int]]:
    """Apply the asymmetric part of ONNX pads; return the tensor and the symmetric rest for torch."""
    rank = len(pads) // 2
    begin, end = pads[:rank], pads[rank:]
    if begin == end:
        return x, begin
    flat: list[int] = []
    for low, high in zip(reversed(begin), reversed(end), strict=True):
        flat += [low, high]
    return F.pad(x, flat, value=value), [0] * rank


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    pads = same_padding(a, list(x.shape[2:]), a["kernel_shape"])
    x, rest = pad_window(x, pads, float("-inf"))
    kernel = a["kernel_shape"]
    if any(2 * p > k for p, k in zip(rest, kernel, strict=True)):
        flat = [p for low in reversed(rest) for p in (low, low)]
        x, rest = F.pad(x, flat, value=float("-inf")), [0] * len(rest)
    return F.max_pool2d(
        x, kernel, a.get("strides", [1, 1]), rest, a.get("dilations", [1, 1]), bool(a.get("ceil_mode", 0))
    )


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    pads = same_padding(a, list(x.shape[2:]), a["kernel_shape"])
    include = bool(a.get("count_include_pad", 0))
    rank = len(pads) // 2
    if pads[:rank] != pads[rank:] and not include:
        raise ValueError("AveragePool with asymmetric pads that are not counted")
    x, rest = pad_window(x, pads, 0.0)
    return F.avg_pool2d(
        x, a["kernel_shape"], a.get("strides", [1, 1]), rest, bool(a.get("ceil_mode", 0)), include
    )


def _batch_normalization(
    a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x = x.transpose(0, 1) if a.get("transA", 0) else x
    weight = weight.transpose(0, 1) if a.get("transB", 0) else weight
    product = x @ weight * a.get("alpha", 1.0)
    return product if bias is None else product + bias * a.get("beta", 1.0)


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    smallest = float(low) if low is not None else a.get("min")
    largest = float(high) if high is not None else a.get("max")
    return torch.clamp(x, smallest, largest)


def _slice(
    a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:  # fmt: skip
    begin, end = _ints(starts), _ints(ends)
    along = _ints(axes) if axes is not None else list(range(len(begin)))
    stride = _ints(steps) if steps is not None else [1] * len(begin)
    window = [slice(None)] * x.dim()
    for low, high, axis, step in zip(begin, end, along, stride, strict=True):
        if step < 1:
            raise ValueError("Slice with a negative step")
        window[axis] = slice(low, high, step)
    return x[tuple(window)]


def _split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    if sizes is not None:
        return torch.split(x, _ints(sizes), axis)
    return torch.chunk(x, a["outputs"], axis)


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    target = [x.shape[i] if n == 0 else n for i, n in enumerate(_ints(shape))]
    if target and target[0] == 1 and a.get("images", 1) > 1:
        target[0] = a["images"]  # graphs have a batch size of one, training runs larger batches
    return x.reshape(target)


def _expand(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    target = _ints(shape)
    images = a.get("images", 1)
    if images > 1 and len(target) >= x.dim() and target[0] == 1:
        target[0] = images
    return x.expand(torch.broadcast_shapes(x.shape, target))


def _pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Any = None) -> Tensor:
    if axes is not None:
        raise ValueError("Pad with axes")
    amounts = _ints(pads)
    rank = len(amounts) // 2
    flat: list[int] = []
    for axis in reversed(range(rank)):
        flat += [amounts[axis], amounts[axis + rank]]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[a.get("mode", "constant")]
    if mode == "constant":
        return F.pad(x, flat, value=float(value) if value is not None else 0.0)
    return F.pad(x, flat[: 2 * (rank - 2)], mode=mode)


def _every(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Return a variadic operator made from a binary one."""

    def run(a: Attributes, *inputs: Tensor) -> Tensor:
        return reduce(function, inputs)

    return run


def _instance_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=a.get("epsilon", 1e-5))


def _layer_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[a.get("axis", -1) % x.dim() :]
    bias = None if bias is None else bias.reshape(shape)
    return F.layer_norm(x, shape, scale.reshape(shape), bias, a.get("epsilon", 1e-5))


def _cast(a: Attributes, x: Tensor) -> Tensor:
    return x.to(getattr(torch, np.dtype(helper.tensor_dtype_to_np_dtype(a["to"])).name))


def _group_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups, channels = a["num_groups"], x.shape[1]
    # One scale for each group up to opset 20, for each channel afterwards.
    scale, bias = (
        v if len(v) == channels else v.repeat_interleave(channels // groups) for v in (scale, bias)
    )
    return F.group_norm(x, groups, scale, bias, a.get("epsilon", 1e-5))


def _gelu(a: Attributes, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=a.get("approximate", "none"))


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def run(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = _ints(axes) if axes is not None else a.get("axes", list(range(x.dim())))
        return function(x, dim=along, keepdim=bool(a.get("keepdims", 1)))

    return run


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    along = _ints(axes) if axes is not None else a.get("axes")
    return x.squeeze() if along is None else x.squeeze(along)


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    for axis in sorted(_ints(axes) if axes is not None else a["axes"]):
        x = x.unsqueeze(axis)
    return x


def _gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = a.get("axis", 0)
    if indices.dim() == 0:
        return x.select(axis, int(indices))
    return x.index_select(axis, indices.reshape(-1).long()).reshape(
        *x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]
    )


def _conv_transpose(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if "output_shape" in a or a.get("auto_pad", "NOTSET") != "NOTSET":
        raise ValueError("ConvTranspose with output_shape or auto_pad")
    rank = weight.dim() - 2
    pads = a.get("pads", [0] * 2 * rank)
    if pads[:rank] != pads[rank:]:
        raise ValueError("ConvTranspose with asymmetric pads")
    return F.conv_transpose2d(
        x, weight, bias, a.get("strides", [1] * rank), pads[:rank],
        a.get("output_padding", [0] * rank), a.get("group", 1), a.get("dilations", [1] * rank),
    )  # fmt: skip


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1)
    return x.reshape(-1 if axis == 0 else x.shape[:axis].numel(), -1) if axis != 1 else x.flatten(1)


OPERATORS: dict[str, Operator] = {
    "Abs": lambda a, x: torch.abs(x),
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda a, *x: torch.cat(x, a["axis"]),
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": depth_to_space,
    "Div": lambda a, x, y: x / y,
    "Elu": lambda a, x: F.elu(x, a.get("alpha", 1.0)),
    "Erf": lambda a, x: torch.erf(x),
    "Exp": lambda a, x: torch.exp(x),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda a, x: x.amax((2, 3), keepdim=True),
    "GroupNormalization": _group_normalization,
    "HardSigmoid": lambda a, x: torch.clamp(x * a.get("alpha", 0.2) + a.get("beta", 0.5), 0.0, 1.0),
    "HardSwish": lambda a, x: F.hardswish(x),
    "Identity": lambda a, x: x,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "Log": lambda a, x: torch.log(x),
    "LogSoftmax": lambda a, x: torch.log_softmax(x, a.get("axis", -1)),
    "MatMul": lambda a, x, y: x @ y,
    "Max": _every(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _every(torch.minimum),
    "Mish": lambda a, x: F.mish(x),
    "Mul": lambda a, x, y: x * y,
    "Neg": lambda a, x: -x,
    "PRelu": lambda a, x, slope: torch.where(x >= 0, x, x * slope),
    "Pad": _pad,
    "Pow": lambda a, x, y: torch.pow(x, y),
    "Reciprocal": lambda a, x: torch.reciprocal(x),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": lambda a, x: F.relu(x),
    "Reshape": _reshape,
    "Resize": resize,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Slice": _slice,
    "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "Softplus": lambda a, x: F.softplus(x),
    "SpaceToDepth": space_to_depth,
    "Split": _split,
    "Sqrt": lambda a, x: torch.sqrt(x),
    "Squeeze": _squeeze,
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: torch.tanh(x),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}
