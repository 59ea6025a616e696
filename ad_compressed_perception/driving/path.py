# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A path given by its curvature over arc length, as the planning network outputs it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KNOTS_M = np.arange(0.0, 41.0, 4.0)
"""Arc lengths from base_link at which the network outputs the curvature: 0, 4, ..., 40 m."""
_STEP_M = 0.25
_SAME_PLACE_M = 1e-3

Array = NDArray[np.float64]


def path_of_curvature(curvature_per_m: Array, distances_m: Array) -> tuple[Array, Array]:
    """Return (N, 2) points and (N,) headings at arc lengths of the path that begins at the origin along x.

    Heading is the integral of curvature, position the integral of the heading's direction; curvature is
    linear between the knots and constant beyond the last one.

    Args:
        curvature_per_m: (11,) at KNOTS_M, 1/m, left positive.
        distances_m: (N,) arc lengths in meters, not negative.
    """
    end = max(float(np.max(distances_m, initial=0.0)), _STEP_M)
    arc = np.linspace(0.0, end, int(np.ceil(end / _STEP_M)) + 1)
    step = arc[1] - arc[0]
    curvature = np.interp(arc, KNOTS_M, np.asarray(curvature_per_m, np.float64))
    heading = np.concatenate(([0.0], np.cumsum(0.5 * (curvature[1:] + curvature[:-1]) * step)))
    middle = 0.5 * (heading[1:] + heading[:-1])
    x = np.concatenate(([0.0], np.cumsum(np.cos(middle) * step)))
    y = np.concatenate(([0.0], np.cumsum(np.sin(middle) * step)))
    points = np.stack([np.interp(distances_m, arc, x), np.interp(distances_m, arc, y)], axis=-1)
    return points, np.interp(distances_m, arc, heading)


def headings_of_points(points_xy_m: Array) -> Array:
    """Return (N,) headings of a path from the origin, where it points along x, over (N, 2) points.

    The tangent of a circle through three points: the directions of the chords before and after a point,
    each weighted by the other's length. At the last point the circle goes on. Points closer together than
    1 mm, as of a standing vehicle, keep the heading before.
    """
    chords = np.diff(np.concatenate([np.zeros((1, 2)), points_xy_m]), axis=0)
    lengths = np.hypot(*chords.T)
    headings = np.zeros(len(points_xy_m))
    moving = np.flatnonzero(lengths > _SAME_PLACE_M)
    if not moving.size:
        return headings
    lengths = lengths[moving]
    directions = np.unwrap(np.arctan2(chords[moving, 1], chords[moving, 0]))
    tangents = directions.copy()
    if len(moving) > 1:
        share = lengths[:-1] / (lengths[:-1] + lengths[1:])
        tangents[:-1] += share * np.diff(directions)
        tangents[-1] = 2.0 * directions[-1] - tangents[-2]
    else:
        tangents[0] *= 2.0  # an arc that begins along x turns by twice its chord's direction
    index = np.searchsorted(moving, np.arange(len(headings)), side="right") - 1
    return np.where(index >= 0, tangents[np.maximum(index, 0)], 0.0)
