# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The distillation dataset: student inputs and teacher outputs, computed once and cached on disk.

The teacher (the fp32 graph in ONNX Runtime) runs once per augmented image; epochs then run the student
only. Arrays are float16 files: pixels of 0..255 are exact in it, scaled ones keep 11 bits, and teacher
outputs need no more than its three digits.
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
"""Teacher outputs, teacher geometry and student geometry of an image to the student's targets."""


class DistillationDataset:
    """Student inputs and their targets.

    Attributes:
        inputs: (N, ...) float16 student inputs.
        targets: for each output of the teacher (N, ...) float16.
    """

    def __init__(self, inputs: NDArray[np.float16], targets: list[NDArray[np.float16]]) -> None:
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)

    def batch(
        self, indices: Sequence[int] | NDArray[np.int64], device: torch.device
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the inputs and targets of some rows as float32 tensors."""
        rows = np.sort(np.asarray(indices))
        inputs = torch.from_numpy(np.asarray(self.inputs[rows])).to(device).float()
        targets = [torch.from_numpy(np.asarray(a[rows])).to(device).float() for a in self.targets]
        return inputs, targets


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
    fit: Fit = lambda outputs, teacher_geometry, student_geometry: outputs,
    correct: Correct | None = None,
    seed: int = 0,
    advance: Advance = lambda done, total: None,
) -> DistillationDataset:
    """Compute the teacher's outputs for every image and its augmented copies.

    Args:
        images: returns an iterator over the images, with or without their ground truth.
        count: number of images.
        teacher: the fp32 ONNX file.
        teacher_input: its input.
        student_input: the student's input, which may be smaller.
        outputs: names of the teacher's outputs to use.
        folder: where the arrays are stored.
        views: copies of each image; the first is unaltered.
        threads: the teacher's; 0 for the runtime's default.
        fit: converts teacher outputs to the student's output format.
        correct: merges the ground truth of a labeled image into the targets.
        seed: of the augmentations.
        advance: called with (done, total).

    Raises:
        DataError: no images.
        BackendError: the teacher cannot run.
        OSError: no room on the disk.
    """
    rng = np.random.default_rng(seed)
    prepare_teacher, prepare_student = Preparer(teacher_input), Preparer(student_input)
    session = create_backend("onnxruntime").load(teacher, {"threads": threads})
    total, row = count * views, 0
    inputs: NDArray[np.float16] | None = None
    tables: list[NDArray[np.float16]] = []
    try:
        name = session.info.inputs[0].name
        for item in images():
            image = to_bgr8(item.frame if isinstance(item, LabeledFrame) else item)
            height, width = image.shape[:2]
            for number in range(views):
                view = (
                    identity_augmentation(height, width)
                    if number == 0
                    else draw_augmentation(height, width, rng)
                )
                augmented = Frame(view.image(image), "BGR")
                teacher_tensor, teacher_geometry = prepare_teacher(augmented)
                found = session.infer({name: teacher_tensor})
                tensor, geometry = prepare_student(augmented)
                targets = fit([found[output] for output in outputs], teacher_geometry, geometry)
                if correct is not None and isinstance(item, LabeledFrame):
                    targets = correct(targets, item.ground_truth, view, geometry)
                if inputs is None:
                    inputs = _table(folder / "inputs.npy", total, tensor)
                    tables = [_table(folder / f"outputs_{i}.npy", total, a) for i, a in enumerate(targets)]
                inputs[row] = tensor[0]
                for table, target in zip(tables, targets, strict=True):
                    table[row] = target.reshape(table.shape[1:])
                row += 1
                advance(row, total)
    finally:
        session.close()
    if inputs is None:
        raise DataError("no images to train on: the source has none")
    return DistillationDataset(inputs[:row], [table[:row] for table in tables])


def _table(path: Path, rows: int, like: NDArray[Any]) -> NDArray[np.float16]:
    shape = like.shape[1:] if like.ndim > 1 else (1,)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, *shape))
    with path.open("r+b") as file:
        # A disk that fills up under a memory map kills the process (SIGBUS); allocating first raises OSError.
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return table
