# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration of a training: network, images, schedule. One YAML file per model."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import (
    InputSpec,
    OutputSpec,
    StrictModel,
    describe_yaml_error,
)
from ad_compressed_perception.core.yaml_file import read_yaml_mapping

SCHEMA: Final = "adcp-training/1"
Kind = Literal["detection", "segmentation", "trajectory"]


class SyntheticFrames(StrictModel):
    """Frames of a simulator with their ground truth."""

    source: str = Field("road_camera", description="registered frame source")
    frames: int = Field(20000, ge=0, le=1_000_000, description="images, all different scenes; 0: none")
    seed: int = Field(
        1000, ge=0, description="of the first sequence; every 25 images have a seed of their own"
    )


class RealFrames(StrictModel):
    """Real images; their targets come from a teacher, their masks or their steering log.

    Folders may contain environment variables, as in a manifest.
    """

    drive: str | None = Field(None, description="folder with images/STAMP.jpg and steering.csv")
    drive_share: float = Field(0.75, gt=0.0, le=1.0, description="first part of the drive, used for training")
    masks: str | None = Field(None, description="folder with images/ and masks/")
    label_map: str = Field(
        "camvid_road", description="of the masks: mapping of class names to the model's labels"
    )
    share: float = Field(0.3, ge=0.0, le=1.0, description="share of real images in each batch")
    teacher: str | None = Field(None, description="model folder, or a shipped reference model's name")


class Schedule(StrictModel):
    """Length and learning rate of the training."""

    renamed = {"average": "ema_decay"}

    steps: int = Field(6000, ge=1, description="number of batches")
    batch: int = Field(64, ge=1, le=4096, description="images per step")
    learning_rate: float = Field(2e-3, gt=0.0, description="AdamW's peak: 5 % warm-up, then a cosine")
    weight_decay: float = Field(0.02, ge=0.0, description="of convolutions and matrix products")
    ema_decay: float = Field(
        0.998, ge=0.0, lt=1.0, description="decay of the exponential moving average of the weights"
    )
    seed: int = Field(0, ge=0, description="of weights, order and augmentation")
    checkpoint_steps: int = Field(500, ge=1, description="steps between checkpoints")


class Network(StrictModel):
    """Architecture and initialization of the network."""

    renamed = {"start": "initialize_from", "kept_copies": "cached_augmentations"}

    encoder: Literal["efficientnet_lite", "mobilenet", "squeezenet"] = "efficientnet_lite"
    width: float = Field(1.0, gt=0.0, le=16.0, description="multiplies all channel counts")
    channel_multiple: int = Field(
        8, ge=1, le=64, description="channel counts are rounded to a multiple of this"
    )
    output_stride: Literal[1, 2, 4, 8] = Field(1, description="segmentation: stride of the scores")
    initialize_from: str | None = Field(
        None, description="model folder of the same encoder and width whose weights initialize the network"
    )
    frozen_stride: Literal[1, 2, 4, 8, 16] = Field(
        1, description="layers from `initialize_from` up to this stride are frozen"
    )
    cached_augmentations: int = Field(
        0,
        ge=0,
        le=100,
        description="trajectory: augmented copies of each image whose frozen-layer outputs are cached in "
        "memory; 0: frozen layers run in every step",
    )
    fine: bool = Field(True, description="segmentation: pyramid down to stride 2")


class TrainConfig(StrictModel):
    """One model's training."""

    renamed = {
        "used_width": "inference_width",
        "road_camera": "synthetic",
        "used_height": "inference_height",
        "pieces": "random_crop",
        "zoom": "scale_jitter",
        "aim": "object_crop_fraction",
    }

    schema_: Literal["adcp-training/1"] = Field(SCHEMA, alias="schema")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="of the model and its folder")
    kind: Kind = Field(description="what the network outputs")
    description: str = ""
    labels: list[str] = Field(default_factory=list)
    input: InputSpec
    inference_width: int | None = Field(
        None,
        ge=32,
        le=16384,
        description="input width of the exported model, pixels; that of the training by default",
    )
    inference_height: int | None = Field(None, ge=32, le=16384, description="likewise the height")
    random_crop: bool = Field(
        False, description="detection: train on random crops of images at the exported model's input size"
    )
    scale_jitter: tuple[float, float] | None = Field(
        None,
        description="detection: least and greatest scale factor; by default 0.6 to 1.8 on the road camera "
        "and 0.7 to 1.7 on real images",
    )
    object_crop_fraction: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="detection: share of the road camera's crops that contain a sampled object; objects of "
        "rare labels are sampled more often",
    )
    output: OutputSpec
    network: Network = Field(default_factory=Network)
    stop_weight: float = Field(
        0.5, ge=0.0, description="trajectory: weight of the cross-entropy of stop and proceed after stop"
    )
    synthetic: SyntheticFrames = Field(default_factory=SyntheticFrames)
    real: RealFrames = Field(default_factory=RealFrames)
    schedule: Schedule = Field(default_factory=Schedule)

    @property
    def inference_input(self) -> InputSpec:
        """The exported model's input."""
        changes = {"width": self.inference_width, "height": self.inference_height}
        return self.input.model_copy(
            update={key: value for key, value in changes.items() if value is not None}
        )

    @property
    def displayed_input(self) -> InputSpec:
        """The input size that images are resized to before cropping."""
        return self.inference_input if self.random_crop else self.input

    @property
    def task(self) -> Literal["detection", "segmentation", "planning"]:
        """The task of the model."""
        return "planning" if self.kind == "trajectory" else self.kind


def load_training(path: Path) -> TrainConfig:
    """Read a training's YAML file.

    Raises:
        RecipeError: the file cannot be read, or a key of it is unknown or invalid; the message names it.
    """
    data = read_yaml_mapping(path, "training", RecipeError)
    try:
        return TrainConfig.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"training {describe_yaml_error(path, error)}") from error
