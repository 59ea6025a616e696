# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation loss: class-balanced cross-entropy and soft IoU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the loss of (B, C, H, W) logits against (B, C, H, W) probabilities.

    Cross-entropy, each pixel weighted by the inverse square root of its class's share in the batch, plus
    the mean over the classes of 1 - soft IoU (Rahman and Wang, Optimizing Intersection-Over-Union in
    Deep Neural Networks, 2016): the first has a gradient at every pixel, the second approximates the metric.

    Args:
        logits: of the student.
        target: sums to 1 over the classes.
        weight: (B, H, W), 0 where the target is undefined; None for 1 everywhere.
    """
    axes = (0, 2, 3)
    known = torch.ones_like(target[:, 0]) if weight is None else weight
    share = (target * known[:, None]).sum(axes) / known.sum().clamp_min(1.0)
    scale = share.clamp_min(1e-3).rsqrt()
    pixel = (target * scale[None, :, None, None]).sum(1) * known
    entropy = -(target * F.log_softmax(logits, 1)).sum(1)
    cross = (entropy * pixel).sum() / pixel.sum().clamp_min(1e-6)
    probability = logits.softmax(1) * known[:, None]
    expected = target * known[:, None]
    both = (probability * expected).sum(axes)
    either = (probability + expected).sum(axes) - both
    present = share > 1e-4
    overlap = ((both + 1.0) / (either + 1.0))[present]
    return cross + (1.0 - overlap).mean()
