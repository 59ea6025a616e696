# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is remembered of each compared frame: how dark, crowded and winding it is, and the worst of them.

| trait       | what it is                                                                            |
|-------------|---------------------------------------------------------------------------------------|
| brightness  | mean luma of the picture, 0..255 (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B)           |
| crowding    | detection: objects the baseline found; segmentation: share of neighbouring pixels      |
|             | whose labels differ in the baseline's mask                                             |
| turning     | magnitude of the baseline's steering-wheel angle, rad (of the path's curvature, 1/m,   |
|             | where it gives no angle); other tasks have none                                        |

Traits come from the picture and the baseline only, never from the variant that is judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.image.decode import Frame

WORST_FRAMES = 6
"""How many of the frames that differ most are kept with their pictures."""

_LUMA_BGR = np.array([0.114, 0.587, 0.299])
# Every so many-th pixel tells the mean brightness as well as all of them.
_STEP = 4


@dataclass(frozen=True)
class WorstFrame:
    """A frame on which the two differ, with what each said; ``variant`` is None where it said nothing."""

    place: int
    frame: Frame
    baseline: Result
    variant: Result | None
    difference: float


@dataclass
class FrameLog:
    """Traits of all frames in the order they were compared, and the frames that differ most.

    Attributes:
        stamps_ns: source stamps.
        brightness: see above.
        crowding: NaN where the task has none.
        turning: NaN where the task has none.
        differences: how far apart the results are, as the score measures it.
        worst: at most WORST_FRAMES, the largest difference first.
    """

    stamps_ns: list[int] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    crowding: list[float] = field(default_factory=list)
    turning: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    worst: list[WorstFrame] = field(default_factory=list)

    def add(self, frame: Frame, baseline: Result, variant: Result | None, difference: float) -> None:
        """Remember a frame."""
        place = len(self.stamps_ns)
        self.stamps_ns.append(frame.stamp_ns)
        self.brightness.append(brightness(frame))
        self.crowding.append(crowding(baseline))
        self.turning.append(turning(baseline))
        self.differences.append(difference)
        if difference > 0.0:
            self.worst.append(WorstFrame(place, frame, baseline, variant, difference))
            self.worst.sort(key=lambda one: (-one.difference, one.place))
            del self.worst[WORST_FRAMES:]

    def traits(self) -> dict[str, NDArray[np.float64]]:
        """Return each trait's name with its values, (N,) each."""
        named = {"brightness": self.brightness, "crowding": self.crowding, "turning": self.turning}
        return {name: np.array(values, np.float64) for name, values in named.items()}


def brightness(frame: Frame) -> float:
    """Return the mean luma of a picture, 0..255, on a grid of its pixels."""
    pixels = frame.pixels[::_STEP, ::_STEP]
    if pixels.ndim == 2:
        scale = 1 / 256 if pixels.dtype == np.uint16 else 1.0
        return float(pixels.mean(dtype=np.float64)) * scale
    means = pixels.reshape(-1, pixels.shape[-1]).mean(axis=0, dtype=np.float64)[:3]
    return float((means[::-1] if frame.colour == "RGB" else means) @ _LUMA_BGR)


def crowding(result: Result) -> float:
    """Return how much there is in a frame, by its result; NaN for a path."""
    if isinstance(result, Detections):
        return float(len(result.scores))
    return label_edges(result.label_ids) if isinstance(result, LabelMask) else math.nan


def label_edges(label_ids: NDArray[np.uint8]) -> float:
    """Return the share of neighbouring pixels (to the right, below) whose labels differ."""
    across, down = label_ids[:, 1:] != label_ids[:, :-1], label_ids[1:] != label_ids[:-1]
    return float(across.sum() + down.sum()) / max(1, across.size + down.size)


def turning(result: Result) -> float:
    """Return how sharply a path turns; NaN for what is no path."""
    if not isinstance(result, Trajectory):
        return math.nan
    angle = abs(result.steering_wheel_angle_rad)
    return abs(result.curvature_per_m) if math.isnan(angle) else angle
