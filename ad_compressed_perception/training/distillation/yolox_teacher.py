# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A detector's teacher for a student that sees an image through another input, or knows fewer labels.

A YOLOX output has a row for each cell of each stride's grid. Where the student's input is the teacher's
less some padding, its cells are some of the teacher's, and their rows are the answers. At another scale
no cell of one is a cell of the other; the teacher then runs at the student's own input size.
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
    """Who answers, and how the answers become the student's.

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
        RecipeError: the student has labels that the teacher lacks, or another scale while an operator holds
            the teacher to its size.
        DataError: no images.
    """
    before, after = context.manifest.input, context.input
    strides = [int(stride) for stride in context.output.options.get("strides", _DEFAULT_STRIDES)]
    columns = _columns(context)
    frame = next(iter(context.images()), None)
    if frame is None:
        raise DataError("no images to learn from: the source gave none")
    size = frame.pixels.shape[1::-1]
    asked, shown = (plan_geometry(spec, *size) for spec in (before, after))
    file, spec = context.baseline, before
    if cut_shift(asked, shown, strides) is None:
        model, spec = resized_teacher(context)
        context.checkpoints.mkdir(parents=True, exist_ok=True)
        file = context.checkpoints / "teacher.onnx"
        onnx.save(model, str(file))

    def fit(answers: list[NDArray[Any]], asked: Geometry, shown: Geometry) -> list[NDArray[Any]]:
        shift = cut_shift(asked, shown, strides)
        if shift is None:
            raise DataError(
                f"an image of {asked.source_width}x{asked.source_height} fills the student's "
                f"{shown.model_width}x{shown.model_height} input at another scale than its teacher's; learn "
                "from images of one shape, or leave input_size out"
            )
        rows = cut_rows((spec.width, spec.height), (after.width, after.height), strides, shift)
        return [answer[:, rows][..., columns] for answer in answers]

    return TeacherAdapter(file, spec, fit)


def cut_shift(asked: Geometry, shown: Geometry, strides: Sequence[int]) -> tuple[int, int] | None:
    """Return how far right and down the student's corner lies in the teacher's input, pixels.

    None where the student's cells are not among the teacher's: another scale (resized images differ by
    more than a rounded pixel), an input that reaches beyond, or a shift that is no multiple of a stride.
    """
    same_scale = (
        abs(asked.resized_width - shown.resized_width) <= 1
        and abs(asked.resized_height - shown.resized_height) <= 1
    )
    x, y = asked.offset_x - shown.offset_x, asked.offset_y - shown.offset_y
    inside = (
        0 <= x <= asked.model_width - shown.model_width and 0 <= y <= asked.model_height - shown.model_height
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
        shift: as ``cut_shift`` gives it.
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
    theirs, mine = (_label_ids(context, spec) for spec in (context.manifest.output, context.output))
    lacking = [context.manifest.labels[i] for i in mine if i not in theirs]
    if lacking:
        raise RecipeError(f"the teacher has no label {', '.join(lacking)}: it cannot teach them")
    kept = [_BOX_AND_OBJECTNESS + theirs.index(i) for i in mine]
    return np.array([*range(_BOX_AND_OBJECTNESS), *kept], np.int64)


def _label_ids(context: PassContext, output: OutputSpec) -> list[int]:
    return output.options.get("label_ids") or list(range(len(context.manifest.labels)))
