# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Road markings: lines along the road, interrupted at crossings, stop lines and crossings."""

from __future__ import annotations

import numpy as np

from ad_road_simulation.world.road import Road
from ad_road_simulation.world.scene import Marking, MarkingKind
from ad_road_simulation.world.traffic_control import STOP_LINE_M, TrafficControl

_EDGE_M = 0.15
"""Distance between the curb and the edge line."""
_LEAST_PIECE_M = 2.0


def road_markings(
    rng: np.random.Generator, road: Road, traffic_control: TrafficControl
) -> tuple[Marking, ...]:
    """Return all markings of a road; lines along it end half a meter before crossings and stop lines."""
    section = road.cross_section
    gaps = [(c.s_from_m - 0.5, c.s_to_m + 0.5) for c in traffic_control.crossings]
    for signal in traffic_control.signals:
        gaps.append((signal.stop_s_m, signal.oncoming_stop_s_m))
    pieces = _pieces(0.0, road.length_m, gaps)
    half = 0.5 * section.line_width_m
    right, left = section.right_m + _EDGE_M, section.left_m - _EDGE_M

    lines: list[tuple[MarkingKind, float, float]] = [
        ("solid", right, right + section.line_width_m),
        ("solid", left - section.line_width_m, left),
    ]
    lanes = [-n * section.lane_width_m for n in range(1, section.lanes_ahead)]
    lanes += [n * section.lane_width_m for n in range(1, section.lanes_oncoming)]
    lines += [("dashed", d - half, d + half) for d in lanes]
    if rng.uniform() < 0.5 or section.lanes_ahead + section.lanes_oncoming > 2:
        # Two solid lines with a gap of half a line's width between them.
        lines += [("solid", 0.5 * half, 2.5 * half), ("solid", -2.5 * half, -0.5 * half)]
    else:
        lines.append(("dashed", -half, half))

    markings = [Marking(kind, s0, s1, d0, d1) for kind, d0, d1 in lines for s0, s1 in pieces]
    for signal in traffic_control.signals:
        far = signal.oncoming_stop_s_m
        markings.append(Marking("stop_line", signal.stop_s_m, signal.stop_s_m + STOP_LINE_M, right, 0.0))
        markings.append(Marking("stop_line", far - STOP_LINE_M, far, 0.0, left))
    for stop in traffic_control.stops:
        markings.append(Marking("stop_line", stop.stop_s_m, stop.stop_s_m + STOP_LINE_M, right, 0.0))
    for crossing in traffic_control.crossings:
        markings.append(
            Marking("crossing", crossing.s_from_m, crossing.s_to_m, section.right_m, section.left_m)
        )
    return tuple(markings)


def _pieces(s_from_m: float, s_to_m: float, gaps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the interval without the gaps, which may overlap."""
    pieces, at = [], s_from_m
    for low, high in sorted(gaps):
        if low - at > _LEAST_PIECE_M:
            pieces.append((at, low))
        at = max(at, high)
    if s_to_m - at > _LEAST_PIECE_M:
        pieces.append((at, s_to_m))
    return pieces
