# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What of two results of one frame differs beside the measure of their task, for ``adcp parity``.

A path's steering says nothing of the speed it is driven at, F1 at an overlap of a half nothing of boxes that
are all too wide, and the strongest label nothing of its score: a runtime that computes these otherwise is
wrong too. Of a lossy file only contradictions count, as in its verdict.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ad_compressed_perception.core.results import Classification, Result, Trajectory
from ad_compressed_perception.metrics.path_tolerance import is_other_length, is_other_speed

MOST_SPEED_MPS: Final = 0.05
MOST_DISTANCE_M: Final = 0.05
"""Of a point of a path."""
MOST_CLEAR_SHARE: Final = 0.02
"""Of the clear distance, where both see an object; or MOST_DISTANCE_M."""
MOST_PROBABILITY: Final = 0.02
LEAST_MATCHED_IOU: Final = 0.95
"""Mean overlap of matched boxes: two pixels of a box of 80."""
_THRESHOLD, _CONTRADICTION = 0.5, 0.25


def other_values(reference: Result, found: Result, *, is_lossy: bool) -> str:
    """Return what differs beyond the limits, in words; empty where nothing does.

    Args:
        reference: result of the reference.
        found: result of the cell.
        is_lossy: whether its file is another one than the baseline's, or its weights are integers.
    """
    if isinstance(reference, Trajectory) and isinstance(found, Trajectory):
        return _contradiction(reference, found) if is_lossy else _plan(reference, found)
    if isinstance(reference, Classification) and isinstance(found, Classification) and not is_lossy:
        if reference.scores.shape != found.scores.shape:
            return "other scores"
        apart = np.abs(reference.scores.astype(np.float64) - found.scores.astype(np.float64))
        return "" if not apart.size or apart.max() <= MOST_PROBABILITY else f"scores {apart.max():.3g} apart"
    return ""


def _plan(reference: Trajectory, found: Trajectory) -> str:
    clear_m = MOST_DISTANCE_M
    if math.isfinite(reference.clear_distance_m):
        clear_m = max(clear_m, MOST_CLEAR_SHARE * reference.clear_distance_m)
    pairs = [
        ("speed, m/s", reference.speed_mps, found.speed_mps, MOST_SPEED_MPS),
        ("clear distance, m", reference.clear_distance_m, found.clear_distance_m, clear_m),
        *((*one, MOST_PROBABILITY) for one in _probabilities(reference, found)),
    ]
    for name, one, other, most in pairs:
        if not _is_near(one, other, most):
            return f"{name}: {other:.4g}, not {one:.4g}"
    if reference.points_xy_m.shape != found.points_xy_m.shape:
        return "a path of another number of points"
    apart_m = np.linalg.norm(reference.points_xy_m - found.points_xy_m, axis=1)
    if not apart_m.max(initial=0.0) <= MOST_DISTANCE_M:
        return f"a point of the path {apart_m.max():.3g} m apart"
    if (reference.speeds_mps is None) != (found.speeds_mps is None):
        return "speeds along the path on one side only"
    if reference.speeds_mps is not None and found.speeds_mps is not None:
        apart_mps = np.abs(reference.speeds_mps - found.speeds_mps)
        if not apart_mps.max(initial=0.0) <= MOST_SPEED_MPS:
            return f"a speed along the path {apart_mps.max():.3g} m/s apart"
    return ""


def _contradiction(reference: Trajectory, found: Trajectory) -> str:
    """Return what a vehicle would do otherwise; the tolerances are those of the verdict."""
    if is_other_speed(reference, found):
        return f"speed, m/s: {found.speed_mps:.4g}, not {reference.speed_mps:.4g}"
    if is_other_length(reference, found):
        return "a path of another length"
    for name, one, other in _probabilities(reference, found):
        is_crossed = (one > _THRESHOLD) != (other > _THRESHOLD) and abs(one - other) > _CONTRADICTION
        if math.isnan(one) != math.isnan(other) or is_crossed:
            return f"{name}: {other:.4g}, not {one:.4g}"
    return ""


def _probabilities(reference: Trajectory, found: Trajectory) -> list[tuple[str, float, float]]:
    return [
        ("probability of a collision", reference.collision_probability, found.collision_probability),
        ("probability of a stop", reference.stop_probability, found.stop_probability),
        (
            "probability that it may proceed after a stop",
            reference.proceed_after_stop_probability,
            found.proceed_after_stop_probability,
        ),
    ]


def _is_near(one: float, other: float, most: float) -> bool:
    """Whether two numbers are near; NaN and infinity are near to themselves only."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return one == other or (math.isnan(one) and math.isnan(other))
    return abs(one - other) <= most
