# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Static layout of a road world: shape, markings, traffic control and weather, all from the seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ad_road_simulation.world.layout import RUN_IN_M, Layout, RouteError, RouteOptions, make_layout
from ad_road_simulation.world.traffic_control import CYCLE_S, Signal, signal_heads
from ad_road_simulation.world.weather import NAMES, SHARES, random_weather

SEEDS = range(12)


@pytest.fixture(scope="module")
def layouts() -> list[Layout]:
    return [make_layout(seed, RouteOptions()) for seed in SEEDS]


def test_equal_seeds_give_equal_layouts(layouts: list[Layout]) -> None:
    """A rebuilt layout is equal in every value; another seed gives another road."""
    again = make_layout(3, RouteOptions())
    assert again.markings == layouts[3].markings
    assert again.roadside_objects.objects == layouts[3].roadside_objects.objects
    assert again.traffic_control == layouts[3].traffic_control
    assert again.weather == layouts[3].weather
    s = np.arange(0.0, again.road.length_m, 5.0)
    assert np.array_equal(again.road.points(s), layouts[3].road.points(s))
    assert not np.array_equal(again.road.points(s), layouts[4].road.points(s))


def test_weather_and_traffic_do_not_change_the_road(layouts: list[Layout]) -> None:
    """The same road can be driven in rain: an option changes only its own part."""
    wet = make_layout(3, RouteOptions(weather="rain", traffic=0.2))
    assert wet.weather.name == "rain"
    assert wet.weather.rain > 0.0
    assert wet.traffic_control == layouts[3].traffic_control
    assert wet.roadside_objects.objects == layouts[3].roadside_objects.objects


def test_curvature_is_plausible(layouts: list[Layout]) -> None:
    """No radius below 40 m, most above 60 m, headings within 120 degrees of the start."""
    sharpest = []
    for layout in layouts:
        s = np.arange(0.0, layout.road.length_m, 0.5)
        curvature = np.abs(layout.road.curvature(s))
        assert np.abs(layout.road.heading(s)).max() < np.radians(120.0)
        # A transition of 15 m to 1/40 grows by 1/1200 in half a meter; a jump would be a step in steering.
        assert np.abs(np.diff(curvature)).max() < 1.0 / 600.0
        sharpest.append(curvature)
    everywhere = np.concatenate(sharpest)
    assert everywhere.max() <= 1.0 / 40.0 + 1e-9
    assert np.mean(everywhere > 1.0 / 60.0) < 0.1
    assert np.mean(everywhere < 1e-6) < 0.7


def test_length_is_from_start_to_finish() -> None:
    layout = make_layout(0, RouteOptions(length_m=300.0))
    assert layout.finish_s_m == RUN_IN_M + 300.0
    assert layout.road.length_m == pytest.approx(layout.finish_s_m + 150.0)


def test_traffic_control_density_is_plausible(layouts: list[Layout]) -> None:
    """Twelve roads of 1 km: about 40 signals, 12 stop signs and 50 crossings without signal, 60 m apart."""
    controls = [layout.traffic_control for layout in layouts]
    assert 25 <= sum(len(control.signals) for control in controls) <= 55
    assert 8 <= sum(len(control.stops) for control in controls) <= 20
    assert 30 <= sum(sum(c.signal is None for c in control.crossings) for control in controls) <= 60
    for control in controls:
        places = [signal.stop_s_m for signal in control.signals] + [stop.stop_s_m for stop in control.stops]
        places += [crossing.s_from_m for crossing in control.crossings if crossing.signal is None]
        assert np.diff(sorted(places)).min(initial=100.0) > 60.0


def test_a_signal_has_its_crossing_and_heads(layouts: list[Layout]) -> None:
    """Stop line, then the crossing, then the heads 12 m beyond the line, which face it."""
    for layout in layouts:
        for signal in layout.traffic_control.signals:
            (crossing,) = (c for c in layout.traffic_control.crossings if c.signal == signal.ident)
            assert signal.stop_s_m + 0.4 < crossing.s_from_m
            assert crossing.s_to_m < signal.oncoming_stop_s_m
            beside, above, *_ = signal_heads(signal, layout.road, 0.0)
            s, d = layout.road.locate(beside.x_m, beside.y_m, signal.stop_s_m)
            assert s - signal.stop_s_m == pytest.approx(12.0, abs=0.05)
            assert d < layout.road.cross_section.right_m - layout.road.cross_section.curb_width_m
            assert (beside.height_m, above.height_m) == (3.2, 5.0)
            back = above.heading_rad - float(layout.road.heading(s))
            assert np.cos(back) == pytest.approx(-1.0, abs=1e-3)


def test_signal_cycle() -> None:
    """Green 12 s, yellow 3 s, red 9 s, starting at the phase and periodic."""
    signal = Signal(0, 100.0, 106.0, phase_s=5.0)
    states = [signal.state(t - 5.0) for t in (5.1, 11.9, 12.1, 14.9, 15.1, 23.9, 24.1)]
    assert states == ["green", "green", "yellow", "yellow", "red", "red", "green"]
    assert signal.red_left_s(17.0 - 5.0) == pytest.approx(7.0)
    assert signal.red_left_s(3.0 - 5.0 + CYCLE_S) == 0.0


def test_markings_stay_on_the_carriageway(layouts: list[Layout]) -> None:
    """Edge lines are 0.15 m inside the curb, crossings extend from curb to curb, no line overlaps them."""
    for layout in layouts:
        section = layout.road.cross_section
        assert min(mark.d_from_m for mark in layout.markings) == pytest.approx(section.right_m)
        assert max(mark.d_to_m for mark in layout.markings) == pytest.approx(section.left_m)
        lines = [mark for mark in layout.markings if mark.kind in ("solid", "dashed")]
        assert min(line.d_from_m for line in lines) == pytest.approx(section.right_m + 0.15)
        for crossing in layout.traffic_control.crossings:
            middle = crossing.middle_m
            assert not [line for line in lines if line.s_from_m < middle < line.s_to_m]


def test_nothing_stands_on_the_road(layouts: list[Layout]) -> None:
    """The footprint of every roadside object is outside the sidewalk, also in bends."""
    for layout in layouts[:5]:
        section = layout.road.cross_section
        beyond = section.curb_width_m + section.sidewalk_width_m
        for s, item in zip(layout.roadside_objects.s_m, layout.roadside_objects.objects, strict=True):
            along = np.array([np.cos(item.heading_rad), np.sin(item.heading_rad)])
            across = np.array([-along[1], along[0]])
            for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1)):
                x, y = (item.x_m, item.y_m) + 0.5 * (a * item.length_m * along + b * item.width_m * across)
                _, d = layout.road.locate(float(x), float(y), float(s))
                assert d < section.right_m - beyond + 0.3 or d > section.left_m + beyond - 0.3


def test_weather_is_drawn_with_its_shares() -> None:
    """A thousand draws have each weather within 5 percent of its share (3 sigma is at most 4.7)."""
    rng = np.random.default_rng(0)
    names = [random_weather(rng, None, 0.0).name for _ in range(1000)]
    for name, share in zip(NAMES, SHARES, strict=True):
        assert names.count(name) / 1000 == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_weather_has_possible_values(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        weather = random_weather(rng, name, 0.0)
        assert weather.name == name
        assert 0.0 < weather.brightness <= 1.0
        assert 0.0 <= weather.rain <= 1.0
        assert 0.0 <= weather.glare <= 1.0
        assert 0.0 < weather.sun_elevation_rad < np.pi / 2.0
        assert (weather.rain > 0.0) == (name == "rain")
        assert (weather.glare > 0.0) == (name == "glare")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"length_m": 50.0}, "length_m is 50: use 200"),
        ({"traffic": -1.0}, "traffic is -1: use 0"),
        ({"weather": "fog"}, "'fog' is not known: use one of day, dusk, rain, glare"),
        ({"lanes": (3, 1)}, r"lanes are \(3, 1\): use 1 or 2"),
    ],
)
def test_invalid_route_options_raise(wrong: dict, named: str) -> None:
    with pytest.raises(RouteError, match=named):
        RouteOptions(**wrong)


def test_options_are_plain_values() -> None:
    """Equal options are equal, so that a route can be named by seed and options."""
    assert dataclasses.asdict(RouteOptions()) == dataclasses.asdict(RouteOptions(1000.0, 1.0, None, None))
