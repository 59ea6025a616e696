# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning: true plans on the road camera; on a real drive the angles driven, and a teacher's answers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.compression.training.graph_module import GraphModule
from ad_compressed_perception.driving.plan_vector import CURVATURE_SCALE, SPEED
from ad_compressed_perception.errors import RecipeError
from ad_compressed_perception.learning.augment import Placement, change_light
from ad_compressed_perception.learning.config import TrainConfig
from ad_compressed_perception.learning.course import Course, draw, planes
from ad_compressed_perception.learning.path_loss import mirrored, plan_truth_loss, steering_loss
from ad_compressed_perception.learning.picture_store import PictureStore
from ad_compressed_perception.learning.real_frames import curvatures_ahead, drive_frames, gather
from ad_compressed_perception.learning.road_corpus import Corpus
from ad_compressed_perception.learning.teacher import Teacher
from ad_compressed_perception.tasks.planning import PlanningSettings

_KEPT = (320, 240)
"""Size at which real pictures are kept: student and teacher each take theirs from it."""
_MOVED_SHARE = 0.5
_ZOOM, _SHIFT_PX = (0.9, 1.2), (24.0, 10.0)


class TrajectoryCourse(Course):
    """Teaches a plan."""

    def __init__(self, config: TrainConfig, corpus: Corpus, device: torch.device) -> None:
        """Load pictures, plans, the drive and the teacher of steering, if one is named."""
        super().__init__(config, device)
        self._pictures = PictureStore(corpus.pictures, device)
        self._plans = torch.from_numpy(corpus.plans)
        self._teacher: Teacher | None = None
        if config.input.resize != "stretch":
            raise RecipeError("a planner is trained on stretched pictures: set input.resize to stretch")
        if self.real_count:
            self._curvatures = torch.from_numpy(curvatures_ahead(config.real))
            self._real = PictureStore(gather(drive_frames(config.real), _KEPT), device)
            if config.real.teacher is not None:
                self._teacher = self._steering_teacher(config.real.teacher)

    def loss(self, network: GraphModule, generator: torch.Generator) -> Tensor:
        """Return the loss on plans plus those on the angles driven and on what the teacher would steer."""
        rows = draw(self.road_count, len(self._pictures), generator)
        flipped = torch.rand(self.road_count, generator=generator) < 0.5
        road = _flip(planes(self._pictures.batch(rows)).float(), flipped.to(self.device))
        plans = mirrored(self._plans[rows].to(self.device), flipped.to(self.device))
        parts = [change_light(road, generator)]
        if self.real_count:
            real, target, taught = self._drive(generator)
            parts.append(change_light(real, generator))
        said = network(self.fed(torch.cat(parts)))[0].float()
        n = self.road_count
        loss = plan_truth_loss(said[:n], plans)
        if self.real_count:
            true, moved = said[n:][~taught], said[n:][taught]
            if len(true):  # the mean of nothing is no number
                loss = loss + steering_loss(true, target[~taught])
            if len(moved):
                loss = loss + 4.0 * F.mse_loss(moved[:, 0], target[taught][:, 0])
        return loss

    def _drive(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return pictures at the input's size, scaled curvatures, and which of them the teacher gave."""
        count = self.real_count
        rows = draw(count, len(self._real), generator)
        taught = torch.zeros(count, dtype=torch.bool)
        if self._teacher is not None:
            taught = torch.rand(count, generator=generator) < _MOVED_SHARE
        flipped = torch.rand(count, generator=generator) < 0.5
        pictures = planes(self._real.batch(rows)).float()
        placement = self._moved(taught, flipped, generator)
        shown = placement.warp(pictures, 0.0)
        target = torch.where(flipped[:, None], -self._curvatures[rows], self._curvatures[rows]).to(
            self.device
        )
        taught = taught.to(self.device)
        if self._teacher is not None and bool(taught.any()):
            target[taught, 0] = self._steered(shown[taught])
        size = self.config.input.height, self.config.input.width
        return F.interpolate(shown, size, mode="bilinear", align_corners=False), target[:, :SPEED], taught

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
                f"input cut from the bottom centre of {_KEPT[0]}x{_KEPT[1]}"
            )
        return teacher

    def _steered(self, pictures: Tensor) -> Tensor:
        """Return the teacher's steering on (B, 3, 240, 320) pictures as scaled curvature, (B,)."""
        assert self._teacher is not None
        width, height = self._teacher.size
        left = (_KEPT[0] - width) // 2
        cut = pictures[:, :, _KEPT[1] - height :, left : left + width]
        said = self._teacher.output(self._teacher(cut), "steering_output").float().reshape(-1)
        angle = said * float(self._teacher.manifest.output.options.get("steering_scale", 1.0))
        settings = PlanningSettings()
        return torch.tan(angle / settings.steering_ratio) / settings.wheelbase_m * CURVATURE_SCALE


def _flip(pictures: Tensor, which: Tensor) -> Tensor:
    return torch.where(which[:, None, None, None], pictures.flip(3), pictures)
