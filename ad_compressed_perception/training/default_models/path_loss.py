# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planner losses: curvatures, lateral offsets, allowed speed, stop and proceed after stop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.driving.path import KNOTS_M
from ad_compressed_perception.driving.plan_vector import CURVATURE_SCALE, SPEED, STOP

_STEP_M = float(KNOTS_M[1] - KNOTS_M[0])


def lateral_offsets(curvature: Tensor) -> Tensor:
    """Return (B, 11) offsets (m) at the knots of (B, 11) curvatures (1/m), for small headings.

    Heading is the trapezoidal sum of curvature, the offset that of heading.
    """

    def integral(values: Tensor) -> Tensor:
        parts = 0.5 * (values[:, 1:] + values[:, :-1]) * _STEP_M
        return F.pad(parts.cumsum(1), (1, 0))

    return integral(integral(curvature))


def plan_ground_truth_loss(plan: Tensor, ground_truth: Tensor, stop_weight: float = 0.5) -> Tensor:
    """Return the loss of (B, 14) plans against encoded ground truth.

    It sums those of curvatures, lateral offsets, allowed speed, stop and proceed after stop.

    Args:
        plan: output of the network.
        ground_truth: see plan_targets.encode_plan.
        stop_weight: of the cross-entropy of stop and proceed after stop.
    """
    curvature = plan[:, :SPEED] / CURVATURE_SCALE, ground_truth[:, :SPEED] / CURVATURE_SCALE
    here = F.smooth_l1_loss(plan[:, :SPEED], ground_truth[:, :SPEED], beta=0.2)
    now = F.smooth_l1_loss(plan[:, 0], ground_truth[:, 0], beta=0.1)
    offsets = F.smooth_l1_loss(lateral_offsets(curvature[0]), lateral_offsets(curvature[1]), beta=0.5)
    speed = F.smooth_l1_loss(plan[:, SPEED], ground_truth[:, SPEED], beta=0.05)
    stop = F.binary_cross_entropy_with_logits(plan[:, STOP:], ground_truth[:, STOP:])
    return 2.0 * here + 2.0 * now + offsets + 10.0 * speed + stop_weight * stop


def steering_loss(plan: Tensor, curvature: Tensor) -> Tensor:
    """Return the loss of (B, 14) plans against (B, 11) scaled curvatures of a real drive, squared.

    The first has the largest weight: it is the current steering angle.
    """
    squared = (plan[:, :SPEED] - curvature).square().clamp(max=4.0)
    return 4.0 * squared[:, 0].mean() + squared.mean()


def mirrored(plan: Tensor, is_mirrored: Tensor) -> Tensor:
    """Return targets of mirrored images: curvatures change sign where ``is_mirrored`` (B,) is true."""
    sign = torch.where(is_mirrored, -1.0, 1.0)[:, None]
    return torch.cat([plan[:, :SPEED] * sign, plan[:, SPEED:]], 1)
