# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lessons: what the student sees and what the teacher said of it, prepared once and kept on disk.

The teacher (the fp32 graph in ONNX Runtime) answers every image and every altered copy of it one
time; epochs then cost the student's work only. Arrays are float16 files: pixels of 0..255 are exact in
it, scaled ones keep 11 bits, and teachers' outputs need no more than its three digits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.data.labeled.dataset import LabeledFrame
from ad_compressed_perception.image.decode import Frame, to_bgr8
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.prepare import Preparer
from ad_compressed_perception.training.augmentation import draw_augmentation, identity_augmentation
from ad_compressed_perception.training.distillation.label_correction import Correct

Advance = Callable[[int, int], None]
Fit = Callable[[list[NDArray[Any]], Geometry, Geometry], list[NDArray[Any]]]
"""The teacher's answers to an image as the student should give them; told how either saw the image."""


class DistillationDataset:
    """A table of student inputs and teacher outputs.

    Attributes:
        inputs: (N, ...) float16 student inputs.
        answers: for each output of the teacher (N, ...) float16.
    """

    def __init__(self, inputs: NDArray[np.float16], answers: list[NDArray[np.float16]]) -> None:
        self.inputs = inputs
        self.answers = answers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)

    def batch(
        self, indices: Sequence[int] | NDArray[np.int64], device: torch.device
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the student's inputs and the teacher's answers of some rows as float32 tensors."""
        rows = np.sort(np.asarray(indices))
        inputs = torch.from_numpy(np.asarray(self.inputs[rows])).to(device).float()
        answers = [torch.from_numpy(np.asarray(a[rows])).to(device).float() for a in self.answers]
        return inputs, answers


def cache_teacher_outputs(
    images: Callable[[], Iterator[Frame | LabeledFrame]],
    count: int,
    teacher: Path,
    teacher_input: InputSpec,
    student_input: InputSpec,
    outputs: list[str],
    folder: Path,
    *,
    views: int = 2,
    threads: int = 0,
    fit: Fit = lambda answers, asked, shown: answers,
    correct: Correct | None = None,
    seed: int = 0,
    advance: Advance = lambda done, total: None,
) -> DistillationDataset:
    """Ask the teacher about every image, as it is and altered.

    Args:
        images: starts a round over the images, with or without their ground truth.
        count: how many there are.
        teacher: the fp32 ONNX file.
        teacher_input: its input.
        student_input: the student's input, which may be smaller.
        outputs: the teacher's outputs wanted.
        folder: where the arrays are kept.
        views: copies of each image; the first is unaltered.
        threads: the teacher's; 0 for the runtime's own choice.
        fit: brings the teacher's answers to the student's output.
        correct: puts the ground truth of an image that has one into the fitted answers.
        seed: of the alterations.
        advance: told (done, total).

    Raises:
        DataError: no images.
        BackendError: the teacher cannot run.
        OSError: no room on the disk.
    """
    rng = np.random.default_rng(seed)
    ask, prepare = Preparer(teacher_input), Preparer(student_input)
    session = create_backend("onnxruntime").load(teacher, {"threads": threads})
    total, row = count * views, 0
    inputs: NDArray[np.float16] | None = None
    answers: list[NDArray[np.float16]] = []
    try:
        name = session.info.inputs[0].name
        for given in images():
            image = to_bgr8(given.frame if isinstance(given, LabeledFrame) else given)
            height, width = image.shape[:2]
            for number in range(views):
                view = (
                    identity_augmentation(height, width)
                    if number == 0
                    else draw_augmentation(height, width, rng)
                )
                seen = Frame(view.image(image), "BGR")
                question, asked = ask(seen)
                said = session.infer({name: question})
                tensor, shown = prepare(seen)
                fitted = fit([said[output] for output in outputs], asked, shown)
                if correct is not None and isinstance(given, LabeledFrame):
                    fitted = correct(fitted, given.ground_truth, view, shown)
                if inputs is None:
                    inputs = _table(folder / "inputs.npy", total, tensor)
                    answers = [_table(folder / f"answers_{i}.npy", total, a) for i, a in enumerate(fitted)]
                inputs[row] = tensor[0]
                for table, answer in zip(answers, fitted, strict=True):
                    table[row] = answer.reshape(table.shape[1:])
                row += 1
                advance(row, total)
    finally:
        session.close()
    if inputs is None:
        raise DataError("no images to learn from: the source gave none")
    return DistillationDataset(inputs[:row], [table[:row] for table in answers])


def _table(path: Path, rows: int, like: NDArray[Any]) -> NDArray[np.float16]:
    shape = like.shape[1:] if like.ndim > 1 else (1,)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, *shape))
    with path.open("r+b") as file:
        # A disk that fills up under a memory map kills the process (SIGBUS); asked first, it says so.
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return table
