# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options shared by all passes that train, and the check that the training packages are installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.pass_api.passes import PassOptions


class TrainingOptions(PassOptions):
    """How a pass trains."""

    renamed = {"features": "feature_weight", "hold_out": "val_fraction"}

    epochs: int = Field(10, ge=1, le=10_000, description="maximum number of epochs")
    batch: int = Field(8, ge=1, le=1024, description="images per step")
    learning_rate: float = Field(5e-4, gt=0.0, le=1.0, description="AdamW's peak learning rate")
    relative_rate: bool = Field(
        False,
        description="scale steps by the RMS of each channel's weights; for folded normalizations",
    )
    feature_weight: float = Field(
        0.0,
        ge=0.0,
        description="weight of the feature distillation loss on the inputs of the last layers; 0: off",
    )
    views: int = Field(2, ge=1, le=64, description="copies of each image; all but the first are augmented")
    val_fraction: float = Field(
        0.1, gt=0.0, lt=1.0, description="share of the images held out for validation"
    )
    patience: int = Field(3, ge=1, description="epochs without a lower validation loss before training stops")
    minutes: float = Field(0.0, ge=0.0, description="wall-clock limit; 0 for none")
    seed: int = Field(0, ge=0, description="of shuffling, validation split and augmentation")
    threads: int = Field(0, ge=0, description="processor threads; 0: torch's default")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="of the matrix products in training; bf16 is faster on processors with AMX and on GPUs",
    )
    data: list[str] = Field(
        default_factory=list,
        description="further training images: BAG, BAG:TOPIC or FOLDER; none that the variant is verified on",
    )
    labels: str | None = Field(
        None,
        description="further training images with ground truth: FOLDER, LABELS or LABELS@FRAMES, as for "
        "evaluate; none that the variant is verified on",
    )
    label_map: str | None = Field(None, description="meaning of the labels' ids or names, as for evaluate")
    label_weight: float = Field(
        0.5, gt=0.0, le=1.0, description="weight of the ground truth in the training target"
    )
    stride: int = Field(1, ge=1, description="use only every n-th image of `data`")


def require_training(name: str) -> None:
    """Raise BackendError, which names the extra, where torch and its companions are not installed."""
    missing = [module for module in ("torch", "torch_pruning", "safetensors") if find_spec(module) is None]
    if missing:
        raise BackendError(
            f"{name} trains, and {', '.join(missing)} is not installed: "
            "pip install 'ad_compressed_perception[train]' (make setup-train in a checkout)"
        )
