# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The road camera as a source of training frames."""

from __future__ import annotations

import sys

import numpy as np

from ad_compressed_perception.training.default_models.frame_source import GroundTruthFrame, GroundTruthSource
from ad_compressed_perception.training.default_models.plan_targets import encode_plan
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.sampling import training_samples
from ad_road_simulation.world.scene import LABELS


class RoadCameraSource(GroundTruthSource):
    """Unrelated scenes of the worlds that a seed makes."""

    image_size = (640, 360)

    def __init__(self, seed: int, with_masks: bool) -> None:
        """Begin the scenes of a seed; masks are always rendered."""
        self._renderer = Renderer(Camera(*self.image_size))
        self._samples = training_samples(seed, sys.maxsize)

    def next(self) -> GroundTruthFrame:
        """Return the image of the next scene, its objects, label mask and reference plan."""
        sample = next(self._samples)
        rendered = self._renderer.render(sample.scene)
        nearest = sorted(rendered.boxes, key=lambda box: box.distance_m)
        boxes = np.array([(LABELS.index(box.label), *box.xyxy) for box in nearest], np.float32)
        reference = sample.reference
        plan = encode_plan(
            reference.curvature_per_m, reference.clear_distance_m, reference.must_stop, reference.may_proceed
        )
        return GroundTruthFrame(rendered.image_bgr, boxes.reshape(-1, 5), rendered.mask, plan)
