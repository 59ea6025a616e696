# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Base of the three training tasks: network, synthetic and real images, and the loss of a step."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ad_compressed_perception.analysis.processor import multiplies_bfloat16
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.host import read_host
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.training.default_models.config import TrainConfig
from ad_compressed_perception.training.default_models.frame_source import find_source
from ad_compressed_perception.training.default_models.image_buffer import content_size
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.students.build import build_student
from ad_compressed_perception.training.students.spec import StudentSpec
from ad_compressed_perception.training.teacher import network_input
from ad_compressed_perception.training.trainer import TrainingDataset

INPUT_NAME = "image"
_SEEDS = 1_000_003


def build_network(config: TrainConfig) -> GraphModule:
    """Return a training's network with fresh weights."""
    network = config.network
    fine = {"fine": network.fine, "output_stride": network.output_stride}
    return GraphModule(
        build_student(
            StudentSpec(
                encoder=network.encoder,
                task=config.kind,
                input_width=config.input.width,
                input_height=config.input.height,
                input_channels=config.input.channels,
                input_name=config.input.name or INPUT_NAME,
                width=network.width,
                channel_multiple=network.channel_multiple,
                classes=max(1, len(config.labels)),
                seed=config.schedule.seed,
                **(fine if config.kind == "segmentation" else {}),  # type: ignore[arg-type]
            )
        )
    )


def stored_image_size(config: TrainConfig) -> tuple[int, int]:
    """Return (width, height) at which the road camera's images are stored for a training.

    A detector's images are upscaled by the augmentation: storing more pixels than the camera has would only
    cost space.
    """
    if config.synthetic.frames == 0:  # no simulator needs to be installed for real images alone
        return config.input.width, config.input.height
    source_size = find_source(config.synthetic.source).image_size
    size = content_size(config.displayed_input, *source_size)
    return min(size, source_size) if config.kind == "detection" else size


class TrainingTask(TrainingDataset):
    """Computes the loss of one step: samples and augments a batch, runs network and teacher."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        """Divide the batch into synthetic and real images."""
        self.config, self.device = config, device
        batch = config.schedule.batch
        has_real = config.real.drive is not None or config.real.masks is not None
        if not config.synthetic.frames and not has_real:
            raise RecipeError("nothing to train on: set synthetic.frames, or name real.drive or real.masks")
        share = config.real.share if config.synthetic.frames else 1.0
        self.real_count = round(batch * share) if has_real else 0
        self.road_count = batch - self.real_count
        self._uses_bfloat16 = device.type == "cuda" or multiplies_bfloat16(read_host())

    def prepare(self, network: GraphModule, progress: Progress) -> None:
        """Prepare for a network with loaded weights; by default nothing is needed."""
        return

    def loss(self, module: GraphModule, step: int) -> Tensor:
        """Return the loss of a step, whose number seeds it: a resumed training draws the same batches."""
        generator = torch.Generator().manual_seed(self.config.schedule.seed * _SEEDS + step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._uses_bfloat16):
            return self.batch_loss(module, generator)

    @abstractmethod
    def batch_loss(self, network: GraphModule, generator: torch.Generator) -> Tensor:
        """Return the loss of one batch; everything random comes from the generator (on the CPU)."""

    def network_input(self, images: Tensor) -> Tensor:
        """Return the network's input for (B, 3, H, W) BGR images of 0..255."""
        return network_input(images, self.config.input).contiguous(memory_format=torch.channels_last)


def draw(count: int, of: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` random rows of ``of``."""
    return torch.randint(0, of, (count,), generator=generator)


def planes(images: Tensor) -> Tensor:
    """Return (B, 3, h, w) of (B, h, w, 3)."""
    return images.permute(0, 3, 1, 2)
