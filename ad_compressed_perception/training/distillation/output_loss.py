# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation loss of outputs whose meaning is not known: every number counts by its channel's spread.

An output may join pixels, logits and probabilities. Without a scale for each of them the pixels alone would
be trained: their squares are a million times those of scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST_SPREAD = 0.01
"""Share of a channel's largest number that its spread is at least: constant channels must stay constant."""


def output_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return the mean over outputs of smooth L1 in units of each channel's standard deviation.

    Squared up to one standard deviation of the teacher, linear beyond, so that a few boxes do not dominate.
    """
    losses = [_one(*pair) for pair in zip(student, teacher, strict=True)]
    return torch.stack(losses).mean()


def channel_axis(shape: Sequence[int]) -> int:
    """Return the axis along which an output's numbers differ in meaning.

    Of maps the second, or the last where it is shorter (channels last) or there are five; of rows or columns
    of boxes the shorter one.
    """
    if len(shape) > 4:
        return len(shape) - 1
    candidates = [1, len(shape) - 1] if len(shape) > 2 else [len(shape) - 1]
    return min(candidates, key=lambda axis: shape[axis])


def _one(student: Tensor, teacher: Tensor) -> Tensor:
    others = [axis for axis in range(teacher.dim()) if axis != channel_axis(teacher.shape)]
    spread = teacher.std(others, keepdim=True, correction=0)
    least = _LEAST_SPREAD * teacher.abs().amax(others, keepdim=True)
    scale = torch.maximum(spread, least).clamp_min(1e-6)
    return F.smooth_l1_loss(student / scale, teacher / scale, beta=1.0)
