# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection loss against ground-truth boxes: assignment of cells to objects, and box and class losses.

The assignment is SimOTA (Ge et al., YOLOX, 2021, section 2.1): every object takes its cells of least cost, as
many as the sum of their IoUs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.training.distillation.box_targets import grid

_CENTER_RADIUS = 2.5
_MOST_CELLS = 10
_OUTSIDE = 1e5
_IOU_WEIGHT = 3.0


@dataclass(frozen=True)
class Cells:
    """The cells of all strides, in the order of the output's rows.

    Attributes:
        corners: (N, 2) column and row.
        strides: (N, 1) pixels.
    """

    corners: Tensor
    strides: Tensor

    def boxes(self, raw: Tensor) -> Tensor:
        """Return (B, N, 4) xyxy pixels of (B, N, 4) cx, cy, log w, log h as the decoder yolox reads them."""
        centers = (raw[..., :2] + self.corners) * self.strides
        halves = raw[..., 2:].clamp(max=8.0).exp() * self.strides * 0.5
        return torch.cat([centers - halves, centers + halves], -1)

    def raw(self, boxes: Tensor) -> Tensor:
        """Return the inverse of ``boxes``."""
        centers = 0.5 * (boxes[..., :2] + boxes[..., 2:]) / self.strides - self.corners
        sizes = (boxes[..., 2:] - boxes[..., :2]).clamp_min(1.0) / self.strides
        return torch.cat([centers, sizes.log()], -1)


def grid_cells(width: int, height: int, strides: tuple[int, ...], device: torch.device) -> Cells:
    """Return the cells of an input of width x height pixels."""
    corners, steps = grid(width, height, strides)
    return Cells(torch.from_numpy(corners).to(device), torch.from_numpy(steps).to(device))


def iou_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of xyxy boxes, elementwise over broadcast leading axes."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (high - low).clamp_min(0.0).prod(-1)
    area = (a[..., 2:] - a[..., :2]).clamp_min(0.0).prod(-1) + (b[..., 2:] - b[..., :2]).clamp_min(0.0).prod(
        -1
    )
    return overlap / (area - overlap).clamp_min(1e-6)


@torch.no_grad()
def assign(cells: Cells, predicted: Tensor, scores: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """Return (B, N) the index of the object that a cell is assigned to, or -1.

    Args:
        cells: of the output.
        predicted: (B, N, 4) xyxy pixels.
        scores: (B, N, C) objectness times class, 0..1.
        boxes: (B, M, 4) ground truth, xyxy pixels.
        classes: (B, M) long; -1 where there is no object.
    """
    is_object = classes >= 0
    middle = (cells.corners + 0.5) * cells.strides
    x, y = middle[:, 0], middle[:, 1]
    left, top, right, bottom = (boxes[..., i, None] for i in range(4))
    in_box = (x > left) & (x < right) & (y > top) & (y < bottom)
    reach = _CENTER_RADIUS * cells.strides[:, 0]
    in_center = ((x - 0.5 * (left + right)).abs() < reach) & ((y - 0.5 * (top + bottom)).abs() < reach)
    candidate = (in_box | in_center) & is_object[..., None]
    overlaps = iou_pairs(boxes[:, :, None], predicted[:, None]) * candidate  # (B, M, N)
    p = scores.clamp(1e-6, 1.0 - 1e-6)
    none = -(1.0 - p).log().sum(-1)  # (B, N): cost of "no object"
    index = classes.clamp_min(0)[..., None].expand(-1, -1, p.shape[1])
    own = p.transpose(1, 2).gather(1, index)  # (B, M, N)
    cost = none[:, None] + (1.0 - own).log() - own.log() - _IOU_WEIGHT * (overlaps + 1e-8).log()
    cost = cost + _OUTSIDE * ~(in_box & in_center)
    cost = torch.where(candidate, cost, torch.full_like(cost, math.inf))
    most = min(_MOST_CELLS, cost.shape[-1])
    cell_count = overlaps.topk(most, -1).values.sum(-1).int().clamp_min(1)  # (B, M)
    cheapest = cost.topk(most, -1, largest=False)
    taken = torch.arange(most, device=cost.device) < cell_count[..., None]
    taken &= torch.isfinite(cheapest.values)
    chosen = torch.zeros_like(cost, dtype=torch.bool).scatter_(-1, cheapest.indices, taken)
    # A cell chosen by several objects is assigned to the one of least cost.
    best = torch.where(chosen, cost, torch.full_like(cost, math.inf)).min(1)
    return torch.where(torch.isfinite(best.values), best.indices, torch.full_like(best.indices, -1))


def box_loss(
    cells: Cells, raw: Tensor, objectness: Tensor, classes: Tensor, boxes: Tensor, labels: Tensor
) -> Tensor:
    """Return the loss of a batch against its ground-truth boxes.

    5 (1 - IoU^2) + L1 of the raw box for cells with an object, cross-entropy of their class with the IoU as
    target, cross-entropy of objectness for all cells; sums are divided by the number of cells with an object.

    Args:
        cells: of the output.
        raw: (B, N, 4).
        objectness: (B, N) logits.
        classes: (B, N, C) logits.
        boxes: (B, M, 4) ground truth, xyxy pixels.
        labels: (B, M) long; -1 where there is none.
    """
    predicted = cells.boxes(raw)
    scores = objectness.sigmoid()[..., None] * classes.sigmoid()
    assigned = assign(cells, predicted.detach(), scores.detach().sqrt(), boxes, labels)
    has_object = assigned >= 0
    count = has_object.sum().clamp_min(1)
    loss = F.binary_cross_entropy_with_logits(objectness, has_object.float(), reduction="sum")
    batch, cell = has_object.nonzero(as_tuple=True)
    true = boxes[batch, assigned[batch, cell]]
    label = labels[batch, assigned[batch, cell]]
    overlap = iou_pairs(predicted[batch, cell], true)
    loss = loss + 5.0 * (1.0 - overlap.square()).sum()
    raw_target = Cells(cells.corners[cell], cells.strides[cell]).raw(true)
    loss = loss + F.l1_loss(raw[batch, cell], raw_target, reduction="sum")
    target = F.one_hot(label, classes.shape[-1]).float() * overlap.detach()[:, None]
    return (loss + F.binary_cross_entropy_with_logits(classes[batch, cell], target, reduction="sum")) / count
