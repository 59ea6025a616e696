# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results of the tasks: plain arrays in source pixels or meters, independent of ROS and of the runtimes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.renamed import accept_old_attributes


@dataclass(frozen=True)
class Detections:
    """Objects found in one frame.

    Attributes:
        boxes_xyxy: (N, 4) float32, left, top, right, bottom in source pixels.
        scores: (N,) float32 in 0..1, descending.
        class_ids: (N,) int64, indices into ``labels``.
        labels: the model's class names.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class LabelMask:
    """A label for every pixel of one frame.

    Attributes:
        label_ids: (H, W) uint8 of the source frame's size, indices into ``labels``.
        labels: the model's class names.
    """

    label_ids: NDArray[np.uint8]
    labels: tuple[str, ...]


@accept_old_attributes(yield_probability="proceed_after_stop_probability")
@dataclass(frozen=True)
class Trajectory:
    """A planned trajectory, in base_link (REP-103: x forward, y left).

    Attributes:
        points_xy_m: (N, 2) float64, meters.
        headings_rad: (N,) float64, counter-clockwise positive.
        curvature_per_m: signed curvature of the path, left positive.
        speed_mps: speed the path is driven at.
        steering_wheel_angle_rad: steering-wheel angle, left positive; NaN where the model gives none.
        collision_probability: in 0..1; NaN where the model gives none.
        speeds_mps: (N,) float64 at the points, where the model gives a speed profile.
        step_s: seconds between points, where they are spaced by time; NaN where they are spaced by distance.
        clear_distance_m: from the front bumper to the nearest object or line that requires a stop, inf where
            there is none; NaN where the model gives none.
        stop_probability: that something ahead requires a stop; NaN where the model gives none.
        proceed_after_stop_probability: that the vehicle may proceed after a stop (a stop sign); NaN likewise.
    """

    points_xy_m: NDArray[np.float64]
    headings_rad: NDArray[np.float64]
    curvature_per_m: float
    speed_mps: float
    steering_wheel_angle_rad: float = float("nan")
    collision_probability: float = float("nan")
    speeds_mps: NDArray[np.float64] | None = None
    step_s: float = float("nan")
    clear_distance_m: float = float("nan")
    stop_probability: float = float("nan")
    proceed_after_stop_probability: float = float("nan")


@dataclass(frozen=True)
class Classification:
    """What a whole frame shows.

    Attributes:
        scores: (K,) float32 in 0..1 of all labels; NaN where a message does not have them.
        ranked: (M,) int64, indices into ``labels`` of those that are published, strongest first; empty where
            no score reaches the threshold.
        labels: the model's class names.
    """

    scores: NDArray[np.float32]
    ranked: NDArray[np.int64]
    labels: tuple[str, ...]

    @property
    def label(self) -> str | None:
        """The strongest label; None where none is published."""
        return self.labels[int(self.ranked[0])] if len(self.ranked) else None

    @property
    def score(self) -> float:
        """The score of the strongest label; 0 where none is published."""
        return float(self.scores[int(self.ranked[0])]) if len(self.ranked) else 0.0


@dataclass(frozen=True)
class RawOutputs:
    """A model's outputs as they are, for a model whose outputs nothing decodes.

    Attributes:
        outputs: output name to array, of the file's shapes and number types, in the file's order.
    """

    outputs: Mapping[str, NDArray[Any]]


HeadResult = Detections | LabelMask | Trajectory | Classification | RawOutputs


class HeadResults(Mapping[str, HeadResult]):
    """The results of a model with several heads on one frame: head name to result."""

    def __init__(self, results: Mapping[str, HeadResult]) -> None:
        """Take over the results."""
        self._results = dict(results)

    def __getitem__(self, head: str) -> HeadResult:
        """Return a head's result."""
        return self._results[head]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the heads' names."""
        return iter(self._results)

    def __len__(self) -> int:
        """Return the number of heads."""
        return len(self._results)

    def __repr__(self) -> str:
        """Name the heads with the types of their results."""
        return f"HeadResults({', '.join(f'{key}: {type(v).__name__}' for key, v in self._results.items())})"


Result = HeadResult | HeadResults
