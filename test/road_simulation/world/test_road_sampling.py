# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training scenes: reproducible, varied, and with enough reasons to stop."""

from __future__ import annotations

import numpy as np
import pytest

from ad_road_simulation.world.ego import MIDDLE_M, VEHICLE
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.sampling import Sample, training_samples


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return list(training_samples(7, 250))


def test_equal_seeds_give_equal_samples(samples: list[Sample]) -> None:
    """The first 3 of 250 samples equal 3 samples, so that a dataset can be generated in parts."""
    for sample, again in zip(samples, training_samples(7, 3), strict=False):
        assert sample.scene.actors == again.scene.actors
        assert sample.scene.ego_x_m == again.scene.ego_x_m
        assert np.array_equal(sample.reference.curvature_per_m, again.reference.curvature_per_m)
    (other,) = training_samples(8, 1)
    assert other.scene.ego_x_m != samples[0].scene.ego_x_m


def test_the_ego_is_near_its_lane(samples: list[Sample]) -> None:
    """Offsets spread by 0.35 m and never beyond 1.2, headings by 0.04 rad, speeds over 0-13 m/s."""
    offsets, turned, speeds = [], [], []
    for sample in samples:
        scene = sample.scene
        section = scene.road.cross_section
        _, d = scene.road.locate(scene.ego_x_m, scene.ego_y_m, scene.ego_s_m)
        offsets.append(d - section.lane_center_m(section.lanes_ahead - 1))
        turned.append(scene.ego_heading_rad - float(scene.road.heading(scene.ego_s_m)))
        speeds.append(scene.ego_speed_mps)
    assert np.abs(offsets).max() <= 1.21
    assert np.std(offsets) == pytest.approx(0.35, rel=0.15)
    assert np.std(turned) == pytest.approx(0.04, rel=0.15)
    assert 0.0 <= min(speeds) < 1.0
    assert 12.0 < max(speeds) <= 13.0


def test_there_are_enough_reasons_to_stop(samples: list[Sample]) -> None:
    """Every kind of reason, free roads, and egos that stand close before a line."""
    kinds = [sample.reference.reasons[0].kind if sample.reference.reasons else "none" for sample in samples]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert shares["light"] > 0.06
    assert shares["crossing"] > 0.04
    assert shares["sign"] > 0.02
    assert 0.2 < shares["actor"] < 0.6
    assert 0.15 < shares["none"] < 0.5
    standing = [s for s in samples if s.scene.ego_speed_mps == 0.0 and s.reference.clear_distance_m < 4.0]
    assert len(standing) >= 3


def test_worlds_differ(samples: list[Sample]) -> None:
    """250 scenes come from 10 worlds, of several weathers and profiles."""
    assert len({sample.scene.seed for sample in samples}) == 10
    assert len({sample.scene.weather.name for sample in samples}) >= 3
    assert len({sample.scene.road.cross_section.lanes_ahead for sample in samples}) == 2


def test_no_vehicle_overlaps_the_ego(samples: list[Sample]) -> None:
    """No vehicle's center is within the ego's body."""
    for sample in samples:
        scene = sample.scene
        cos, sin = np.cos(scene.ego_heading_rad), np.sin(scene.ego_heading_rad)
        for actor in scene.actors:
            dx, dy = actor.x_m - scene.ego_x_m, actor.y_m - scene.ego_y_m
            ahead, left = dx * cos + dy * sin - MIDDLE_M, dy * cos - dx * sin
            if actor.kind != "person":
                assert abs(ahead) > 0.5 * VEHICLE.length_m or abs(left) > 0.5 * VEHICLE.width_m


def test_options_reach_the_worlds() -> None:
    for sample in training_samples(1, 3, RouteOptions(weather="dusk", lanes=(1, 1))):
        assert sample.scene.weather.name == "dusk"
        assert sample.scene.road.cross_section.lanes_oncoming == 1
