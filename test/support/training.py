# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny student with perturbed weights and its teacher, for passes that train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.pass_api.passes import PassContext
from support.compression import model_and_context
from support.models import draw_scene, write_detector, write_planner, write_segmenter

IMAGES = 24
QUICK: dict[str, Any] = {"epochs": 6, "batch": 4, "learning_rate": 2e-3, "threads": 1, "patience": 6}
WRITERS = {"detection": write_detector, "segmentation": write_segmenter, "planning": write_planner}


def student(tmp_path: Path, task: str = "segmentation", noise: float = 0.05) -> tuple[Any, PassContext]:
    """Return a task's tiny model with perturbed weights, and a context whose teacher is the original model.

    Images are scenes of three brightness levels, 16 apart, so that they differ.
    """
    return perturbed(WRITERS[task](tmp_path / "m"), tmp_path / "s", noise)


def perturbed(folder: Path, scratch: Path, noise: float = 0.05) -> tuple[Any, PassContext]:
    """Return the model of a folder as ``student`` does."""
    model, context = model_and_context(folder, scratch)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.ndim == 4:
            span = noise * float(np.abs(value).max())
            value = value + rng.normal(0, span, value.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))

    def images() -> Iterator[Frame]:
        for index in range(IMAGES):
            bright = np.clip(draw_scene(index).astype(int) + 16 * (index % 3 - 1), 0, 255)
            yield Frame(bright.astype(np.uint8), "BGR", index)

    return model, replace(context, images=images, frames=IMAGES)


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
