# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion between world and road coordinates (s, d)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_road_simulation.world.road import STEP_M, CrossSection, Road

BENDS = st.lists(st.floats(-1.0 / 40.0, 1.0 / 40.0), min_size=2, max_size=8)


def winding_road(bends: list[float]) -> Road:
    """Return a road of 40 m for every curvature, changing linearly from one to the next."""
    s = np.arange(0.0, 40.0 * len(bends) + STEP_M, STEP_M)
    return Road(np.interp(s, 40.0 * np.arange(len(bends)), bends), CrossSection())


@settings(max_examples=60, deadline=None)
@given(BENDS, st.floats(0.05, 0.95), st.floats(-8.0, 8.0), st.floats(-5.0, 5.0))
def test_locate_inverts_points(bends: list[float], share: float, d: float, wrong: float) -> None:
    """From (s, d) to the world and back, with a guess of s that is meters off: within a centimeter."""
    road = winding_road(bends)
    s = share * road.length_m
    x, y = road.points(s, d)
    found_s, found_d = road.locate(float(x), float(y), s + wrong)
    assert found_s == pytest.approx(s, abs=0.01)
    assert found_d == pytest.approx(d, abs=0.01)


def test_constant_curvature_is_a_circle() -> None:
    """Every point of a left bend of 50 m radius at d = 10 is 40 m from the center (0, 50)."""
    road = Road(np.full(400, 1.0 / 50.0), CrossSection())
    points = road.points(np.arange(0.0, road.length_m, 3.0), 10.0)
    assert np.allclose(np.hypot(points[:, 0], points[:, 1] - 50.0), 40.0, atol=5e-3)


def test_lane_offsets() -> None:
    """Two lanes of 3 m ahead are right of the centerline, the oncoming one is left of it."""
    section = CrossSection(lanes_ahead=2, lanes_oncoming=1, lane_width_m=3.0)
    assert [section.lane_center_m(lane) for lane in (0, 1)] == [-1.5, -4.5]
    assert section.lane_center_m(0, oncoming=True) == 1.5
    assert (section.right_m, section.left_m) == (-6.0, 3.0)
