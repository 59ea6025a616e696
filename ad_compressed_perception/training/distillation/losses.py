# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation losses between student and teacher outputs, one per output type; ``output_loss`` for others.

No labels are needed: the teacher's own output is the target (Hinton, Vinyals and Dean, Distilling the
Knowledge in a Neural Network, 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import OutputSpec
from ad_compressed_perception.driving.plan_vector import SPEED, STOP
from ad_compressed_perception.training.distillation.output_loss import output_loss

Loss = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


def yolox_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the loss of (B, N, 5 + C) YOLOX outputs whose scores are probabilities.

    Objectness and classes: binary cross-entropy with the teacher's probabilities. Classes are weighted by
    the teacher's objectness, boxes (L1 in grid units and log size) by its best score, so that empty cells do
    not contribute. Sums over cells are divided by the teacher's total objectness.
    """
    tiny = 1e-6
    probability = student[..., 4:].clamp(tiny, 1.0 - tiny)
    target = teacher[..., 4:].clamp(0.0, 1.0)
    entropy = F.binary_cross_entropy(probability, target, reduction="none")
    # The teacher's own entropy is the lower bound: with it subtracted, a perfect student has loss 0.
    floor = F.binary_cross_entropy(target.clamp(tiny, 1.0 - tiny), target, reduction="none")
    excess = entropy - floor
    objectness = target[..., 0]
    mass = objectness.sum().clamp_min(1.0)
    best = objectness * target[..., 1:].amax(-1)
    classes = (excess[..., 1:].sum(-1) * objectness).sum() / mass
    boxes = (F.l1_loss(student[..., :4], teacher[..., :4], reduction="none").sum(-1) * best).sum() / mass
    return excess[..., 0].sum() / mass + classes + boxes


def segmentation_loss(student: Tensor, teacher: Tensor, axis: int, student_is_probability: bool) -> Tensor:
    """Kullback-Leibler divergence per pixel, teacher to student, over the class axis.

    Pixels are weighted by the inverse square root of their class's share in the batch: otherwise rare classes
    (curbs, markings) are not learned.
    """
    tiny = 1e-6
    target = teacher.clamp_min(tiny)
    target = target / target.sum(axis, keepdim=True)
    log_student = student.clamp_min(tiny).log() if student_is_probability else student
    log_student = F.log_softmax(log_student, axis)
    divergence = (target * (target.log() - log_student)).sum(axis)
    others = [d for d in range(target.dim()) if d != axis % target.dim()]
    share = target.mean(others)
    weight = share.clamp_min(1e-3).rsqrt()
    shape = [1] * target.dim()
    shape[axis] = -1
    pixel = (target * weight.reshape(shape)).sum(axis)
    return (divergence * pixel).sum() / pixel.sum()


def value_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return the loss of scalar outputs: squared up to 0.1 (rad, or of a probability), linear beyond.

    To first order the path's error is proportional to the steering angle's; the quadratic part makes
    gradients small in the last steps, where those of a linear loss stay constant.
    """
    losses = [
        F.smooth_l1_loss(s.reshape(-1), t.reshape(-1), beta=0.1)
        for s, t in zip(student, teacher, strict=True)
    ]
    return torch.stack(losses).sum()


def plan_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the loss of (B, 14) plans: smooth L1 of curvatures and speed, cross-entropy of the logits.

    The curvature at the car's position, which determines its steering, is weighted four times.
    """
    numbers = F.smooth_l1_loss(student[:, :STOP], teacher[:, :STOP], beta=0.1, reduction="none").mean(0)
    entropy = F.binary_cross_entropy_with_logits(student[:, STOP:], teacher[:, STOP:].sigmoid())
    return numbers.sum() + 3.0 * numbers[0] + 4.0 * numbers[SPEED] + 0.2 * entropy


def create_loss(output: OutputSpec, ends_in_softmax: bool) -> Loss:
    """Return the loss of a model's outputs, chosen by its decoder.

    Args:
        output: the student's output.
        ends_in_softmax: whether the student's graph ends in a Softmax.

    Raises:
        RecipeError: the outputs have no gradient.
    """
    options: dict[str, Any] = output.options
    if output.decoder == "yolox":
        return lambda student, teacher: yolox_loss(student[0], teacher[0])
    if output.decoder == "argmax" and options.get("layout", "NCHW") != "LABELS":
        axis = 1 if options.get("layout", "NCHW") == "NCHW" else -1
        return lambda student, teacher: segmentation_loss(student[0], teacher[0], axis, ends_in_softmax)
    if output.decoder == "steering":
        return value_loss
    if output.decoder == "trajectory":
        return lambda student, teacher: plan_loss(student[0], teacher[0])
    if output.decoder == "argmax":
        raise RecipeError(
            "the graph ends in labels, which have no gradient: train before the pass trim_output"
        )
    return output_loss
