# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation: ground-truth masks on synthetic images, distillation corrected by masks on real images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.data.labeled.dataset import LabeledFrame
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.training.augmentation import identity_augmentation
from ad_compressed_perception.training.default_models.augmentation import photometric_jitter, random_affine
from ad_compressed_perception.training.default_models.config import TrainConfig
from ad_compressed_perception.training.default_models.image_buffer import ImageBuffer, shrink
from ad_compressed_perception.training.default_models.mask_loss import mask_loss
from ad_compressed_perception.training.default_models.real_frames import drive_frames, open_masks
from ad_compressed_perception.training.default_models.synthetic_dataset import SyntheticDataset
from ad_compressed_perception.training.default_models.training_task import TrainingTask, draw, planes
from ad_compressed_perception.training.distillation.label_correction import mask_correction
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.teacher import open_teacher

_SCALE_JITTER = (0.7, 1.6)
_IDENTITY_FRACTION = 0.4


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

    def batch_loss(self, network: GraphModule, generator: torch.Generator) -> Tensor:
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
        manifest, teacher = open_teacher(config.real.teacher, "output", self.device)
        if manifest.labels != config.labels:
            raise RecipeError(
                f"the teacher {manifest.name} has labels {manifest.labels}, not {config.labels}"
            )
        shown = teacher.spec.width, teacher.spec.height
        has_channels_last = manifest.output.options.get("layout", "NCHW") == "NHWC"
        images: list[NDArray[np.uint8]] = []
        targets: list[NDArray[np.uint8]] = []
        masked = open_masks(config.real, config.labels)
        items: Iterator[Frame | LabeledFrame] = drive_frames(config.real)
        correct = None
        if masked is not None:
            items = chain(items, masked.items(masked.readable(range(len(masked)))))
            correct = mask_correction(masked.classes.of_label, "NCHW", 1.0)
        for item in items:
            frame = item.frame if isinstance(item, LabeledFrame) else item
            images.append(shrink(frame, self._target))
            pixels = torch.from_numpy(shrink(frame, shown)[None]).to(self.device)
            scores = teacher.of_images(planes(pixels).float())[0]
            scores = scores.permute(0, 3, 1, 2) if has_channels_last else scores
            if float(scores.min()) < 0.0 or float(scores.sum(1).max()) > 1.01:
                scores = scores.softmax(1)
            size = self._target[1], self._target[0]
            small = [F.interpolate(scores, size, mode="bilinear", align_corners=False).cpu().numpy()]
            if correct is not None and isinstance(item, LabeledFrame):
                height, width = frame.pixels.shape[:2]
                geometry = Geometry(width, height, *self._target, 0, 0, *self._target)
                small = correct(small, item.ground_truth, identity_augmentation(height, width), geometry)
            targets.append(np.round(small[0][0] * 255.0).astype(np.uint8))
            progress("computing teacher outputs", len(targets), 0)
        return np.stack(images), np.stack(targets)


def _resized(values: Tensor, size: torch.Size) -> Tensor:
    return values if values.shape[2:] == size else F.adaptive_avg_pool2d(values, (size[0], size[1]))
