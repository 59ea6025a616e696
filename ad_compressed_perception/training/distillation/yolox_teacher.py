# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The YOLOX teacher of a student with another input size or fewer labels.

A YOLOX output has a row for each cell of each stride's grid. Where the student's input is the teacher's
without some padding, its cells are a subset of the teacher's, and their rows are the targets. At another
scale the cells do not coincide; the teacher then runs at the student's input size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.geometry import Geometry, plan_geometry
from ad_compressed_perception.training.distillation.dataset import Fit
from ad_compressed_perception.training.distillation.resized_teacher import resized_teacher

_DEFAULT_STRIDES = (8, 16, 32)
_BOX_AND_OBJECTNESS = 5


@dataclass(frozen=True)
class TeacherAdapter:
    """A teacher and the conversion of its outputs to the student's format.

    Attributes:
        file: the teacher's ONNX file.
        input: its input.
        fit: see Fit.
    """

    file: Path
    input: InputSpec
    fit: Fit


def yolox_teacher(context: PassContext) -> TeacherAdapter:
    """Return the teacher of a YOLOX student.

    Raises:
        RecipeError: the student has labels that the teacher lacks, or another scale while an operator fixes
            the teacher's input size.
        DataError: no images.
    """
    before, after = context.manifest.input, context.input
    strides = [int(stride) for stride in context.output.options.get("strides", _DEFAULT_STRIDES)]
    columns = _columns(context)
    frame = next(iter(context.images()), None)
    if frame is None:
        raise DataError("no images to train on: the source has none")
    size = frame.pixels.shape[1::-1]
    teacher, student = (plan_geometry(spec, *size) for spec in (before, after))
    file, spec = context.baseline, before
    if cut_shift(teacher, student, strides) is None:
        model, spec = resized_teacher(context)
        context.checkpoints.mkdir(parents=True, exist_ok=True)
        file = context.checkpoints / "teacher.onnx"
        onnx.save(model, str(file))

    def fit(outputs: list[NDArray[Any]], teacher: Geometry, student: Geometry) -> list[NDArray[Any]]:
        shift = cut_shift(teacher, student, strides)
        if shift is None:
            raise DataError(
                f"an image of {teacher.source_width}x{teacher.source_height} fills the student's "
                f"{student.model_width}x{student.model_height} input at another scale than its teacher's; "
                "train on images of one shape, or leave input_size out"
            )
        rows = cut_rows((spec.width, spec.height), (after.width, after.height), strides, shift)
        return [output[:, rows][..., columns] for output in outputs]

    return TeacherAdapter(file, spec, fit)


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


def _columns(context: PassContext) -> NDArray[np.int64]:
    """Return the columns of the teacher's output that the student has."""
    teacher_ids, student_ids = (
        _label_ids(context, spec) for spec in (context.manifest.output, context.output)
    )
    lacking = [context.manifest.labels[i] for i in student_ids if i not in teacher_ids]
    if lacking:
        raise RecipeError(f"the teacher has no label {', '.join(lacking)}: it cannot train them")
    kept = [_BOX_AND_OBJECTNESS + teacher_ids.index(i) for i in student_ids]
    return np.array([*range(_BOX_AND_OBJECTNESS), *kept], np.int64)


def _label_ids(context: PassContext, output: OutputSpec) -> list[int]:
    return output.options.get("label_ids") or list(range(len(context.manifest.labels)))
