# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a planned path agrees with the baseline's: a tolerance that grows with distance, and the length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.metrics.path_offset import lateral_offsets_m

REACH_TOLERANCE_M = 1.0
"""Difference of the lengths of two paths that always agrees, meters."""

REACH_TOLERANCE_SHARE = 0.2
"""Further difference of the lengths that agrees, as a share of the baseline's."""


SPEED_TOLERANCE_MPS = 0.5
"""Difference of two commanded speeds that always agrees, m/s."""

SPEED_TOLERANCE_SHARE = 0.1
"""Further difference of the speeds that agrees, as a share of the baseline's."""


def is_offset(baseline: Trajectory, variant: Trajectory, tolerance_m: float, tolerance_per_m: float) -> bool:
    """Whether a point of the variant's path lies beside the baseline's by more than the tolerance.

    A path that leads backwards is beside nothing, for the baseline's goes on as a straight line on both
    sides: the ends may lie apart by no more than lateral tolerance and difference of length allow together.

    Args:
        baseline: the reference.
        variant: compared with it.
        tolerance_m: lateral offset that agrees at the vehicle, meters.
        tolerance_per_m: by how much it grows for each meter of distance from the vehicle.
    """
    points = np.asarray(variant.points_xy_m, np.float64)
    offsets_m = np.abs(lateral_offsets_m(baseline.points_xy_m, baseline.headings_rad, points))
    allowed_m = tolerance_m + tolerance_per_m * np.linalg.norm(points, axis=1)
    ends_m = float(np.linalg.norm(points[-1] - baseline.points_xy_m[-1]))
    reach_m = REACH_TOLERANCE_M + REACH_TOLERANCE_SHARE * _length_m(baseline.points_xy_m)
    return bool((offsets_m > allowed_m).any()) or ends_m > reach_m + float(allowed_m[-1])


def is_other_length(baseline: Trajectory, variant: Trajectory) -> bool:
    """Whether the paths differ in length: one that ends at once is beside nothing."""
    reach_m, found_m = (_length_m(one.points_xy_m) for one in (baseline, variant))
    return abs(found_m - reach_m) > REACH_TOLERANCE_M + REACH_TOLERANCE_SHARE * reach_m


def is_other_speed(baseline: Trajectory, variant: Trajectory) -> bool:
    """Whether the speeds of paths spaced by distance differ; a path spaced by time has another length then."""
    if baseline.speeds_mps is not None and variant.speeds_mps is not None:
        return False
    allowed_mps = SPEED_TOLERANCE_MPS + SPEED_TOLERANCE_SHARE * abs(baseline.speed_mps)
    return abs(variant.speed_mps - baseline.speed_mps) > allowed_mps


def _length_m(points_xy_m: NDArray[np.float64]) -> float:
    """Return the length of a path from the vehicle, at the origin, over its points."""
    points = np.concatenate([np.zeros((1, 2)), np.asarray(points_xy_m, np.float64)])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
