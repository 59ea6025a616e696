# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes with weights as torch layers, which structured pruning and fake quantization work on.

Each holds its weight in torch's layout and returns it in the graph's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ad_compressed_perception.training.graph_module.fake_quantize import WeightQuantizer
from ad_compressed_perception.training.graph_module.operators import Attributes, pad_window, same_padding

Array = NDArray[Any]


class WeightLayer(nn.Module):
    """Base of the layers with weights.

    Attributes:
        weight_quantizer: quantizes the weight in the forward pass; None for a float layer.
        stored_transposed: whether the graph stores the weight transposed.
    """

    weight: Tensor
    bias: Any  # a tensor or None; the two layers of torch declare it differently
    weight_quantizer: WeightQuantizer | None
    stored_transposed: bool

    def initialize_from(self, weight: Array, bias: Array | None, quantizer: WeightQuantizer | None) -> None:
        """Copy the graph's values; ``weight`` in torch's layout."""
        self.weight_quantizer = quantizer
        self.stored_transposed = False
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(np.array(weight, np.float32)))
            if self.bias is not None and bias is not None:
                self.bias.copy_(torch.from_numpy(np.array(bias, np.float32).reshape(-1)))

    def present_weight(self) -> Tensor:
        """Return the weight used in the forward pass, quantized if there is a quantizer."""
        return self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)

    def stored_weight(self) -> Array:
        """Return the float weight as the graph stores it."""
        weight: Array = self.weight.detach().cpu().numpy()
        return np.ascontiguousarray(weight.T) if self.stored_transposed else weight

    def stored_integers(self) -> tuple[Array, Array]:
        """Return the integer weight and its scales as the graph stores them."""
        assert self.weight_quantizer is not None
        integers, scales = self.weight_quantizer.integers(self.weight)
        return (np.ascontiguousarray(integers.T) if self.stored_transposed else integers), scales


class Convolution(WeightLayer, nn.Conv2d):
    """A Conv node; pads may be asymmetric."""

    def __init__(
        self, weight: Array, bias: Array | None, attributes: Attributes, quantizer: WeightQuantizer | None
    ) -> None:
        group = attributes.get("group", 1)
        nn.Conv2d.__init__(
            self, weight.shape[1] * group, weight.shape[0], tuple(weight.shape[2:]),
            tuple(attributes.get("strides", [1, 1])), 0, tuple(attributes.get("dilations", [1, 1])),
            group, bias is not None,
        )  # fmt: skip
        self.attributes = attributes
        self.initialize_from(weight, bias, quantizer)

    def forward(self, x: Tensor) -> Tensor:
        """Run the node."""
        weight = self.present_weight()
        pads = same_padding(self.attributes, list(x.shape[2:]), list(weight.shape[2:]))
        x, rest = pad_window(x, pads, 0.0)
        return F.conv2d(x, weight, self.bias, self.stride, tuple(rest), self.dilation, self.groups)


class Dense(WeightLayer, nn.Linear):
    """A Gemm or MatMul node with a constant matrix."""

    def __init__(
        self, weight: Array, bias: Array | None, transposed: bool, quantizer: WeightQuantizer | None
    ) -> None:
        """Copy ``weight`` as the graph stores it: (in, out) where ``transposed``, else (out, in)."""
        weight = weight.T if transposed else weight
        nn.Linear.__init__(self, weight.shape[1], weight.shape[0], bias is not None)
        if quantizer is not None and quantizer.axis is not None and transposed:
            quantizer.axis = 1 - quantizer.axis
        self.initialize_from(weight, bias, quantizer)
        self.stored_transposed = transposed

    def forward(self, x: Tensor) -> Tensor:
        """Run the node."""
        return F.linear(x, self.present_weight(), self.bias)


class Normalization(nn.BatchNorm2d):
    """A BatchNormalization node with trainable scale and shift.

    Training uses the batch's mean and variance and updates the running ones with the node's ``momentum`` (as
    in ONNX, the share that is kept); evaluation uses the running ones.

    Attributes:
        frozen: whether training uses the running mean and variance too, for images run one by one.
        unsettled: whether the running mean and variance are placeholders, as after initialization from a
            folded convolution; the first training batch then sets them, and scale and shift keep the outputs
            unchanged.
    """

    def __init__(self, values: list[Array], attributes: Attributes) -> None:
        """Copy scale, shift, mean and variance, (channels,) each."""
        keep = float(attributes.get("momentum", 0.9))
        super().__init__(len(values[0]), float(attributes.get("epsilon", 1e-5)), 1.0 - keep)
        self.frozen = self.unsettled = False
        with torch.no_grad():
            for tensor, value in zip(self._stored(), values, strict=True):
                tensor.copy_(torch.from_numpy(np.array(value, np.float32).reshape(-1)))

    def forward(self, x: Tensor) -> Tensor:
        """Run the node; a single value per channel has no variance and is normalized by the running one."""
        updates = self.training and not self.frozen and x.numel() > x.shape[1]
        if updates and self.unsettled:
            self._settle(x.detach().float())
        mean, variance, momentum = self.running_mean, self.running_var, self.momentum or 0.0
        return F.batch_norm(x, mean, variance, self.weight, self.bias, updates, momentum, self.eps)

    def values(self) -> list[Array]:
        """Return scale, shift, mean and variance as the graph stores them."""
        return [tensor.detach().cpu().numpy() for tensor in self._stored()]

    @torch.no_grad()
    def _settle(self, x: Tensor) -> None:
        """Store a batch's mean m and variance v, with scale and shift that keep the outputs unchanged.

        s = sqrt(v_old + eps): scale' = scale sqrt(v + eps) / s, shift' = shift + scale (m - m_old) / s
        """
        assert self.running_mean is not None and self.running_var is not None
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        factor = self.weight / (self.running_var + self.eps).sqrt()
        self.bias.add_(factor * (mean - self.running_mean))
        self.weight.copy_(factor * (variance + self.eps).sqrt())
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)
        self.unsettled = False

    def _stored(self) -> list[Tensor]:
        assert self.running_mean is not None and self.running_var is not None
        return [self.weight, self.bias, self.running_mean, self.running_var]
