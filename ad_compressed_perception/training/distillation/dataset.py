# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The distillation dataset: student inputs and teacher outputs, computed once and cached on disk.

The teacher (the fp32 graph) runs once per augmented image; epochs then run the student only. Arrays are
float16 files: pixels of 0..255 are exact in it, scaled ones keep 11 bits, and teacher outputs need no more
than its three digits. Outputs with a number beyond its range are float32 files.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.data.labeled.dataset import LabeledFrame
from ad_compressed_perception.image.decode import Frame, to_bgr8
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.prepare import Preparer
from ad_compressed_perception.training.augmentation import draw_augmentation, identity_augmentation
from ad_compressed_perception.training.distillation.feature_loss import Features, feature_loss
from ad_compressed_perception.training.distillation.label_correction import Correct
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.losses import Loss
from ad_compressed_perception.training.teacher import Teacher, default_device
from ad_compressed_perception.training.trainer import TrainingDataset
from ad_compressed_perception.workspace.atomic_file import replaced_file

Fit = Callable[[list[NDArray[Any]], Geometry, Geometry], list[NDArray[Any]]]
"""Teacher outputs, teacher geometry and student geometry of an image to the student's targets."""
Arrays = tuple[NDArray[np.float16], list[NDArray[Any]]]
"""(N, ...) student inputs, and for each output of the teacher (N, ...) targets, float16 or float32."""


@dataclass
class DistillationDataset(TrainingDataset):
    """Student inputs and their targets.

    Attributes:
        inputs: (N, ...) float16 student inputs.
        targets: for each output of the teacher (N, ...) float16, or float32 where numbers are beyond that.
        loss_of: loss of the student's outputs and the targets.
        outputs: names of the student's outputs.
        features: the teacher's features, if the student is to reproduce them too.
        feature_weight: of their loss.
        batch_size: images per step.
        val_fraction: share of the dataset held out for validation.
        seed: of shuffling and of the validation split.
        precision: fp32, or bf16 for matrix products in bfloat16 with weights, losses and updates in float32.
    """

    inputs: NDArray[np.float16]
    targets: list[NDArray[Any]]
    loss_of: Loss
    outputs: list[str]
    features: Features | None
    feature_weight: float
    batch_size: int
    val_fraction: float
    seed: int
    precision: str
    device: torch.device = field(default_factory=default_device)

    def __post_init__(self) -> None:
        """Split training and validation rows."""
        rows = np.arange(len(self.inputs))
        # Neighboring frames of a drive look alike: validation rows are one contiguous segment.
        val_count = max(1, round(len(rows) * self.val_fraction))
        start = int(np.random.default_rng(self.seed).integers(0, len(rows) - val_count + 1))
        self._val_rows = rows[start : start + val_count]
        train_rows = np.delete(rows, np.s_[start : start + val_count])
        self._train_rows = train_rows if len(train_rows) else rows
        self._order = (-1, rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches that hold each training row once."""
        return max(1, math.ceil(len(self._train_rows) / self.batch_size))

    def loss(self, module: GraphModule, step: int) -> Tensor:
        """Return the loss of a batch; rows are shuffled anew in every epoch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self._train_rows)
        first = place * self.batch_size
        return self.loss_of_rows(module, self._order[1][first : first + self.batch_size])

    def validation_loss(self, module: GraphModule) -> float:
        """Return the mean loss of the validation rows' batches."""
        size = self.batch_size
        batches = [self._val_rows[first : first + size] for first in range(0, len(self._val_rows), size)]
        return float(np.mean([float(self.loss_of_rows(module, rows)) for rows in batches]))

    def loss_of_rows(
        self,
        module: GraphModule,
        rows: NDArray[np.int64],
        change: Callable[[Tensor], Tensor] = lambda target: target,
    ) -> Tensor:
        """Return the loss of some rows, of targets after a change."""
        rows, device = np.sort(rows), next(module.parameters()).device
        inputs, *targets = (
            torch.from_numpy(np.asarray(table[rows])).to(device).float()
            for table in (self.inputs, *self.targets)
        )
        features = [] if self.features is None else [one.to(device) for one in self.features.of(inputs)]
        targets, features = [change(one) for one in targets], [change(one) for one in features]
        names = [*self.outputs, *(self.features.names if self.features else [])]
        found = self._run(module, inputs, names)
        loss = self.loss_of(found[: len(targets)], targets)
        if self.features is None:
            return loss
        return loss + self.feature_weight * feature_loss(found[len(targets) :], features)

    def _run(self, module: GraphModule, inputs: Tensor, names: list[str]) -> Sequence[Tensor]:
        if self.precision != "bf16":
            return module.batch(inputs, names)
        if inputs.dim() == 4 and inputs.shape[1] in (1, 3):
            # Matrix units work on channels-last data; channels-first inputs would be reordered each time.
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            outputs = module.batch(inputs, names)
        return [output.float() for output in outputs]


def cache_teacher_outputs(
    images: Callable[[], Iterator[Frame | LabeledFrame]],
    count: int,
    teacher: Teacher,
    student_input: InputSpec,
    folder: Path,
    *,
    views: int,
    fit: Fit,
    correct: Correct | None,
    seed: int,
    advance: Advance,
) -> Arrays:
    """Compute the teacher's outputs for every image and its augmented copies.

    Args:
        images: returns an iterator over the images, with or without their ground truth.
        count: number of images.
        teacher: runs the fp32 graph.
        student_input: the student's input, which may be smaller.
        folder: where the arrays are stored.
        views: copies of each image; the first is unaltered.
        fit: converts teacher outputs to the student's output format.
        correct: merges the ground truth of a labeled image into the targets.
        seed: of the augmentations.
        advance: called with (done, total).

    Raises:
        DataError: no images.
        OSError: no room on the disk.
    """
    rng = np.random.default_rng(seed)
    prepare_teacher, prepare_student = Preparer(teacher.spec), Preparer(student_input)
    total, row = count * views, 0
    inputs: NDArray[np.float16] | None = None
    tables: list[NDArray[Any]] = []
    for item in images():
        image = to_bgr8(item.frame if isinstance(item, LabeledFrame) else item)
        height, width = image.shape[:2]
        for number in range(views):
            view = (
                identity_augmentation(height, width) if number == 0 else draw_augmentation(height, width, rng)
            )
            augmented = Frame(view.image(image), "BGR")
            teacher_tensor, teacher_geometry = prepare_teacher(augmented)
            outputs = [found.cpu().numpy() for found in teacher(torch.from_numpy(teacher_tensor))]
            tensor, geometry = prepare_student(augmented)
            targets = fit(outputs, teacher_geometry, geometry)
            if correct is not None and isinstance(item, LabeledFrame):
                targets = correct(targets, item.ground_truth, view, geometry)
            if inputs is None:
                inputs = _table(folder / "inputs.npy", total, tensor)
                tables = [_table(folder / f"outputs_{i}.npy", total, a) for i, a in enumerate(targets)]
            inputs[row] = tensor[0]
            for i, target in enumerate(targets):
                tables[i] = _holding(tables[i], folder / f"outputs_{i}.npy", row, target)
                tables[i][row] = target.reshape(tables[i].shape[1:])
            row += 1
            advance(row, total)
    if inputs is None:
        raise DataError("no images to train on: the source has none")
    return inputs[:row], [table[:row] for table in tables]


def _holding(table: NDArray[Any], path: Path, rows: int, target: NDArray[Any]) -> NDArray[Any]:
    """Return a table that holds a target too: in float32 where float16 would make infinities of it."""
    finite = np.abs(target[np.isfinite(target)]).max(initial=0.0)
    if table.dtype == np.float32 or finite <= np.finfo(np.float16).max:
        return table
    with replaced_file(path) as part:
        wide = _table(part, len(table), target, np.float32)
        wide[:rows] = table[:rows]
    return wide


def _table(
    path: Path, rows: int, like: NDArray[Any], kind: type[np.floating[Any]] = np.float16
) -> NDArray[Any]:
    shape = like.shape[1:] if like.ndim > 1 else (1,)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(rows, *shape))
    with path.open("r+b") as file:
        # A disk that fills up under a memory map kills the process (SIGBUS); allocating first raises OSError.
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return table
