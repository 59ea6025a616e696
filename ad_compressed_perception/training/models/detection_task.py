# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection: true boxes on the road camera, a teacher's answers cell by cell on real images."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.training.distillation.losses import yolox_loss
from ad_compressed_perception.training.distillation.yolox_teacher import cut_rows
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.models.augmentation import Placement, photometric_jitter, place
from ad_compressed_perception.training.models.config import TrainConfig
from ad_compressed_perception.training.models.detection_loss import box_loss, lay_cells
from ad_compressed_perception.training.models.image_buffer import ImageBuffer, content_size
from ad_compressed_perception.training.models.real_frames import gather, real_frames
from ad_compressed_perception.training.models.synthetic_dataset import SyntheticDataset
from ad_compressed_perception.training.models.teacher import Teacher
from ad_compressed_perception.training.models.training_task import TrainingTask, draw, planes
from ad_compressed_perception.training.students.detection_head import STRIDES

_ZOOM_ROAD, _ZOOM_REAL = (0.6, 1.8), (0.7, 1.7)
_STAY = 0.3
_LEAST_SIDE_PX = 4.0
_LEAST_LEFT = 0.35
_REAL_SOURCE = (640, 480)


class DetectionTrainingTask(TrainingTask):
    """Teaches a YOLOX head."""

    def __init__(self, config: TrainConfig, corpus: SyntheticDataset, device: torch.device) -> None:
        """Load images, boxes and the teacher."""
        super().__init__(config, device)
        self._images = ImageBuffer(corpus.images, device)
        self._boxes = torch.from_numpy(corpus.boxes)
        self._source_size = corpus.source_size
        spec = config.input
        self._target = spec.width, spec.height
        if config.object_crop_fraction > 0.0:
            is_object = self._boxes[..., 0] >= 0.0
            self._objects = is_object.nonzero()
            self._chances = class_balanced_sampling_weights(self._boxes[..., 0][is_object])
        self._cells = lay_cells(spec.width, spec.height, tuple(STRIDES), device)
        if self.real_count:
            if config.real.teacher is None:
                raise RecipeError("real images have no boxes: name a teacher (real.teacher)")
            size = min(content_size(config.displayed_input, *_REAL_SOURCE), _REAL_SOURCE)
            self._real = ImageBuffer(gather(real_frames(config.real), size), device)
            self._teacher = Teacher(config.real.teacher, device)
            self._columns, self._rows = self._shared(self._teacher)

    def loss(self, network: GraphModule, generator: torch.Generator) -> Tensor:
        """Return the loss on true boxes plus that on the teacher's answers."""
        shown, boxes, labels = self._road(generator)
        parts = [shown]
        if self.real_count:
            rows = draw(self.real_count, len(self._real), generator)
            real = self._placed(self._real, rows, _REAL_SOURCE, _ZOOM_REAL, generator)[0]
            answers = self._ask(real)
            parts.append(photometric_jitter(real, generator))
        raw, objectness, classes = head_logits(network, self.fed(torch.cat(parts)))
        n = self.road_count
        loss = box_loss(self._cells, raw[:n], objectness[:n], classes[:n], boxes, labels)
        if self.real_count:
            scores = torch.cat([objectness[n:, :, None], classes[n:]], -1).sigmoid()
            with torch.autocast(self.device.type, enabled=False):  # probabilities need all their digits
                loss = loss + yolox_loss(torch.cat([raw[n:], scores], -1), answers)
        return loss

    def _road(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        rows = draw(self.road_count, len(self._images), generator)
        towards = self._aim(rows, generator) if self.config.object_crop_fraction > 0.0 else None
        shown, placement = self._placed(self._images, rows, self._source_size, _ZOOM_ROAD, generator, towards)
        ground_truth = self._boxes[rows].to(self.device)
        full = placement.boxes(ground_truth[..., 1:])
        limit = torch.tensor([*self._target, *self._target], device=self.device, dtype=torch.float32)
        boxes = torch.minimum(full.clamp_min(0.0), limit)
        sides = boxes[..., 2:] - boxes[..., :2]
        left = sides.clamp_min(0.0).prod(-1) / (full[..., 2:] - full[..., :2]).prod(-1).clamp_min(1e-3)
        kept = (sides.amin(-1) > _LEAST_SIDE_PX * 0.5) & (sides.amax(-1) > _LEAST_SIDE_PX)
        labels = torch.where(kept & (left > _LEAST_LEFT), ground_truth[..., 0].long(), -1)
        return photometric_jitter(shown, generator), boxes, labels

    def _aim(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Change the first rows to images with drawn objects; return (B, 2) their middles, NaN for others.

        The middles are in the stored images' pixels.
        """
        count = round(len(rows) * self.config.object_crop_fraction)
        drawn = self._objects[torch.multinomial(self._chances, count, True, generator=generator)]
        rows[:count] = drawn[:, 0]
        boxes = self._boxes[drawn[:, 0], drawn[:, 1], 1:]
        towards = torch.full((len(rows), 2), torch.nan)
        towards[:count] = 0.5 * (boxes[:, :2] + boxes[:, 2:])
        return towards

    def _placed(
        self,
        store: ImageBuffer,
        rows: Tensor,
        source: tuple[int, int],
        zoom: tuple[float, float],
        generator: torch.Generator,
        towards: Tensor | None = None,
    ) -> tuple[Tensor, Placement]:
        images = planes(store.batch(rows))
        size = images.shape[3], images.shape[2]
        placement = place(
            len(rows),
            size,
            self._target,
            generator,
            self.device,
            zoom=self.config.scale_jitter or zoom,
            mirror=True,
            # A piece has no place of its own; a whole image often lies as it does in use.
            stay=0.0 if self.config.random_crop else _STAY,
            enlarged=content_size(self.config.displayed_input, *source)[0] / size[0],
            towards=towards,
        )
        return placement.warp(images, float(self.config.input.pad_value)), placement

    def _ask(self, images: Tensor) -> Tensor:
        width, height = self._teacher.size
        right, below = width - images.shape[3], height - images.shape[2]
        padded = F.pad(images, (0, right, 0, below), value=float(self._teacher.spec.pad_value))
        said = self._teacher.output(self._teacher(padded), "output")[:, self._rows]
        every = said[..., 5:].amax(-1).clamp_min(1e-6)
        kept = said[..., self._columns]
        # What the teacher takes for something that the student has no name for is nothing to the student.
        share = (kept[..., 5:].amax(-1) / every).clamp(max=1.0)
        return torch.cat([kept[..., :4], (kept[..., 4] * share)[..., None], kept[..., 5:]], -1).float()

    def _shared(self, teacher: Teacher) -> tuple[Tensor, Tensor]:
        """Return columns and rows of the teacher's output that are the student's."""
        manifest, spec = teacher.manifest, self.config.input
        strides = list(manifest.output.options.get("strides", STRIDES))
        fits = teacher.size[0] >= spec.width and teacher.size[1] >= spec.height
        corner = "top_left" in (teacher.spec.letterbox_align, spec.letterbox_align)
        if manifest.output.decoder != "yolox" or strides != STRIDES or not fits or not corner:
            raise RecipeError(
                f"{manifest.name} cannot teach this detector: a teacher has decoder yolox, strides {STRIDES} "
                f"and an input of at least {spec.width}x{spec.height}, letterboxed top left"
            )
        lacking = [label for label in self.config.labels if label not in manifest.labels]
        if lacking:
            raise RecipeError(f"the teacher {manifest.name} has no label {', '.join(lacking)}")
        columns = [0, 1, 2, 3, 4, *(5 + manifest.labels.index(label) for label in self.config.labels)]
        rows = cut_rows(teacher.size, (spec.width, spec.height), strides, (0, 0))
        return torch.tensor(columns, device=self.device), torch.from_numpy(np.asarray(rows)).to(self.device)


def head_logits(network: GraphModule, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return raw boxes (B, N, 4), objectness (B, N) and classes (B, N, C) before the sigmoids.

    The graph joins a level's boxes and sigmoids with a Concat; their inputs are asked for by name.
    """
    makers = {step.outputs[0]: step for step in network.steps}
    names: list[str] = []
    for step in network.steps:
        if step.operator == "Concat" and [makers[n].operator for n in step.inputs[1:]] == ["Sigmoid"] * 2:
            names += [step.inputs[0], *(makers[name].inputs[0] for name in step.inputs[1:])]
    maps = [
        value.float().flatten(2).transpose(1, 2) for value in network.run({network.input_names[0]: x}, names)
    ]
    raw, objectness, classes = (torch.cat(maps[place::3], 1) for place in range(3))
    return raw, objectness[..., 0], classes


def class_balanced_sampling_weights(labels: Tensor) -> Tensor:
    """Return (N,) the chance of each object to be drawn, for (N,) label ids.

    A label that is four times as frequent as another is drawn twice as often (the square root after Gupta
    et al., LVIS, 2019, section 3.1).
    """
    _, kind, counts = labels.unique(return_inverse=True, return_counts=True)
    chances = counts.float().rsqrt()[kind]
    return chances / chances.sum()
