# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Roadside objects: houses and lamps in towns, trees and bushes in the country."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.world.road import Road
from ad_road_simulation.world.scene import RoadsideObject, RoadsideObjectKind

_WALLS = ((150, 170, 190), (120, 140, 170), (90, 100, 150), (190, 195, 200), (140, 150, 150), (80, 95, 115))
_LEAVES = ((40, 95, 55), (35, 80, 60), (50, 110, 70), (40, 85, 95), (30, 70, 45))
_STEEL = (95, 95, 90)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RoadsideObjects:
    """Roadside objects by ascending s.

    Attributes:
        s_m: (N,) positions along the road.
        objects: (N) objects.
    """

    s_m: Array
    objects: tuple[RoadsideObject, ...]

    def between(self, s_from_m: float, s_to_m: float) -> tuple[RoadsideObject, ...]:
        """Return the objects of a road segment."""
        low, high = np.searchsorted(self.s_m, (s_from_m, s_to_m))
        return self.objects[low:high]


@dataclass
class _Candidate:
    """A roadside object in road coordinates before the overlap check."""

    kind: RoadsideObjectKind
    s_m: float
    d_m: float
    length_m: float
    width_m: float
    height_m: float
    color_bgr: tuple[int, int, int]


def random_roadside_objects(rng: np.random.Generator, road: Road) -> RoadsideObjects:
    """Return the objects of alternating town and country segments, none on sidewalk or carriageway."""
    candidates: list[_Candidate] = []
    at, in_town = 0.0, bool(rng.uniform() < 0.6)
    while at < road.length_m:
        end = min(at + rng.uniform(120.0, 350.0), road.length_m)
        for side in (-1.0, 1.0):
            candidates += _town(rng, road, at, end, side) if in_town else _country(rng, road, at, end, side)
        at, in_town = end, not in_town
    candidates.sort(key=lambda candidate: candidate.s_m)
    return _without_overlaps(rng, road, candidates)


def _edge(road: Road, side: float) -> float:
    """Return the distance from the centerline to the outer edge of the sidewalk on one side."""
    section = road.cross_section
    return (
        (section.left_m if side > 0 else -section.right_m) + section.curb_width_m + section.sidewalk_width_m
    )


def _town(rng: np.random.Generator, road: Road, start: float, end: float, side: float) -> list[_Candidate]:
    """Return houses along a street, lamps between sidewalk and houses, and a few trees."""
    candidates, edge = [], _edge(road, side)
    at = start + rng.uniform(0.0, 10.0)
    while at < end - 10.0:
        length, depth = rng.uniform(9.0, 24.0), rng.uniform(8.0, 13.0)
        height = rng.uniform(4.5, 9.0) if rng.uniform() < 0.6 else rng.uniform(9.0, 20.0)
        d = side * (edge + rng.uniform(1.0, 6.0) + 0.5 * depth)
        wall = _shade(rng, _WALLS)
        candidates.append(_Candidate("building", at + 0.5 * length, d, length, depth, height, wall))
        at += length + (rng.uniform(0.5, 3.0) if rng.uniform() < 0.7 else rng.uniform(6.0, 20.0))
    for s in np.arange(start + rng.uniform(0.0, 30.0), end, 35.0):
        candidates.append(
            _Candidate("lamp", float(s), side * (edge + 0.3), 0.2, 0.2, rng.uniform(5.5, 8.0), _STEEL)
        )
    for s in rng.uniform(start, end, int((end - start) / 60.0)):
        candidates.append(_plant(rng, "tree", float(s), side, edge + 0.3))
    return candidates


def _country(rng: np.random.Generator, road: Road, start: float, end: float, side: float) -> list[_Candidate]:
    """Return trees and bushes with random density, and sometimes a single house."""
    candidates, edge = [], _edge(road, side)
    density = rng.uniform(0.02, 0.12)
    for s in rng.uniform(start, end, int((end - start) * density)):
        kind: RoadsideObjectKind = "tree" if rng.uniform() < 0.6 else "bush"
        candidates.append(_plant(rng, kind, float(s), side, edge + 0.5 + rng.exponential(7.0)))
    if rng.uniform() < 0.4 and end - start > 60.0:
        s, d = rng.uniform(start + 20.0, end - 20.0), side * (edge + rng.uniform(10.0, 25.0))
        candidates.append(
            _Candidate("building", s, d, 14.0, 10.0, rng.uniform(4.5, 8.0), _shade(rng, _WALLS))
        )
    return candidates


def _plant(
    rng: np.random.Generator, kind: RoadsideObjectKind, s: float, side: float, beyond: float
) -> _Candidate:
    """Return a plant whose crown begins at a distance from the centerline."""
    crown, height = (
        (rng.uniform(2.2, 5.0), rng.uniform(4.0, 11.0))
        if kind == "tree"
        else (rng.uniform(0.8, 2.2), rng.uniform(0.6, 1.8))
    )
    d = side * (beyond + 0.5 * crown)
    return _Candidate(kind, s, d, crown, crown, height, _shade(rng, _LEAVES))


def _shade(rng: np.random.Generator, colors: tuple[tuple[int, int, int], ...]) -> tuple[int, int, int]:
    """Return one of the colors, a little lighter or darker."""
    b, g, r = colors[int(rng.integers(len(colors)))]
    light = rng.uniform(0.8, 1.2)
    return min(255, int(b * light)), min(255, int(g * light)), min(255, int(r * light))


def _without_overlaps(rng: np.random.Generator, road: Road, candidates: list[_Candidate]) -> RoadsideObjects:
    """Place the objects in the world, without those that overlap the road anywhere along it."""
    if not candidates:
        return RoadsideObjects(np.zeros(0), ())
    s = np.array([candidate.s_m for candidate in candidates])
    d = np.array([candidate.d_m for candidate in candidates])
    half = 0.5 * np.array([(candidate.length_m, candidate.width_m) for candidate in candidates])
    middle, heading = road.points(s, d), road.heading(s)
    along = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    # Distances of center, corners and edge midpoints from the centerline, sampled every 4 m.
    signs = np.array([(a, b) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)])
    outline = (
        middle[:, None]
        + (signs[:, 0] * half[:, :1])[..., None] * along[:, None]
        + (signs[:, 1] * half[:, 1:])[..., None] * across[:, None]
    )
    center = road.points(np.arange(0.0, road.length_m, 4.0))
    flat = outline.reshape(-1, 2)
    # |p - c|^2 by one matrix product.
    squared = (flat**2).sum(1)[:, None] - 2.0 * flat @ center.T + (center**2).sum(1)
    nearest = squared.min(axis=1).reshape(len(candidates), 9)
    least = np.where(d > 0.0, _edge(road, 1.0), _edge(road, -1.0))
    # Where another part of the road is nearer, its side is unknown: use the wider side.
    least = np.where(nearest[:, 4] < (np.abs(d) - 1.0) ** 2, max(_edge(road, 1.0), _edge(road, -1.0)), least)
    room = np.sqrt(np.maximum(nearest.min(axis=1), 0.0)) >= least - 0.05
    seeds = rng.integers(0, 2**31, len(candidates))
    kept = np.flatnonzero(room)
    roadside_objects = tuple(
        RoadsideObject(
            kind=candidates[i].kind,
            x_m=float(middle[i, 0]),
            y_m=float(middle[i, 1]),
            heading_rad=float(heading[i]),
            length_m=float(candidates[i].length_m),
            width_m=float(candidates[i].width_m),
            height_m=float(candidates[i].height_m),
            color_bgr=candidates[i].color_bgr,
            seed=int(seeds[i]),
        )
        for i in kept
    )
    return RoadsideObjects(s[kept], roadside_objects)
