# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Road markings: lines, stop lines and crossings, as polygons that follow the road's curvature."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer.framebuffer import Framebuffer
from ad_road_simulation.renderer.sprites import Viewpoint
from ad_road_simulation.world.road import Road
from ad_road_simulation.world.scene import Marking, Scene

Array = NDArray[np.float64]

_NEAR_M, _FAR_M = -8.0, 120.0
"""Range along the road, relative to the ego, in which markings are drawn."""
_DASH_M, _GAP_M = 3.0, 6.0
_STRIPE_M = 0.5
_PIECE_M = 6.0
_SHARES = np.array([0.0, 1 / 3, 2 / 3, 1.0])

# World polygons of a road's markings, computed once per marking.
_CACHE: WeakKeyDictionary[Road, dict[Marking, tuple[list[float], Array]]] = WeakKeyDictionary()


def marking_polygons(marking: Marking, line_width_m: float) -> Array:
    """Return (N, 8, 2) polygons of a marking's paint in s and d, by ascending s.

    Each has four points per side, so that it follows the road's curvature.

    Args:
        marking: of any kind.
        line_width_m: of lines along the road.
    """
    half = 0.5 * line_width_m
    right, left = np.array([marking.d_from_m - half]), np.array([marking.d_from_m + half])
    starts, stops = np.array([marking.s_from_m]), np.array([marking.s_to_m])
    if marking.kind == "solid":
        edges = np.append(np.arange(marking.s_from_m, marking.s_to_m - 1e-6, _PIECE_M), marking.s_to_m)
        starts, stops = edges[:-1], edges[1:]
    elif marking.kind == "dashed":
        starts = np.arange(marking.s_from_m, marking.s_to_m - 1e-6, _DASH_M + _GAP_M)
        stops = np.minimum(starts + _DASH_M, marking.s_to_m)
    elif marking.kind == "crossing":
        right = np.arange(marking.d_from_m, marking.d_to_m - 0.5 * _STRIPE_M, 2.0 * _STRIPE_M)
        left = np.minimum(right + _STRIPE_M, marking.d_to_m)
    else:
        right, left = np.array([marking.d_from_m]), np.array([marking.d_to_m])
    count = len(starts) * len(right)
    forth = starts[:, None] + (stops - starts)[:, None] * _SHARES
    s = np.broadcast_to(np.concatenate([forth, forth[:, ::-1]], axis=1), (count, 8))
    d = np.broadcast_to(np.repeat(np.stack([right, left], axis=1), 4, axis=1), (count, 8))
    return np.stack([s, d], axis=-1)


def _world_polygons(road: Road, marking: Marking) -> tuple[list[float], Array]:
    """Return the N start positions along the road and the (N, 8, 2) polygons in the world."""
    cached = _CACHE.setdefault(road, {})
    if marking not in cached:
        pieces = marking_polygons(marking, road.cross_section.line_width_m)
        cached[marking] = (
            pieces[:, :, 0].min(axis=1, initial=np.inf).tolist(),
            road.points(pieces[..., 0], pieces[..., 1]),
        )
    return cached[marking]


def paint_markings(
    framebuffer: Framebuffer, scene: Scene, view: Viewpoint, color: tuple[float, float, float], material: int
) -> None:
    """Draw the markings near the ego.

    Args:
        framebuffer: to draw into.
        scene: with the road and its markings.
        view: of the camera.
        color: of the paint.
        material: of the paint.
    """
    low, high = scene.ego_s_m + _NEAR_M, scene.ego_s_m + _FAR_M
    # Lines along the road never overlap each other, but a stop line or a crossing may touch them. Groups are
    # filled separately, as fillPoly leaves overlaps of one call unfilled.
    groups: dict[str, list[Array]] = {"along": [], "stop_line": [], "crossing": []}
    for marking in scene.markings:
        if marking.s_to_m > low and marking.s_from_m < high:
            starts, polygons = _world_polygons(scene.road, marking)
            first, last = bisect_left(starts, low - _PIECE_M), bisect_left(starts, high)
            name = "along" if marking.kind in ("solid", "dashed") else marking.kind
            groups[name].append(polygons[first:last])
    pieces = [polygons for group in groups.values() for polygons in group]
    if not pieces:
        return
    # All are projected in one call.
    outlines = iter(framebuffer.ground_outlines(view.local(np.concatenate(pieces))))
    for group in groups.values():
        count = sum(len(polygons) for polygons in group)
        seen = [outline for outline in islice(outlines, count) if outline is not None]
        framebuffer.fill_ground(seen, color, material)
