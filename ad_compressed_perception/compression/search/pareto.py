# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pareto front of measured points: drop, time and size, less is better in each.

Time counts twice, as median and as 99th percentile: on a computer with other load the percentile alone
ranks that load. Differences that a second measurement would not confirm count as none: the figures
are put on a grid of 0.2 points of drop, 3 % of time and 2 % of size. With g the position on the grid,

    a dominates b   when   g(a) <= g(b) in all four and (g(a) < g(b) in one, or
                           g(a) = g(b) and (median, size, drop, name) of a is the lesser)

which is a strict order: nothing dominates itself, and what is dominated is dominated by a member of
the front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DROP_STEP = 0.002
TIME_STEP = math.log(1.03)
SIZE_STEP = math.log(1.02)


@dataclass(frozen=True)
class Point:
    """One measured candidate.

    Attributes:
        name: its name, unique.
        drop: loss of the measure, 0..1.
        median: median time, in any unit or as a ratio, positive.
        tail: 99th percentile, likewise.
        size: bytes or a ratio of bytes, positive.
    """

    name: str
    drop: float
    median: float
    tail: float
    size: float

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """Position on the grid of significant differences."""
        return (
            round(self.drop / DROP_STEP),
            round(math.log(self.median) / TIME_STEP),
            round(math.log(self.tail) / TIME_STEP),
            round(math.log(self.size) / SIZE_STEP),
        )


def dominates(one: Point, other: Point) -> bool:
    """Whether ``one`` is at least as good in all figures and better in one."""
    first, second = one.grid, other.grid
    if first == second:
        return _tie(one) < _tie(other)
    return all(a <= b for a, b in zip(first, second, strict=True))


def _tie(point: Point) -> tuple[float, float, float, str]:
    return (point.median, point.size, point.drop, point.name)


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that none dominates, the fastest first."""
    chosen = [point for point in points if not any(dominates(other, point) for other in points)]
    return sorted(chosen, key=_tie)


def dominator(point: Point, members: Sequence[Point]) -> Point | None:
    """Return the fastest of ``members`` that dominates a point; None where none does."""
    found = [member for member in members if dominates(member, point)]
    return min(found, key=_tie, default=None)
