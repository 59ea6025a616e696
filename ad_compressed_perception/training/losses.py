# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation losses, chosen by the kind of an output's numbers (``tasks/output_kinds.py``).

No labels are needed: the teacher's own output t is the target of the student's s (Hinton, Vinyals and Dean,
Distilling the Knowledge in a Neural Network, 2015). With H the cross-entropy:

| kind | loss of a number |
|---|---|
| probability, logits | H(t, s) - H(t, t), of their sigmoids where they are logits |
| distribution | sum of t log(t / s) over its bins |
| pixel_box | absolute difference, in tenths of the channel's standard deviation |
| log_size | absolute difference |
| value | smooth L1, quadratic up to its unit or up to the channel's standard deviation |

Where boxes and scores have the same rows, as in every detector, a row's boxes count by the teacher's best
score in it and its class scores by its objectness, since a row without an object has no box; sums over rows
are divided by the sum of the objectness, or else of the best scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds

Loss = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
_TINY = 1e-6
_LEAST_SPREAD = 0.01
"""Share of a channel's largest number that its spread is at least: constant channels must stay constant."""
_BOX_UNITS = 10.0


@dataclass(frozen=True)
class _Part:
    """Columns of one output, (B, columns, rows) of student and teacher."""

    columns: Columns
    student: Tensor
    teacher: Tensor
    is_softmaxed: bool

    @property
    def rows(self) -> int:
        return int(self.teacher.shape[2])

    @property
    def is_score(self) -> bool:
        return self.columns.kind in ("probability", "logits")

    @property
    def is_box(self) -> bool:
        return self.columns.kind in ("pixel_box", "log_size") or self.columns.bins is not None

    def probability(self) -> Tensor:
        """Return the teacher's probabilities."""
        teacher = self.teacher
        return teacher.sigmoid() if self.columns.kind == "logits" else teacher.clamp(0.0, 1.0)


@dataclass(frozen=True)
class _Rows:
    """(B, rows) weights of a detector's class scores and boxes, and the sum that divides their losses."""

    classes: Tensor | None
    boxes: Tensor
    mass: Tensor


def create_loss(kinds: Sequence[OutputKinds], is_softmaxed: Sequence[bool] = ()) -> Loss:
    """Return the loss of student and teacher outputs of these kinds.

    Args:
        kinds: of each output.
        is_softmaxed: whether the student's distributions are computed by a Softmax, for each output; else
            they are logits. The teacher's are after the softmax.
    """
    softmaxed = is_softmaxed or [False] * len(kinds)

    def loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        parts = [
            part
            for given in zip(kinds, student, teacher, softmaxed, strict=True)
            for part in _parts(*given)
            if part.teacher.shape[1]
        ]
        rows = _detector_rows(parts)
        return torch.stack([_loss(part, rows.get(part.rows)) for part in parts]).sum()

    return loss


def channel_axis(shape: Sequence[int]) -> int:
    """Return the axis along which an output's numbers differ in meaning.

    Of maps the second, or the last where it is shorter (channels last) or there are five; of rows or columns
    of boxes the shorter one.
    """
    if len(shape) > 4:
        return len(shape) - 1
    candidates = [1, len(shape) - 1] if len(shape) > 2 else [len(shape) - 1]
    return min(candidates, key=lambda axis: shape[axis])


def column_axis(kinds: OutputKinds, shape: Sequence[int]) -> int:
    """Return the axis of a shape along which the columns lie, from 0 on."""
    return channel_axis(shape) if kinds.axis is None else kinds.axis % len(shape)


def column_counts(columns: Sequence[Columns], size: int) -> list[int]:
    """Return the columns' counts along an axis of a size; columns that it has no room for are 0."""
    left = size - sum(one.count or 0 for one in columns)
    return [left if one.count is None else one.count for one in columns]


def _parts(kinds: OutputKinds, student: Tensor, teacher: Tensor, is_softmaxed: bool) -> list[_Part]:
    if teacher.dim() == 1:
        teacher = teacher[:, None]
    axis = column_axis(kinds, teacher.shape)
    both = [one.reshape(teacher.shape).movedim(axis, 1) for one in (student, teacher)]
    both = [one.flatten(2) if one.dim() > 2 else one[..., None] for one in both]
    counts = column_counts(kinds.columns, both[1].shape[1])
    pieces = zip(kinds.columns, *(one.split(counts, 1) for one in both), strict=True)
    return [_Part(columns, s, t, is_softmaxed) for columns, s, t in pieces]


def _detector_rows(parts: Sequence[_Part]) -> dict[int, _Rows]:
    """Return the weights of rows that have boxes and scores, by their number."""
    found: dict[int, _Rows] = {}
    for count in {part.rows for part in parts if part.is_box}:
        scores = [part for part in parts if part.is_score and part.rows == count]
        objectness = [part.probability()[:, 0] for part in scores if part.columns.is_objectness]
        classes = [part.probability().amax(1) for part in scores if not part.columns.is_objectness]
        if not scores:
            continue
        best = torch.stack(classes).amax(0) if classes else torch.ones_like(objectness[0])
        boxes = objectness[0] * best if objectness else best
        mass = (objectness[0] if objectness else boxes).sum().clamp_min(1.0)
        found[count] = _Rows(objectness[0] if objectness else None, boxes, mass)
    return found


def _loss(part: _Part, rows: _Rows | None) -> Tensor:
    columns = part.columns
    if part.is_score:
        excess = _excess(part)
        if rows is None:
            return columns.weight * excess.mean()
        if rows.classes is not None and not columns.is_objectness:
            excess = excess * rows.classes[:, None]
        return columns.weight * excess.sum() / rows.mass
    if columns.kind == "distribution":
        return columns.weight * _divergence(part, rows)
    difference = _difference(part, rows is not None)
    if rows is not None:
        return columns.weight * (difference.sum(1) * rows.boxes).sum() / rows.mass
    mean = difference.mean((0, 2))
    return columns.weight * (mean.mean() if columns.unit is None else mean.sum())


def _excess(part: _Part) -> Tensor:
    """Return the cross-entropy less the teacher's own entropy, so that a perfect student has loss 0."""
    target = part.probability()
    floor = F.binary_cross_entropy(target.clamp(_TINY, 1.0 - _TINY), target, reduction="none")
    if part.columns.kind == "logits":
        return F.binary_cross_entropy_with_logits(part.student, target, reduction="none") - floor
    # Shrunk towards 0.5 and not cut off: scores of a damaged network, near 0, keep their gradient.
    probability = _TINY + (1.0 - 2.0 * _TINY) * part.student.clamp(0.0, 1.0)
    return F.binary_cross_entropy(probability, target, reduction="none") - floor


def _divergence(part: _Part, rows: _Rows | None) -> Tensor:
    """Return the Kullback-Leibler divergence, teacher to student, over the bins.

    Alternatives such as labels are weighted by the inverse square root of their share in the batch: otherwise
    rare ones (curbs, markings) are not learned.
    """
    bins = part.columns.bins or part.teacher.shape[1]
    student, teacher = (one.unflatten(1, (-1, bins)) for one in (part.student, part.teacher))
    target = teacher.clamp_min(_TINY)
    target = target / target.sum(2, keepdim=True)
    logarithm = student.clamp_min(_TINY).log() if part.is_softmaxed else student
    divergence = (target * (target.log() - F.log_softmax(logarithm, 2))).sum(2)
    if rows is not None and part.columns.bins is not None:
        return (divergence.sum(1) * rows.boxes).sum() / rows.mass
    weight = target.mean((0, 1, 3)).clamp_min(1e-3).rsqrt()
    pixel = (target * weight[:, None]).sum(2)
    return (divergence * pixel).sum() / pixel.sum()


def _difference(part: _Part, is_weighted: bool) -> Tensor:
    student, teacher, columns = part.student, part.teacher, part.columns
    if columns.kind == "log_size":
        return (student - teacher).abs()
    if columns.unit is not None:
        return F.smooth_l1_loss(student, teacher, beta=columns.unit, reduction="none")
    spread = teacher.std((0, 2), keepdim=True, correction=0)
    least = _LEAST_SPREAD * teacher.abs().amax((0, 2), keepdim=True)
    scale = torch.maximum(spread, least).clamp_min(_TINY)
    if columns.kind == "pixel_box" and is_weighted:
        return (student - teacher).abs() * (_BOX_UNITS / scale)
    return F.smooth_l1_loss(student / scale, teacher / scale, beta=1.0, reduction="none")
