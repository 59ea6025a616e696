# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning: true plans on the road camera; on a real drive the angles driven, and a teacher's answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.driving.plan_vector import CURVATURE_SCALE, SPEED
from ad_compressed_perception.tasks.planning import PlanningSettings
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.models.augmentation import Placement, photometric_jitter
from ad_compressed_perception.training.models.config import TrainConfig
from ad_compressed_perception.training.models.frozen_backbone_cache import FrozenBackboneCache
from ad_compressed_perception.training.models.image_buffer import ImageBuffer, Progress, in_parts
from ad_compressed_perception.training.models.path_loss import mirrored, plan_ground_truth_loss, steering_loss
from ad_compressed_perception.training.models.real_frames import curvatures_ahead, drive_frames, gather
from ad_compressed_perception.training.models.synthetic_dataset import SyntheticDataset
from ad_compressed_perception.training.models.teacher import Teacher
from ad_compressed_perception.training.models.training_task import TrainingTask, draw, planes

Maker = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor, Tensor]]
"""Rows and a generator to images, targets, and which of these a teacher gave."""

_KEPT = (320, 240)
"""Size at which real images are kept: student and teacher each take theirs from it."""
_MOVED_SHARE = 0.5
_ASKED_AT_ONCE = 64
_ZOOM, _SHIFT_PX = (0.9, 1.2), (24.0, 10.0)


class TrajectoryTrainingTask(TrainingTask):
    """Teaches a plan."""

    def __init__(self, config: TrainConfig, corpus: SyntheticDataset, device: torch.device) -> None:
        """Load images, plans, the drive and the teacher of steering, if one is named."""
        super().__init__(config, device)
        self._images = ImageBuffer(corpus.images, device)
        self._plans = torch.from_numpy(corpus.plans)
        self._teacher: Teacher | None = None
        self._front: FrozenBackboneCache | None = None
        if config.input.resize != "stretch":
            raise RecipeError("a planner is trained on stretched images: set input.resize to stretch")
        if self.real_count:
            self._curvatures = torch.from_numpy(curvatures_ahead(config.real))
            self._real = ImageBuffer(gather(drive_frames(config.real), _KEPT), device)
            if config.real.teacher is not None:
                self._teacher = self._steering_teacher(config.real.teacher)

    def prepare(self, network: GraphModule, progress: Progress) -> None:
        """Ask the frozen layers about all copies, where the configuration wants their answers kept.

        Real frames are few: of each there are four times as many copies.
        """
        copies = self.config.network.cached_augmentations
        if copies == 0:
            return
        self._front = FrozenBackboneCache(network)
        generator = torch.Generator().manual_seed(self.config.schedule.seed)
        self._kept_road = self._kept(copies, len(self._images), self._road, generator, progress)
        if self.real_count:
            self._kept_real = self._kept(4 * copies, len(self._real), self._drive, generator, progress)

    def loss(self, network: GraphModule, generator: torch.Generator) -> Tensor:
        """Return the loss on plans plus those on the angles driven and on what the teacher would steer."""
        n = self.road_count
        if self._front is None:
            road, plans, _ = self._road(draw(n, len(self._images), generator), generator)
            parts = [road]
            if self.real_count:
                rows = draw(self.real_count, len(self._real), generator)
                real, target, taught = self._drive(rows, generator)
                parts.append(real)
            said = network(self.fed(torch.cat(parts)))[0].float()
        else:
            road, plans, _ = self._some(self._kept_road, n, generator)
            parts = [road]
            if self.real_count:
                real, target, taught = self._some(self._kept_real, self.real_count, generator)
                parts.append(real)
            said = self._front.rest(torch.cat([one.float() for one in parts]))
        loss = plan_ground_truth_loss(said[:n], plans, self.config.stop_weight)
        if self.real_count:
            true, moved = said[n:][~taught], said[n:][taught]
            if len(true):  # the mean of nothing is no number
                loss = loss + steering_loss(true, target[~taught])
            if len(moved):
                loss = loss + 4.0 * F.mse_loss(moved[:, 0], target[taught][:, 0])
        return loss

    def _kept(
        self, copies: int, count: int, make: Maker, generator: torch.Generator, progress: Progress
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the frozen layers say of changed copies of all images, in half precision."""
        assert self._front is not None
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        rows = torch.arange(count).repeat(copies)
        for part in in_parts(len(rows), _ASKED_AT_ONCE):
            images, target, taught = make(rows[part], generator)
            parts.append((self._front.front(self.fed(images)).half(), target, taught))
            progress("asking the frozen layers", part.stop, len(rows))
        first, second, third = (torch.cat(one) for one in zip(*parts, strict=True))
        return first, second, third

    def _some(
        self, kept: tuple[Tensor, Tensor, Tensor], count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = draw(count, len(kept[0]), generator).to(kept[0].device)
        first, second, third = (one[rows] for one in kept)
        return first, second, third

    def _road(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return images of the road camera, their plans, and that no teacher gave them."""
        flipped = (torch.rand(len(rows), generator=generator) < 0.5).to(self.device)
        road = _flip(planes(self._images.batch(rows)).float(), flipped)
        plans = mirrored(self._plans[rows].to(self.device), flipped)
        return photometric_jitter(road, generator), plans, torch.zeros_like(flipped)

    def _drive(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return images at the input's size, scaled curvatures, and which of them the teacher gave."""
        count = len(rows)
        taught = torch.zeros(count, dtype=torch.bool)
        if self._teacher is not None:
            taught = torch.rand(count, generator=generator) < _MOVED_SHARE
        flipped = torch.rand(count, generator=generator) < 0.5
        images = planes(self._real.batch(rows)).float()
        placement = self._moved(taught, flipped, generator)
        shown = placement.warp(images, 0.0)
        target = torch.where(flipped[:, None], -self._curvatures[rows], self._curvatures[rows]).to(
            self.device
        )
        taught = taught.to(self.device)
        if self._teacher is not None and bool(taught.any()):
            target[taught, 0] = self._steered(shown[taught])
        size = self.config.input.height, self.config.input.width
        fitted = F.interpolate(shown, size, mode="bilinear", align_corners=False)
        return photometric_jitter(fitted, generator), target[:, :SPEED], taught

    def _moved(self, moved: Tensor, flipped: Tensor, generator: torch.Generator) -> Placement:
        count = len(moved)
        width, height = _KEPT
        some = moved.float()
        low, high = _ZOOM
        zoom = 1.0 + (torch.rand(count, generator=generator) * (high - low) + low - 1.0) * some
        reach = torch.tensor(_SHIFT_PX)[None]
        shift = (torch.rand(count, 2, generator=generator) * 2.0 - 1.0) * reach * some[:, None]
        # About the middle, so that zooming alone moves nothing.
        middle = torch.tensor([width / 2.0, height / 2.0])[None]
        shift = shift + middle * (1.0 - zoom[:, None])
        scale = zoom[:, None].repeat(1, 2)
        shift[:, 0] = torch.where(flipped, width - shift[:, 0], shift[:, 0])
        scale[:, 0] = torch.where(flipped, -scale[:, 0], scale[:, 0])
        return Placement(scale.to(self.device), shift.to(self.device), width, height)

    def _steering_teacher(self, name: str) -> Teacher:
        teacher = Teacher(name, self.device)
        spec = teacher.spec
        kept = (spec.resize_width, spec.resize_height) == _KEPT and spec.crop_anchor == "bottom"
        if teacher.manifest.output.decoder != "steering" or spec.resize != "crop" or not kept:
            raise RecipeError(
                f"{teacher.manifest.name} cannot teach this planner: a teacher has decoder steering and an "
                f"input cut from the bottom center of {_KEPT[0]}x{_KEPT[1]}"
            )
        return teacher

    def _steered(self, images: Tensor) -> Tensor:
        """Return the teacher's steering on (B, 3, 240, 320) images as scaled curvature, (B,)."""
        assert self._teacher is not None
        width, height = self._teacher.size
        left = (_KEPT[0] - width) // 2
        cut = images[:, :, _KEPT[1] - height :, left : left + width]
        said = self._teacher.output(self._teacher(cut), "steering_output").float().reshape(-1)
        angle = said * float(self._teacher.manifest.output.options.get("steering_scale", 1.0))
        settings = PlanningSettings()
        return torch.tan(angle / settings.steering_ratio) / settings.wheelbase_m * CURVATURE_SCALE


def _flip(images: Tensor, which: Tensor) -> Tensor:
    return torch.where(which[:, None, None, None], images.flip(3), images)
