# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Displacement of a planned trajectory from the ground truth, point by point."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.path_offset import checked_points

Points = NDArray[np.float64]


def displacements_m(
    ground_truth_xy_m: Points, ground_truth_step_s: float, path_xy_m: Points, path_step_s: float
) -> Points:
    """Return the distance of each ground-truth point from the path's position at the same time.

    The mean is the average, the last one the final displacement error (ADE and FDE: Pellegrini et al.,
    "You'll never walk alone", ICCV 2009; Alahi et al., "Social LSTM", CVPR 2016). A path without times
    (``path_step_s`` is NaN) is compared at the ground truth's arc lengths and extended straight beyond its
    end. A path that ends in time before the ground truth is compared up to its end.

    Args:
        ground_truth_xy_m: (N, 2) meters, at 1, 2, ... times ``ground_truth_step_s`` from now, when the
            vehicle is at the origin.
        ground_truth_step_s: seconds.
        path_xy_m: (M, 2) meters, likewise.
        path_step_s: seconds, or NaN.

    Returns:
        (K,) meters, 1 <= K <= N.

    Raises:
        DataError: no points, or coordinates that are not finite.
    """
    ground_truth = checked_points(ground_truth_xy_m, "ground-truth")
    path = np.concatenate([np.zeros((1, 2)), checked_points(path_xy_m, "planned")])
    if math.isfinite(path_step_s):
        known = np.arange(len(path)) * path_step_s
        samples = np.arange(1, len(ground_truth) + 1) * ground_truth_step_s
        # Half a thousandth of slack: 0.15 three times is not 0.45 in binary.
        samples = samples[: max(1, int(np.sum(samples <= known[-1] + 0.0005 * ground_truth_step_s)))]
    else:
        known = _arc_m(path)
        samples = _arc_m(np.concatenate([np.zeros((1, 2)), ground_truth]))[1:]
    reached = np.stack([np.interp(samples, known, path[:, axis]) for axis in (0, 1)], axis=1)
    if not math.isfinite(path_step_s):
        reached += np.maximum(samples - known[-1], 0.0)[:, None] * _last_direction(path)
    return np.asarray(np.linalg.norm(reached - ground_truth[: len(samples)], axis=1))


def _arc_m(points: Points) -> Points:
    return np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))


def _last_direction(path: Points) -> Points:
    """Unit vector of the last step of nonzero length; along x where there is none."""
    steps = np.diff(path, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    moving = np.flatnonzero(lengths > 1e-9)
    return steps[moving[-1]] / lengths[moving[-1]] if moving.size else np.array([1.0, 0.0])
