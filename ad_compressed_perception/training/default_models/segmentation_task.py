# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation: ground-truth masks on synthetic images, distillation corrected by masks on real images."""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.training.default_models.augmentation import photometric_jitter, random_affine
from ad_compressed_perception.training.default_models.config import TrainConfig
from ad_compressed_perception.training.default_models.image_buffer import ImageBuffer, Progress, shrink
from ad_compressed_perception.training.default_models.mask_loss import mask_loss
from ad_compressed_perception.training.default_models.real_frames import Mask, corrected, masked_frames
from ad_compressed_perception.training.default_models.synthetic_dataset import SyntheticDataset
from ad_compressed_perception.training.default_models.teacher import Teacher
from ad_compressed_perception.training.default_models.training_task import TrainingTask, draw, planes
from ad_compressed_perception.training.graph_module.module import GraphModule

_SCALE_JITTER = (0.7, 1.6)
_IDENTITY_FRACTION = 0.4
_TEACHER_BATCH = 8


class SegmentationTrainingTask(TrainingTask):
    """Training of per-pixel scores."""

    def __init__(
        self, config: TrainConfig, dataset: SyntheticDataset, device: torch.device, progress: Progress
    ) -> None:
        """Load images and masks; compute the teacher's outputs for all real images once."""
        super().__init__(config, device)
        assert dataset.masks is not None
        self._images = ImageBuffer(dataset.images, device)
        self._masks = ImageBuffer(dataset.masks, device)
        self._target = config.input.width, config.input.height
        self._classes = len(config.labels)
        if self.real_count:
            images, targets = self._real_dataset(progress)
            self._real = ImageBuffer(images, device)
            self._targets = ImageBuffer(targets, device)

    def loss(self, network: GraphModule, generator: torch.Generator) -> Tensor:
        """Return the loss on masks plus that on the teacher's probabilities."""
        batches = []
        if self.road_count:
            batches.append(self._road(generator))
        if self.real_count:
            batches.append(self._some_real(generator))
        logits = network(self.network_input(torch.cat([images for images, _, _ in batches])))[0].float()
        size = logits.shape[2:]
        losses = [
            mask_loss(part, _resized(target, size), _resized(known, size)[:, 0])
            for part, (images, target, known) in zip(
                logits.split([len(images) for images, _, _ in batches]), batches, strict=True
            )
        ]
        return reduce(torch.add, losses)

    def _road(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        rows = draw(self.road_count, len(self._images), generator)
        one_hot = F.one_hot(self._masks.batch(rows).long(), self._classes).permute(0, 3, 1, 2).float()
        return self._transformed(planes(self._images.batch(rows)), one_hot, generator)

    def _some_real(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        rows = draw(self.real_count, len(self._real), generator)
        return self._transformed(
            planes(self._real.batch(rows)), self._targets.batch(rows).float() / 255.0, generator
        )

    def _transformed(
        self, images: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = images.shape[3], images.shape[2]
        transform = random_affine(
            len(images), size, self._target, generator, self.device,
            scale_jitter=_SCALE_JITTER, mirror=True, identity_fraction=_IDENTITY_FRACTION,
        )  # fmt: skip
        moved = transform.warp(target, 0.0)
        total = moved.sum(1, keepdim=True)
        shown = photometric_jitter(transform.warp(images, 114.0), generator)
        return shown, moved / total.clamp_min(1e-6), (total > 0.5).float()

    def _real_dataset(self, progress: Progress) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        config = self.config
        if config.real.teacher is None:
            raise RecipeError(
                "real images have no masks of curbs and markings: name a teacher (real.teacher)"
            )
        teacher = Teacher(config.real.teacher, self.device)
        if teacher.manifest.labels != config.labels:
            raise RecipeError(
                f"the teacher {teacher.manifest.name} has labels {teacher.manifest.labels}, "
                f"not {config.labels}"
            )
        images: list[NDArray[np.uint8]] = []
        targets: list[NDArray[np.uint8]] = []
        pending: list[tuple[NDArray[np.uint8], Mask | None]] = []
        for frame, mask in masked_frames(config.real, config.labels):
            images.append(shrink(frame, self._target))
            pending.append((shrink(frame, teacher.size), mask))
            if len(pending) == _TEACHER_BATCH:
                targets += self._teacher_outputs(teacher, pending)
                pending = []
                progress("computing teacher outputs", len(targets), 0)
        targets += self._teacher_outputs(teacher, pending) if pending else []
        return np.stack(images), np.stack(targets)

    def _teacher_outputs(
        self, teacher: Teacher, pending: list[tuple[NDArray[np.uint8], Mask | None]]
    ) -> list[NDArray[np.uint8]]:
        batch = torch.from_numpy(np.stack([image for image, _ in pending])).to(self.device)
        scores = teacher.output(teacher(planes(batch).float()), "output").float()
        if teacher.manifest.output.options.get("layout", "NCHW") == "NHWC":
            scores = scores.permute(0, 3, 1, 2)
        if float(scores.min()) < 0.0 or float(scores.sum(1).max()) > 1.01:
            scores = scores.softmax(1)
        small = F.interpolate(
            scores, (self._target[1], self._target[0]), mode="bilinear", align_corners=False
        )
        rows = []
        for probabilities, (_, mask) in zip(small.cpu().numpy(), pending, strict=True):
            if mask is not None:
                classes = cv2.resize(mask.classes, self._target, interpolation=cv2.INTER_NEAREST_EXACT)
                probabilities = corrected(probabilities, Mask(np.asarray(classes, np.uint8), mask.of_label))
            rows.append(np.round(probabilities * 255.0).astype(np.uint8))
        return rows


def _resized(values: Tensor, size: torch.Size) -> Tensor:
    return values if values.shape[2:] == size else F.adaptive_avg_pool2d(values, (size[0], size[1]))
