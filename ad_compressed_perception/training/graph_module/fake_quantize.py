# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fake quantization: Q/DQ pairs in training, with a straight-through estimator.

Forward ``x' = (clip(round_half_to_even(x / scale) + zero_point, qmin, qmax) - zero_point) * scale``;
the gradient of the rounding is taken as one where nothing is clipped, else as zero (Bengio et al., 2013,
arXiv:1308.3432). Activation scales stay as calibrated; weight scales are recomputed from the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}
_LEAST_SCALE = 1e-12


class ActivationQuantizer(nn.Module):
    """A QuantizeLinear and DequantizeLinear pair on an activation, one scale for the tensor."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: float, zero_point: int, kind: str) -> None:
        """Set scale, zero point and integer type (a key of RANGES)."""
        super().__init__()
        self.low, self.high = RANGES[kind]
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("zero_point", torch.tensor(int(zero_point), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Round to the grid."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, self.low, self.high)


class WeightQuantizer(nn.Module):
    """Symmetric fake quantization of a weight, per output channel or per tensor.

    The scale is ``max|w| / limit`` of the current weight, so that nothing is clipped.
    """

    least: Tensor

    def __init__(self, axis: int | None, limit: int) -> None:
        """Set granularity and integer range.

        Args:
            axis: the channels' axis; None for one scale per tensor.
            limit: the largest integer, 127 or, with a reduced range against overflow, 64.
        """
        super().__init__()
        self.axis, self.limit = axis, limit
        self.register_buffer("least", torch.tensor(_LEAST_SCALE), persistent=False)

    def keep_room_for(self, bias: NDArray[np.float32], input_scale: float) -> None:
        """Limit scales from below so that a bias of up to four times its current value fits into int32."""
        least = np.maximum(np.abs(bias) * 4.0 / (input_scale * 2.0**31), _LEAST_SCALE)
        self.least = torch.tensor(least if self.axis is not None else least.max(), dtype=torch.float32)

    def scales(self, weight: Tensor) -> Tensor:
        """Return (channels,) scales of a weight; () with one scale per tensor."""
        size = weight.detach().abs()
        if self.axis is not None:
            others = [d for d in range(weight.dim()) if d != self.axis]
            largest = size.amax(others)
        else:
            largest = size.amax()
        return torch.maximum(largest / self.limit, self.least)

    def forward(self, weight: Tensor) -> Tensor:
        """Round the weight to its grid."""
        scale = self.scales(weight)
        zero = torch.zeros(scale.shape, dtype=torch.int32, device=scale.device)
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(weight, scale, zero, -self.limit, self.limit)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, self.axis, -self.limit, self.limit)

    def integers(self, weight: Tensor) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return the integer weight and its scales, as the graph stores them."""
        scale = self.scales(weight)
        shape = [1] * weight.dim()
        if self.axis is not None:
            shape[self.axis] = -1
        grid = torch.clamp(torch.round(weight.detach() / scale.reshape(shape)), -self.limit, self.limit)
        return grid.cpu().numpy().astype(np.int8), scale.cpu().numpy().astype(np.float32)


def weight_quantizer(integers: NDArray[Any], scale: NDArray[Any], axis: int) -> WeightQuantizer:
    """Return the quantizer of a stored int8 weight; its limit is derived from the largest integer."""
    # A scale is max|w| / limit, so the largest stored integer equals the limit.
    limit = 64 if integers.size and int(np.abs(integers.astype(np.int32)).max()) <= 64 else 127
    return WeightQuantizer(axis % integers.ndim if scale.size > 1 else None, limit)
