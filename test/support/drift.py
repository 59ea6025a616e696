# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings long enough for a drift reference, and a reference learned from one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.drift_learner import DriftLearner
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.models import draw_scene

RATE_HZ = 4.0
"""Low, so that a minute has few frames; bins of half a second still hold two."""
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = round(1e9 / RATE_HZ)
LONG_ENOUGH = 300
"""Frames of 75 seconds."""


def driving_image(index: int) -> NDArray[np.uint8]:
    """Return a noisy scene, (96, 128, 3) BGR, whose light wanders a little over half a minute."""
    rng = np.random.default_rng(index)
    light = 1.0 + 0.05 * np.sin(index / 20.0)
    noisy = draw_scene(index) * light + rng.normal(0.0, 2.0, (96, 128, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def driving_frames(count: int = LONG_ENOUGH, first: int = 0) -> Iterator[Frame]:
    """Yield frames of a drive at RATE_HZ."""
    for index in range(first, first + count):
        yield Frame(driving_image(index), "BGR", START_NS + index * PERIOD_NS)


def learn(model: Path, variant: str = "fp32", count: int = LONG_ENOUGH) -> DriftReference:
    """Return a reference of a model's variant on the drive."""
    manifest = load_manifest(model)
    pipeline = open_pipeline(manifest, variant)
    try:
        learner = DriftLearner(pipeline, manifest.variant(variant).sha256, "drive:/camera")
        for frame in driving_frames(count):
            learner.add(frame)
        return learner.build()
    finally:
        pipeline.close()
