# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection: ground-truth boxes on synthetic images, distillation from a teacher on real images."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
from ad_compressed_perception.training.default_models.augmentation import (
    AffineTransform,
    photometric_jitter,
    random_affine,
)
from ad_compressed_perception.training.default_models.config import TrainConfig
from ad_compressed_perception.training.default_models.detection_loss import box_loss, grid_cells
from ad_compressed_perception.training.default_models.image_buffer import ImageBuffer, content_size
from ad_compressed_perception.training.default_models.real_frames import gather, real_frames
from ad_compressed_perception.training.default_models.synthetic_dataset import SyntheticDataset
from ad_compressed_perception.training.default_models.training_task import TrainingTask, draw, planes
from ad_compressed_perception.training.distillation.targets import cut_rows
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.losses import create_loss
from ad_compressed_perception.training.students.detection_head import STRIDES
from ad_compressed_perception.training.teacher import open_teacher

_SCALE_JITTER_SYNTHETIC, _SCALE_JITTER_REAL = (0.6, 1.8), (0.7, 1.7)
_IDENTITY_FRACTION = 0.3
_LEAST_SIDE_PX = 4.0
_LEAST_VISIBLE = 0.35
_REAL_SOURCE = (640, 480)


class DetectionTrainingTask(TrainingTask):
    """Training of a YOLOX head."""

    def __init__(self, config: TrainConfig, dataset: SyntheticDataset, device: torch.device) -> None:
        """Load images, boxes and the teacher."""
        super().__init__(config, device)
        self._images = ImageBuffer(dataset.images, device)
        self._boxes = torch.from_numpy(dataset.boxes)
        self._source_size = dataset.source_size
        spec = config.input
        self._target = spec.width, spec.height
        if config.object_crop_fraction > 0.0 and self.road_count:
            is_object = self._boxes[..., 0] >= 0.0
            self._objects = is_object.nonzero()
            self._sampling_weights = class_balanced_sampling_weights(self._boxes[..., 0][is_object])
        objectness = Columns("probability", 1, is_objectness=True)
        kinds = OutputKinds((Columns("log_size", 4), objectness, Columns("probability")), 2)
        self._teacher_loss = create_loss([kinds])
        self._cells = grid_cells(spec.width, spec.height, tuple(STRIDES), device)
        if self.real_count:
            if config.real.teacher is None:
                raise RecipeError("real images have no boxes: name a teacher (real.teacher)")
            size = min(content_size(config.displayed_input, *_REAL_SOURCE), _REAL_SOURCE)
            self._real = ImageBuffer(gather(real_frames(config.real), size), device)
            manifest, self._teacher = open_teacher(config.real.teacher, "output", device)
            self._columns, self._rows = self._shared(manifest)

    def batch_loss(self, network: GraphModule, generator: torch.Generator) -> Tensor:
        """Return the loss against ground-truth boxes plus the distillation loss on real images."""
        parts: list[Tensor] = []
        if self.road_count:
            shown, boxes, labels = self._road(generator)
            parts.append(shown)
        if self.real_count:
            rows = draw(self.real_count, len(self._real), generator)
            real = self._transformed(self._real, rows, _REAL_SOURCE, _SCALE_JITTER_REAL, generator)[0]
            targets = self._teacher_outputs(real)
            parts.append(photometric_jitter(real, generator))
        raw, objectness, classes = head_logits(network, self.network_input(torch.cat(parts)))
        n = self.road_count
        losses: list[Tensor] = []
        if self.road_count:
            losses.append(box_loss(self._cells, raw[:n], objectness[:n], classes[:n], boxes, labels))
        if self.real_count:
            scores = torch.cat([objectness[n:, :, None], classes[n:]], -1).sigmoid()
            with torch.autocast(self.device.type, enabled=False):  # probabilities need full precision
                losses.append(self._teacher_loss([torch.cat([raw[n:], scores], -1)], [targets]))
        return reduce(torch.add, losses)

    def _road(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        rows = draw(self.road_count, len(self._images), generator)
        crop_centers = (
            self._sample_objects(rows, generator) if self.config.object_crop_fraction > 0.0 else None
        )
        shown, transform = self._transformed(
            self._images, rows, self._source_size, _SCALE_JITTER_SYNTHETIC, generator, crop_centers
        )
        ground_truth = self._boxes[rows].to(self.device)
        full = transform.boxes(ground_truth[..., 1:])
        limit = torch.tensor([*self._target, *self._target], device=self.device, dtype=torch.float32)
        boxes = torch.minimum(full.clamp_min(0.0), limit)
        sides = boxes[..., 2:] - boxes[..., :2]
        visible = sides.clamp_min(0.0).prod(-1) / (full[..., 2:] - full[..., :2]).prod(-1).clamp_min(1e-3)
        kept = (sides.amin(-1) > _LEAST_SIDE_PX * 0.5) & (sides.amax(-1) > _LEAST_SIDE_PX)
        labels = torch.where(kept & (visible > _LEAST_VISIBLE), ground_truth[..., 0].long(), -1)
        return photometric_jitter(shown, generator), boxes, labels

    def _sample_objects(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Replace the first rows by images of sampled objects; return (B, 2) box centers, NaN for other rows.

        Centers are in pixels of the stored images.
        """
        count = round(len(rows) * self.config.object_crop_fraction)
        sampled = self._objects[torch.multinomial(self._sampling_weights, count, True, generator=generator)]
        rows[:count] = sampled[:, 0]
        boxes = self._boxes[sampled[:, 0], sampled[:, 1], 1:]
        crop_centers = torch.full((len(rows), 2), torch.nan)
        crop_centers[:count] = 0.5 * (boxes[:, :2] + boxes[:, 2:])
        return crop_centers

    def _transformed(
        self,
        store: ImageBuffer,
        rows: Tensor,
        source: tuple[int, int],
        scale_jitter: tuple[float, float],
        generator: torch.Generator,
        crop_centers: Tensor | None = None,
    ) -> tuple[Tensor, AffineTransform]:
        images = planes(store.batch(rows))
        size = images.shape[3], images.shape[2]
        transform = random_affine(
            len(rows),
            size,
            self._target,
            generator,
            self.device,
            scale_jitter=self.config.scale_jitter or scale_jitter,
            mirror=True,
            # Crops are always jittered; whole images are often left as at inference.
            identity_fraction=0.0 if self.config.random_crop else _IDENTITY_FRACTION,
            upscale=content_size(self.config.displayed_input, *source)[0] / size[0],
            crop_centers=crop_centers,
        )
        return transform.warp(images, float(self.config.input.pad_value)), transform

    def _teacher_outputs(self, images: Tensor) -> Tensor:
        spec = self._teacher.spec
        width, height = spec.width, spec.height
        right, below = width - images.shape[3], height - images.shape[2]
        padded = F.pad(images, (0, right, 0, below), value=float(spec.pad_value))
        outputs = self._teacher.of_images(padded)[0][:, self._rows]
        every = outputs[..., 5:].amax(-1).clamp_min(1e-6)
        kept = outputs[..., self._columns]
        # Objectness of labels that the student does not have is reduced: they are background to the student.
        share = (kept[..., 5:].amax(-1) / every).clamp(max=1.0)
        return torch.cat([kept[..., :4], (kept[..., 4] * share)[..., None], kept[..., 5:]], -1).float()

    def _shared(self, manifest: Manifest) -> tuple[Tensor, Tensor]:
        """Return the columns and rows of the teacher's output that the student has."""
        spec, whole = self.config.input, manifest.input
        strides = list(manifest.output.options.get("strides", STRIDES))
        fits = whole.width >= spec.width and whole.height >= spec.height
        corner = "top_left" in (whole.letterbox_align, spec.letterbox_align)
        if manifest.output.decoder != "yolox" or strides != STRIDES or not fits or not corner:
            raise RecipeError(
                f"{manifest.name} cannot train this detector: a teacher needs decoder yolox, strides "
                f"{STRIDES} and an input of at least {spec.width}x{spec.height}, letterboxed top left"
            )
        lacking = [label for label in self.config.labels if label not in manifest.labels]
        if lacking:
            raise RecipeError(f"the teacher {manifest.name} has no label {', '.join(lacking)}")
        columns = [0, 1, 2, 3, 4, *(5 + manifest.labels.index(label) for label in self.config.labels)]
        rows = cut_rows((whole.width, whole.height), (spec.width, spec.height), strides, (0, 0))
        return torch.tensor(columns, device=self.device), torch.from_numpy(np.asarray(rows)).to(self.device)


def head_logits(network: GraphModule, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return raw boxes (B, N, 4), objectness (B, N) and classes (B, N, C) before the sigmoids.

    The graph concatenates a level's boxes and sigmoids; the inputs of these nodes are requested by name.
    """
    producers = {step.outputs[0]: step for step in network.steps}
    names: list[str] = []
    for step in network.steps:
        if step.operator == "Concat" and [producers[n].operator for n in step.inputs[1:]] == ["Sigmoid"] * 2:
            names += [step.inputs[0], *(producers[name].inputs[0] for name in step.inputs[1:])]
    maps = [
        value.float().flatten(2).transpose(1, 2) for value in network.run({network.input_names[0]: x}, names)
    ]
    raw, objectness, classes = (torch.cat(maps[index::3], 1) for index in range(3))
    return raw, objectness[..., 0], classes


def class_balanced_sampling_weights(labels: Tensor) -> Tensor:
    """Return (N,) the sampling probability of each object, for (N,) label ids.

    A label that is four times as frequent as another is sampled twice as often (the square root after Gupta
    et al., LVIS, 2019, section 3.1).
    """
    _, kind, counts = labels.unique(return_inverse=True, return_counts=True)
    weights = counts.float().rsqrt()[kind]
    return weights / weights.sum()
