# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Attributes of each compared frame (brightness, object density, steering), and the frames that differ most.

| attribute          | definition                                                                         |
|--------------------|------------------------------------------------------------------------------------|
| brightness         | mean luma of the image, 0..255 (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B)         |
| object_density     | detection: objects in the baseline's result; segmentation: share of neighboring    |
|                    | pixels whose labels differ in the baseline's mask                                  |
| steering_magnitude | magnitude of the baseline's steering-wheel angle, rad (of the path's curvature,    |
|                    | 1/m, where it gives no angle); other tasks have none                               |

Attributes come from the image and the baseline only, never from the variant that is compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.image.decode import Frame

WORST_FRAMES = 6
"""How many of the frames that differ most are kept with their images."""

_LUMA_BGR = np.array([0.114, 0.587, 0.299])
# Step of the pixel grid, which is fine enough for a mean.
_STEP = 4


@dataclass(frozen=True)
class WorstFrame:
    """A frame on which the results differ, with both results; ``variant`` is None where it gave none."""

    place: int
    frame: Frame
    baseline: Result
    variant: Result | None
    difference: float


@dataclass
class FrameLog:
    """Attributes of all frames in the order they were compared, and the frames that differ most.

    Attributes:
        stamps_ns: source stamps.
        brightness: see above.
        object_density: NaN where the task has none.
        steering_magnitude: NaN where the task has none.
        differences: between the results, in the unit of the score.
        worst: at most WORST_FRAMES, the largest difference first.
    """

    stamps_ns: list[int] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    object_density: list[float] = field(default_factory=list)
    steering_magnitude: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    worst: list[WorstFrame] = field(default_factory=list)

    def add(self, frame: Frame, baseline: Result, variant: Result | None, difference: float) -> None:
        """Record a frame."""
        place = len(self.stamps_ns)
        self.stamps_ns.append(frame.stamp_ns)
        self.brightness.append(brightness(frame))
        self.object_density.append(object_density(baseline))
        self.steering_magnitude.append(steering_magnitude(baseline))
        self.differences.append(difference)
        if difference > 0.0:
            self.worst.append(WorstFrame(place, frame, baseline, variant, difference))
            self.worst.sort(key=lambda one: (-one.difference, one.place))
            del self.worst[WORST_FRAMES:]

    def attributes(self) -> dict[str, NDArray[np.float64]]:
        """Return each attribute's name with its values, (N,) each."""
        named = {
            "brightness": self.brightness,
            "object_density": self.object_density,
            "steering_magnitude": self.steering_magnitude,
        }
        return {name: np.array(values, np.float64) for name, values in named.items()}


def brightness(frame: Frame) -> float:
    """Return the mean luma of an image, 0..255, on a grid of its pixels."""
    pixels = frame.pixels[::_STEP, ::_STEP]
    if pixels.ndim == 2:
        scale = 1 / 256 if pixels.dtype == np.uint16 else 1.0
        return float(pixels.mean(dtype=np.float64)) * scale
    means = pixels.reshape(-1, pixels.shape[-1]).mean(axis=0, dtype=np.float64)[:3]
    return float((means[::-1] if frame.color == "RGB" else means) @ _LUMA_BGR)


def object_density(result: Result) -> float:
    """Return the number of objects, or the share of label edges, of a result; NaN for a path."""
    if isinstance(result, Detections):
        return float(len(result.scores))
    return label_edges(result.label_ids) if isinstance(result, LabelMask) else math.nan


def label_edges(label_ids: NDArray[np.uint8]) -> float:
    """Return the share of neighboring pixels (to the right, below) whose labels differ."""
    across, down = label_ids[:, 1:] != label_ids[:, :-1], label_ids[1:] != label_ids[:-1]
    return float(across.sum() + down.sum()) / max(1, across.size + down.size)


def steering_magnitude(result: Result) -> float:
    """Return the magnitude of steering angle or curvature of a path; NaN for other results."""
    if not isinstance(result, Trajectory):
        return math.nan
    angle = abs(result.steering_wheel_angle_rad)
    return abs(result.curvature_per_m) if math.isnan(angle) else angle
