# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lets a planned path change gradually where another model begins to answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Result, Trajectory
from ad_compressed_perception.serving.result_changes import changes, summarize
from ad_compressed_perception.serving.running_quantile import RunningQuantile

LONGEST_S = 2.0
"""The new model's plan alone is published after this time at the latest."""
LEAST_STEPS = {"curvature_per_m": 0.001, "path_m": 0.05, "speed_mps": 0.2}
"""Steps a frame that are always allowed: where the path is that of a standing or a straight driving car."""
_LONGEST_GAP_S = 1.0


@dataclass(frozen=True)
class _Offset:
    """What the published path had beyond the new one at the switch."""

    points_xy_m: NDArray[np.float64]
    headings_rad: NDArray[np.float64]
    curvature_per_m: float
    speed_mps: float
    speeds_mps: NDArray[np.float64] | None


class Continuity:
    """Adds a fading part of the difference between the old and the new model's path to the new one.

    At a switch the first path is the last published one plus one step, and each further one is a step nearer
    to the new model's. A step is the median of what the curvature, the speed and the path change from frame
    to frame as long as one model answers, so that the jump at a switch is that of a normal frame. What asks
    for a stop (clear distance and probabilities) is the new model's at once. Paths of different numbers of
    points, or after a gap of more than 1 s, are not joined.
    """

    def __init__(self) -> None:
        """Begin without paths."""
        self._normal = {name: RunningQuantile(0.5, least=20) for name in LEAST_STEPS}
        self._published: Trajectory | None = None
        self._stamp_ns = 0
        self._source: object = None
        self._offset: _Offset | None = None
        self._left = self._frames = 0
        self.switches = 0

    def join(self, result: Result, stamp_ns: int, source: object) -> Result:
        """Return the path to publish for one that a model (``source``) planned; other results unchanged."""
        if not isinstance(result, Trajectory):
            return result
        gap_s = (stamp_ns - self._stamp_ns) * 1e-9
        before, is_new = self._published, source != self._source
        self._source, self._stamp_ns = source, stamp_ns
        follows = before is not None and 0.0 < gap_s < _LONGEST_GAP_S
        if before is None or not follows or len(before.points_xy_m) != len(result.points_xy_m):
            self._offset, self._published = None, result
            return result
        if is_new:
            self._begin(before, result, gap_s)
        self._left -= 1
        if self._left <= 0:
            self._offset = None
        joined = result
        if self._offset is not None:
            joined = _add(result, self._offset, self._left / self._frames)
        elif not is_new:
            self._learn(before, result)
        self._published = joined
        return joined

    def _begin(self, before: Trajectory, after: Trajectory, gap_s: float) -> None:
        self.switches += 1
        first, second = summarize(before), summarize(after)
        assert first is not None and second is not None
        steps = (
            value / max(self._normal[name].value or 0.0, LEAST_STEPS[name])
            for name, value in changes(first, second).items()
        )
        most = max(1, int(LONGEST_S / gap_s))
        self._frames = self._left = min(max(math.ceil(max(steps, default=1.0)), 1), most)
        speeds = None
        if before.speeds_mps is not None and after.speeds_mps is not None:
            speeds = before.speeds_mps - after.speeds_mps
        self._offset = _Offset(
            before.points_xy_m - after.points_xy_m,
            before.headings_rad - after.headings_rad,
            before.curvature_per_m - after.curvature_per_m,
            before.speed_mps - after.speed_mps,
            speeds,
        )

    def _learn(self, before: Trajectory, after: Trajectory) -> None:
        first, second = summarize(before), summarize(after)
        assert first is not None and second is not None
        for name, value in changes(first, second).items():
            self._normal[name].add(value)


def _add(path: Trajectory, offset: _Offset, share: float) -> Trajectory:
    speeds = path.speeds_mps
    if speeds is not None and offset.speeds_mps is not None:
        speeds = speeds + share * offset.speeds_mps
    return replace(
        path,
        points_xy_m=path.points_xy_m + share * offset.points_xy_m,
        headings_rad=path.headings_rad + share * offset.headings_rad,
        curvature_per_m=path.curvature_per_m + share * offset.curvature_per_m,
        speed_mps=path.speed_mps + share * offset.speed_mps,
        speeds_mps=speeds,
    )
