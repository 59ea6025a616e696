# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Q/DQ pairs in training: rounded forwards, straight through backwards.

Forward ``x' = (clip(round_half_to_even(x / scale) + zero_point, qmin, qmax) - zero_point) * scale``;
the gradient of the rounding is taken as one (Bengio et al., 2013, arXiv:1308.3432) and scales may
learn (Esser et al., Learned Step Size Quantization, ICLR 2020, equation 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}


class ActivationQuantizer(nn.Module):
    """A QuantizeLinear and DequantizeLinear pair on an activation, one scale for the tensor."""

    def __init__(self, scale: float, zero_point: int, kind: str) -> None:
        super().__init__()
        self.low, self.high = RANGES[kind]
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("zero_point", torch.tensor(int(zero_point), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Round to the grid."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, self.low, self.high)


class WeightQuantizer(nn.Module):
    """Symmetric rounding of a weight, one scale an output channel, following the weight as it learns.

    The scale of a channel is ``max|w| / 127`` of the present weight, so that nothing is clipped.
    """

    def __init__(self, axis: int, kind: str) -> None:
        super().__init__()
        self.axis = axis
        self.low, self.high = RANGES[kind]

    def scales(self, weight: Tensor) -> Tensor:
        """Return (channels,) scales of a weight."""
        others = [d for d in range(weight.dim()) if d != self.axis]
        return (weight.detach().abs().amax(others) / self.high).clamp_min(1e-12)

    def forward(self, weight: Tensor) -> Tensor:
        """Round the weight to its grid."""
        scale = self.scales(weight)
        zero = torch.zeros(scale.shape, dtype=torch.int32, device=scale.device)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, self.axis, self.low, self.high)

    def integers(self, weight: Tensor) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the integer weight and its (channels,) scales, as the graph stores them."""
        scale = self.scales(weight)
        shape = [1] * weight.dim()
        shape[self.axis] = -1
        grid = torch.clamp(torch.round(weight.detach() / scale.reshape(shape)), self.low, self.high)
        return grid.cpu().numpy().astype(np.int8), scale.cpu().numpy().astype(np.float32)
