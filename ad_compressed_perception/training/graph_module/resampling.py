# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Resize, SpaceToDepth and DepthToSpace in torch, as the ONNX operator specification defines them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attributes = dict[str, Any]


def resize(
    a: Attributes, x: Tensor, roi: Any = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    """Return (N, C, H', W') of (N, C, H, W).

    Raises:
        ValueError: an unsupported mode or coordinate transformation.
    """
    before = list(x.shape[2:])
    if sizes is not None and sizes.numel():
        target = [int(size) for size in sizes.reshape(-1).tolist()[2:]]
        factors = [after / size for after, size in zip(target, before, strict=True)]
    elif scales is not None and scales.numel():
        factors = scales.reshape(-1).tolist()[2:]
        target = [math.floor(size * factor) for size, factor in zip(before, factors, strict=True)]
    else:
        raise ValueError("Resize without scales and sizes")
    if a.get("antialias") or a.get("exclude_outside") or "axes" in a:
        raise ValueError("Resize with antialias, exclude_outside or axes")
    mode, where = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    exact = all(size * f == t for size, f, t in zip(before, factors, target, strict=True))
    # torch's own kernels where they are equivalent: they are faster.
    if mode == "linear" and exact and where == "half_pixel" and min(target) > 1:
        return F.interpolate(x, size=target, mode="bilinear", align_corners=False)
    if mode == "nearest" and all(t % size == 0 for t, size in zip(target, before, strict=True)):
        return F.interpolate(x, size=target, mode="nearest")
    for axis, (size, after, factor) in enumerate(zip(before, target, factors, strict=True), start=2):
        at = _positions(size, after, factor, where).to(x.device)
        if mode == "linear":
            x = _interpolate(x, axis, at)
        elif mode == "nearest":
            x = x.index_select(axis, _nearest(at, size, a.get("nearest_mode", "round_prefer_floor")))
        else:
            raise ValueError(f"Resize {mode}")
    return x


def _positions(size: int, target: int, factor: float, where: str) -> Tensor:
    """Return the source coordinate of each target pixel, (target,).

    float32 as in runtimes: the nearest pixel depends on the last bit where two are equally near.
    """
    out = torch.arange(target, dtype=torch.float32)
    if where == "asymmetric":
        return out / factor
    if where == "align_corners":
        return out * ((size - 1) / max(target - 1, 1))
    if where == "half_pixel" or (where == "pytorch_half_pixel" and target > 1):
        return (out + 0.5) / factor - 0.5
    if where == "pytorch_half_pixel":
        return torch.zeros_like(out)
    raise ValueError(f"Resize with coordinates {where}")


def _interpolate(x: Tensor, axis: int, at: Tensor) -> Tensor:
    at = at.clamp(0, x.shape[axis] - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    share = (at - low).to(x.dtype).reshape([-1 if i == axis else 1 for i in range(x.dim())])
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


def _nearest(at: Tensor, size: int, how: str) -> Tensor:
    rounded = {
        "round_prefer_floor": lambda: (at - 0.5).ceil(),
        "round_prefer_ceil": lambda: (at + 0.5).floor(),
        "floor": at.floor,
        "ceil": at.ceil,
    }
    if how not in rounded:
        raise ValueError(f"Resize nearest {how}")
    return rounded[how]().clamp(0, size - 1).long()


def space_to_depth(a: Attributes, x: Tensor) -> Tensor:
    """Return (N, C b b, H / b, W / b): the pixels of each b x b block as channels."""
    block = int(a["blocksize"])
    count, channels, height, width = x.shape
    cut = x.reshape(count, channels, height // block, block, width // block, block)
    return cut.permute(0, 3, 5, 1, 2, 4).reshape(count, -1, height // block, width // block)


def depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    """Return (N, C / b / b, H b, W b), the channels spread over blocks, in either order of the axes."""
    block, by_depth = int(a["blocksize"]), a.get("mode", "DCR") == "DCR"
    count, channels, height, width = x.shape
    left = channels // block**2
    if by_depth:
        cut = x.reshape(count, block, block, left, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        cut = x.reshape(count, left, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    return cut.reshape(count, left, height * block, width * block)
