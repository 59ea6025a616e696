# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trainings of the default models so small that a test runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ad_compressed_perception.core.manifest import InputSpec, OutputSpec  # noqa: E402
from ad_compressed_perception.driving.plan_vector import LENGTH  # noqa: E402
from ad_compressed_perception.training.default_models.config import (  # noqa: E402
    TrainConfig,
)
from ad_compressed_perception.training.default_models.synthetic_dataset import (  # noqa: E402
    MAX_BOXES,
    SyntheticDataset,
)
from ad_compressed_perception.training.default_models.training_task import stored_image_size  # noqa: E402


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def generator(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


def tiny_config(kind: str, **schedule: Any) -> TrainConfig:
    outputs = {
        "detection": {"decoder": "yolox", "options": {"output": "boxes"}},
        "segmentation": {"decoder": "argmax", "options": {"output": "scores"}},
        "trajectory": {"decoder": "trajectory"},
    }
    labels = {"detection": ["person", "car"], "segmentation": ["background", "road"], "trajectory": []}
    return TrainConfig(
        schema="adcp-training/1",
        name=f"tiny_{kind}",
        kind=kind,
        labels=labels[kind],
        input=InputSpec(width=64, height=32, color="BGR", scale=1 / 255, resize="stretch"),
        output=OutputSpec(**outputs[kind]),
        network={"encoder": "squeezenet", "width": 0.25},
        schedule={"steps": 4, "batch": 4, **schedule},
    )


def tiny_dataset(config: TrainConfig, count: int = 8) -> SyntheticDataset:
    rng = np.random.default_rng(0)
    width, height = stored_image_size(config)
    boxes = np.full((count, MAX_BOXES, 5), -1.0, np.float32)
    boxes[:, 0] = [1, 10, 8, 40, 28]
    return SyntheticDataset(
        rng.integers(0, 255, (count, height, width, 3), np.uint8),
        boxes,
        rng.integers(0, 2, (count, height, width)).astype(np.uint8),
        rng.uniform(0, 1, (count, LENGTH)).astype(np.float32),
        (640, 360),
    )
