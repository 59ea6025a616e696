# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Geometry of planned paths: resampling by arc length and lateral offsets from a path."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError


def checked_points(points_xy_m: NDArray[np.float64], whose: str) -> NDArray[np.float64]:
    """Return the points as (N, 2) float64, N >= 1.

    Raises:
        DataError: no points, another shape, or a coordinate that is not finite; ``whose`` names the
            path.
    """
    points = np.asarray(points_xy_m, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or points.shape[0] == 0:
        raise DataError(f"the {whose} path needs points of shape (N, 2) with N >= 1, not {points.shape}")
    if not np.isfinite(points).all():
        raise DataError(f"the {whose} path has a coordinate that is not a finite number")
    return points


def resample_by_arc_length(points_xy_m: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return ``count`` points at equal arc-length steps from the first to the last point.

    The length is that of the polyline, s_k = sum_i<k |p_(i+1) - p_i|; points lie on it by linear
    interpolation. A path of no length gives its first point ``count`` times.

    Args:
        points_xy_m: (N, 2) float64, meters.
        count: number of points, at least 1.

    Returns:
        (count, 2) float64, meters.
    """
    arc_m = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points_xy_m, axis=0), axis=1))))
    samples_m = np.linspace(0.0, arc_m[-1], count)
    return np.stack([np.interp(samples_m, arc_m, points_xy_m[:, axis]) for axis in (0, 1)], axis=1)


def lateral_offsets_m(
    path_xy_m: NDArray[np.float64],
    headings_rad: NDArray[np.float64],
    points_xy_m: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return each point's lateral offset from a path: d in the path's Frenet frame, left positive.

    d is the distance from the point to the nearest point of the polyline, with the sign of
    cross(tangent, point - nearest). Before the path's start and beyond its end the first and the
    last segment go on as straight lines, so that a path that is merely longer is not offset.
    (Frenet frame of a reference path: Werling et al., "Optimal trajectory generation for dynamic
    street scenarios in a Frenet Frame", ICRA 2010.)

    Args:
        path_xy_m: (N, 2) float64, the reference path, meters.
        headings_rad: (N,) float64, used only where the path has no length and hence no tangent.
        points_xy_m: (M, 2) float64, meters.

    Returns:
        (M,) float64, meters.
    """
    steps = np.diff(path_xy_m, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    moving = lengths > 1e-9
    if not moving.any():
        known = len(headings_rad) > 0 and bool(np.isfinite(headings_rad[0]))
        heading = float(headings_rad[0]) if known else 0.0
        relative = points_xy_m - path_xy_m[0]
        return np.asarray(np.cos(heading) * relative[:, 1] - np.sin(heading) * relative[:, 0])
    starts, lengths = path_xy_m[:-1][moving], lengths[moving]
    tangents = steps[moving] / lengths[:, None]

    relative = points_xy_m[:, None, :] - starts[None, :, :]  # (M, S, 2)
    along = np.einsum("msk,sk->ms", relative, tangents)
    across = tangents[None, :, 0] * relative[:, :, 1] - tangents[None, :, 1] * relative[:, :, 0]
    beside = np.clip(along, 0.0, lengths[None, :])
    distance = np.hypot(along - beside, across)

    rows = np.arange(len(points_xy_m))
    nearest = np.argmin(distance, axis=1)
    offset = np.where(across[rows, nearest] < 0.0, -1.0, 1.0) * distance[rows, nearest]
    before = (nearest == 0) & (along[rows, nearest] < 0.0)
    beyond = (nearest == len(lengths) - 1) & (along[rows, nearest] > lengths[nearest])
    return np.asarray(np.where(before | beyond, across[rows, nearest], offset))
