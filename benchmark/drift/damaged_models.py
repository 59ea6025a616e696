# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Models that became worse without a message: weights rounded far too coarsely, or set to zero in part."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline

DAMAGES: Final = ("rounded", "lost")
"""rounded: weights of 4 bits, one scale a tensor. lost: every fifth filter of every layer is zero."""

_BITS = 4


def damage(source: Path, target: Path, kind: str) -> None:
    """Write a model with damaged weights."""
    model = onnx.load(str(source))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        if kind == "rounded":
            scale = float(np.abs(values).max()) / (2 ** (_BITS - 1) - 1) or 1.0
            changed = np.round(values / scale) * scale
        else:
            changed = values.copy()
            changed[::5] = 0.0
        tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
    onnx.save(model, str(target))


def open_damaged(manifest: Manifest, kind: str) -> Pipeline:
    """Return a model's baseline, damaged."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "damaged.onnx"
        damage(manifest.checked_path(manifest.baseline), target, kind)
        return Pipeline(create_task(manifest), create_backend("onnxruntime").load(target, {}), kind)
