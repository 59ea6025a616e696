# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The teacher's outputs in the student's format: another input size, axis, or fewer labels.

Where an output has a row for each cell of grids, and the student's input is the teacher's without some
padding, its cells are a subset of the teacher's, and their rows are the targets. At another scale the cells
do not coincide; the teacher then runs at the student's input size. Distributions of a map are resized as
probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.geometry import Geometry, plan_geometry
from ad_compressed_perception.tasks.output_kinds import OutputKinds
from ad_compressed_perception.training.distillation.resized_teacher import resized_teacher
from ad_compressed_perception.training.distillation.trained_outputs import TrainedOutput
from ad_compressed_perception.training.losses import column_axis, column_counts

if TYPE_CHECKING:
    from onnx import ModelProto

Values = NDArray[Any]
_SCORES = ("probability", "logits", "distribution")


@dataclass(frozen=True)
class Targets:
    """A teacher's graph or file, its input, and the conversion of its outputs to the student's format."""

    model: ModelProto | Path
    spec: InputSpec
    outputs: Sequence[TrainedOutput]
    columns: NDArray[np.int64] | None
    student: InputSpec

    def fit(self, outputs: list[Values], teacher: Geometry, student: Geometry) -> list[Values]:
        """Return targets of an image's teacher outputs; the geometries are those of teacher and student.

        Raises:
            DataError: the image fills the student's input at another scale than the teacher's.
        """
        return [
            self._fit(values, output, (teacher, student))
            for values, output in zip(outputs, self.outputs, strict=True)
        ]

    def _fit(self, values: Values, output: TrainedOutput, geometries: tuple[Geometry, Geometry]) -> Values:
        kinds = output.teacher.kinds
        axis = column_axis(kinds, values.shape)
        if kinds.strides:
            values = values.take(self._rows(kinds.strides, *geometries), 3 - axis)
        if any(one.kind == "distribution" for one in kinds.columns):
            values = np.asarray(values, np.float32)
            if not output.teacher.is_softmaxed:
                values = _probabilities(values, kinds, axis)
            values = _resized(values, axis, output)
        if values.ndim == len(output.shape):
            own_axis = column_axis(output.student.kinds, output.shape)
            values, axis = np.moveaxis(values, axis, own_axis), own_axis
        counts = column_counts(kinds.columns, values.shape[axis])
        for place, one in enumerate(kinds.columns):
            if self.columns is not None and one.count is None and one.kind in _SCORES and one.bins is None:
                before, after = np.split(np.arange(values.shape[axis]), [sum(counts[:place])])
                kept = np.concatenate([before, after[self.columns], after[counts[place] :]])
                return values.take(kept, axis)
        return values

    def _rows(self, strides: Sequence[int], teacher: Geometry, student: Geometry) -> NDArray[np.int64]:
        shift = cut_shift(teacher, student, strides)
        if shift is None:
            raise DataError(
                f"an image of {teacher.source_width}x{teacher.source_height} fills the student's "
                f"{student.model_width}x{student.model_height} input at another scale than its teacher's; "
                "train on images of one shape, or leave input_size out"
            )
        whole, own = ((one.width, one.height) for one in (self.spec, self.student))
        return cut_rows(whole, own, strides, shift)


def open_targets(context: PassContext, outputs: Sequence[TrainedOutput]) -> Targets:
    """Return the targets of a student.

    Raises:
        RecipeError: the student has labels that the teacher lacks, or another scale while an operator fixes
            the teacher's input size.
        DataError: no images.
    """
    before, after = context.manifest.input, context.input
    columns = _columns(context)
    strides = next((output.student.kinds.strides for output in outputs if output.student.kinds.strides), ())
    if strides:
        frame = next(iter(context.images()), None)
        if frame is None:
            raise DataError("no images to train on: the source has none")
        size = frame.pixels.shape[1::-1]
        teacher, student = (plan_geometry(spec, *size) for spec in (before, after))
        if cut_shift(teacher, student, strides) is None:
            return Targets(*resized_teacher(context), outputs, columns, after)
    return Targets(context.baseline, before, outputs, columns, after)


def _probabilities(values: Values, kinds: OutputKinds, axis: int) -> Values:
    """Return an output whose distributions are after their softmax."""
    columns = np.moveaxis(values.copy(), axis, -1)
    stop = 0
    for one, count in zip(kinds.columns, column_counts(kinds.columns, columns.shape[-1]), strict=True):
        start, stop = stop, stop + count
        if one.kind == "distribution":
            bins = columns[..., start:stop].reshape(*columns.shape[:-1], -1, one.bins or count)
            powers = np.exp(bins - bins.max(-1, keepdims=True))
            shares = powers / powers.sum(-1, keepdims=True)
            columns[..., start:stop] = shares.reshape(*columns.shape[:-1], count)
    return np.moveaxis(columns, -1, axis)


def _resized(values: Values, axis: int, output: TrainedOutput) -> Values:
    """Return a map of probabilities at the student's size; others as they are."""
    if values.ndim != 4 or len(output.shape) != 4:
        return values
    own_axis = column_axis(output.student.kinds, output.shape)
    height, width = (side for place, side in enumerate(output.shape) if place not in (0, own_axis))
    scores = np.moveaxis(values[0], axis - 1, -1)
    if scores.shape[:2] != (height, width):
        smaller = height <= scores.shape[0] and width <= scores.shape[1]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        resized = cv2.resize(np.ascontiguousarray(scores), (width, height), interpolation=how)
        scores = np.asarray(resized, np.float32).reshape(height, width, -1)
    return np.moveaxis(scores, -1, axis - 1)[None]


def cut_shift(teacher: Geometry, student: Geometry, strides: Sequence[int]) -> tuple[int, int] | None:
    """Return the (x, y) offset of the student's top left corner in the teacher's input, pixels.

    None where the student's cells are not among the teacher's: another scale (resized images differ by
    more than a rounded pixel), an input that reaches beyond, or a shift that is no multiple of a stride.
    """
    same_scale = (
        abs(teacher.resized_width - student.resized_width) <= 1
        and abs(teacher.resized_height - student.resized_height) <= 1
    )
    x, y = teacher.offset_x - student.offset_x, teacher.offset_y - student.offset_y
    inside = (
        0 <= x <= teacher.model_width - student.model_width
        and 0 <= y <= teacher.model_height - student.model_height
    )
    whole = all(x % stride == 0 and y % stride == 0 for stride in strides)
    return (x, y) if same_scale and inside and whole else None


def cut_rows(
    teacher: tuple[int, int], student: tuple[int, int], strides: Sequence[int], shift: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the teacher's rows that are the student's cells, in the student's order.

    Args:
        teacher: width and height of the teacher's input, pixels.
        student: of the student's.
        strides: of the grids, in the order of the rows.
        shift: as returned by ``cut_shift``.
    """
    parts, start = [], 0
    for stride in strides:
        columns, rows = teacher[0] // stride, teacher[1] // stride
        numbers = np.arange(start, start + columns * rows, dtype=np.int64).reshape(rows, columns)
        top, left = shift[1] // stride, shift[0] // stride
        parts.append(numbers[top : top + student[1] // stride, left : left + student[0] // stride].ravel())
        start += columns * rows
    return np.concatenate(parts)


def _columns(context: PassContext) -> NDArray[np.int64] | None:
    """Return the places of the student's labels among the teacher's; None where they are the same."""
    teacher_ids, student_ids = (
        _label_ids(context, spec) for spec in (context.manifest.output, context.output)
    )
    lacking = [context.manifest.labels[i] for i in student_ids if i not in teacher_ids]
    if lacking:
        raise RecipeError(f"the teacher has no label {', '.join(lacking)}: it cannot train them")
    same = student_ids == teacher_ids
    return None if same else np.array([teacher_ids.index(i) for i in student_ids], np.int64)


def _label_ids(context: PassContext, output: OutputSpec) -> list[int]:
    return output.options.get("label_ids") or list(range(len(context.manifest.labels)))
