# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning: ground-truth plans on synthetic images; recorded steering and a teacher on a real drive."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.driving.plan_vector import CURVATURE_SCALE, SPEED
from ad_compressed_perception.tasks.planning import PlanningSettings
from ad_compressed_perception.training.default_models.augmentation import AffineTransform, photometric_jitter
from ad_compressed_perception.training.default_models.config import TrainConfig
from ad_compressed_perception.training.default_models.frozen_backbone_cache import FrozenBackboneCache
from ad_compressed_perception.training.default_models.image_buffer import ImageBuffer, in_parts
from ad_compressed_perception.training.default_models.path_loss import (
    mirrored,
    plan_ground_truth_loss,
    steering_loss,
)
from ad_compressed_perception.training.default_models.real_frames import (
    curvatures_ahead,
    drive_frames,
    gather,
)
from ad_compressed_perception.training.default_models.synthetic_dataset import SyntheticDataset
from ad_compressed_perception.training.default_models.training_task import TrainingTask, draw, planes
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.teacher import Teacher, open_teacher

Sample = tuple[Tensor, Tensor, Tensor]
"""Images (or outputs of the frozen layers), targets, and which of the targets are a teacher's."""
Sampler = Callable[[Tensor, torch.Generator], Sample]
"""Rows and a generator to a sample."""

_STORED_SIZE = (320, 240)
"""(width, height) at which real images are stored; inputs of student and teacher are made from it."""
_TEACHER_SHARE = 0.5
_CACHE_BATCH = 64
_SCALE_JITTER, _SHIFT_PX = (0.9, 1.2), (24.0, 10.0)


class TrajectoryTrainingTask(TrainingTask):
    """Training of plans."""

    def __init__(self, config: TrainConfig, dataset: SyntheticDataset, device: torch.device) -> None:
        """Load images, plans, the drive and the steering teacher, if one is named."""
        super().__init__(config, device)
        self._images = ImageBuffer(dataset.images, device)
        self._plans = torch.from_numpy(dataset.plans)
        self._teacher: Teacher | None = None
        self._front: FrozenBackboneCache | None = None
        if config.input.resize != "stretch":
            raise RecipeError("a planner is trained on stretched images: set input.resize to stretch")
        if self.real_count:
            self._curvatures = torch.from_numpy(curvatures_ahead(config.real))
            self._real = ImageBuffer(gather(drive_frames(config.real), _STORED_SIZE), device)
            if config.real.teacher is not None:
                self._teacher, self._steering_scale = self._steering_teacher(config.real.teacher)
        self._counts: dict[Sampler, int] = {self._road: self.road_count, self._drive: self.real_count}
        self._sizes: dict[Sampler, int] = {
            self._road: len(self._images),
            self._drive: len(self._real) if self.real_count else 0,
        }
        self._cached: dict[Sampler, Sample] = {}

    def prepare(self, network: GraphModule, progress: Progress) -> None:
        """Cache the frozen layers' outputs for all augmented copies, if the configuration requests it.

        Real frames are few: they get four times as many copies each.
        """
        copies = self.config.network.cached_augmentations
        if copies == 0:
            return
        self._front = FrozenBackboneCache(network)
        generator = torch.Generator().manual_seed(self.config.schedule.seed)
        copies_of: dict[Sampler, int] = {self._road: copies, self._drive: 4 * copies}
        for sample, times in copies_of.items():
            if self._counts[sample]:
                self._cached[sample] = self._cache(times, sample, generator, progress)

    def batch_loss(self, network: GraphModule, generator: torch.Generator) -> Tensor:
        """Return the loss on plans plus those on the recorded steering and on the teacher's steering."""
        n = self.road_count
        samples = [self._sample(sample, generator) for sample, count in self._counts.items() if count]
        shown = torch.cat([inputs.float() for inputs, _, _ in samples])
        if self._front is None:
            outputs = network(self.network_input(shown))[0].float()
        else:
            outputs = self._front.rest(shown)
        plans = samples[0][1]
        _, target, from_teacher = samples[-1]
        losses: list[Tensor] = []
        if n:
            losses.append(plan_ground_truth_loss(outputs[:n], plans, self.config.stop_weight))
        if self.real_count:
            recorded, augmented = outputs[n:][~from_teacher], outputs[n:][from_teacher]
            if len(recorded):  # the mean of an empty tensor is NaN
                losses.append(steering_loss(recorded, target[~from_teacher]))
            if len(augmented):
                losses.append(4.0 * F.mse_loss(augmented[:, 0], target[from_teacher][:, 0]))
        return reduce(torch.add, losses)

    def _cache(self, copies: int, sample: Sampler, generator: torch.Generator, progress: Progress) -> Sample:
        """Return the frozen layers' outputs for augmented copies of all images, in half precision."""
        assert self._front is not None
        parts: list[Sample] = []
        rows = torch.arange(self._sizes[sample]).repeat(copies)
        for part in in_parts(len(rows), _CACHE_BATCH):
            images, target, from_teacher = sample(rows[part], generator)
            parts.append((self._front.front(self.network_input(images)).half(), target, from_teacher))
            progress("caching frozen layers", part.stop, len(rows))
        first, second, third = (torch.cat(one) for one in zip(*parts, strict=True))
        return first, second, third

    def _sample(self, sample: Sampler, generator: torch.Generator) -> Sample:
        """Return random images, or cached outputs of the frozen layers, with their targets."""
        count, cached = self._counts[sample], self._cached.get(sample)
        if cached is None:
            return sample(draw(count, self._sizes[sample], generator), generator)
        rows = draw(count, len(cached[0]), generator).to(cached[0].device)
        return cached[0][rows], cached[1][rows], cached[2][rows]

    def _road(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return images of the road camera, their plans, and that none of these is a teacher's."""
        flipped = (torch.rand(len(rows), generator=generator) < 0.5).to(self.device)
        road = _flip(planes(self._images.batch(rows)).float(), flipped)
        plans = mirrored(self._plans[rows].to(self.device), flipped)
        return photometric_jitter(road, generator), plans, torch.zeros_like(flipped)

    def _drive(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return images at the input's size, scaled curvatures, and which of them are the teacher's."""
        count = len(rows)
        from_teacher = torch.zeros(count, dtype=torch.bool)
        if self._teacher is not None:
            from_teacher = torch.rand(count, generator=generator) < _TEACHER_SHARE
        flipped = torch.rand(count, generator=generator) < 0.5
        images = planes(self._real.batch(rows)).float()
        transform = self._random_transform(from_teacher, flipped, generator)
        shown = transform.warp(images, 0.0)
        target = torch.where(flipped[:, None], -self._curvatures[rows], self._curvatures[rows]).to(
            self.device
        )
        from_teacher = from_teacher.to(self.device)
        if self._teacher is not None and bool(from_teacher.any()):
            target[from_teacher, 0] = self._steered(shown[from_teacher])
        size = self.config.input.height, self.config.input.width
        fitted = F.interpolate(shown, size, mode="bilinear", align_corners=False)
        return photometric_jitter(fitted, generator), target[:, :SPEED], from_teacher

    def _random_transform(
        self, augmented: Tensor, flipped: Tensor, generator: torch.Generator
    ) -> AffineTransform:
        count = len(augmented)
        width, height = _STORED_SIZE
        mask = augmented.float()
        low, high = _SCALE_JITTER
        factor = 1.0 + (torch.rand(count, generator=generator) * (high - low) + low - 1.0) * mask
        reach = torch.tensor(_SHIFT_PX)[None]
        shift = (torch.rand(count, 2, generator=generator) * 2.0 - 1.0) * reach * mask[:, None]
        # Scaled about the center, so that scaling alone does not shift the image.
        center = torch.tensor([width / 2.0, height / 2.0])[None]
        shift = shift + center * (1.0 - factor[:, None])
        scale = factor[:, None].repeat(1, 2)
        shift[:, 0] = torch.where(flipped, width - shift[:, 0], shift[:, 0])
        scale[:, 0] = torch.where(flipped, -scale[:, 0], scale[:, 0])
        return AffineTransform(scale.to(self.device), shift.to(self.device), width, height)

    def _steering_teacher(self, name: str) -> tuple[Teacher, float]:
        """Return the teacher and the radians per unit of its output."""
        manifest, teacher = open_teacher(name, "steering_output", self.device)
        spec = teacher.spec
        fits = (spec.resize_width, spec.resize_height) == _STORED_SIZE and spec.crop_anchor == "bottom"
        if manifest.output.decoder != "steering" or spec.resize != "crop" or not fits:
            raise RecipeError(
                f"{manifest.name} cannot train this planner: a teacher needs decoder steering and an "
                f"input cropped from the bottom center of {_STORED_SIZE[0]}x{_STORED_SIZE[1]}"
            )
        return teacher, float(manifest.output.options.get("steering_scale", 1.0))

    def _steered(self, images: Tensor) -> Tensor:
        """Return the teacher's steering on (B, 3, 240, 320) images as scaled curvature, (B,)."""
        assert self._teacher is not None
        width, height = self._teacher.spec.width, self._teacher.spec.height
        left = (_STORED_SIZE[0] - width) // 2
        crop = images[:, :, _STORED_SIZE[1] - height :, left : left + width]
        angle = self._teacher.of_images(crop)[0].reshape(-1) * self._steering_scale
        settings = PlanningSettings()
        return torch.tan(angle / settings.steering_ratio) / settings.wheelbase_m * CURVATURE_SCALE


def _flip(images: Tensor, is_flipped: Tensor) -> Tensor:
    return torch.where(is_flipped[:, None, None, None], images.flip(3), images)
