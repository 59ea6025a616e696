# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training scenes with ground truth: many worlds, the ego at random poses near its lane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.ego import VEHICLE, EgoState
from ad_road_simulation.world.expert import ReferencePlan, reference_plan
from ad_road_simulation.world.layout import RUN_IN_M, RouteOptions
from ad_road_simulation.world.scene import Scene
from ad_road_simulation.world.world import World

SAMPLES_PER_WORLD = 25
_TIME_STEP_S = 0.25
_CAMERA = Camera()
"""Only its field of view matters here, which is the same for all image sizes."""
_FREE_VIEW_SHARE = 0.7
"""Share of the chosen stops with no vehicle in between; otherwise most images would show leaders."""


@dataclass(frozen=True)
class Sample:
    """A scene and the reference plan of a driver who sees only its image."""

    scene: Scene
    reference: ReferencePlan


def training_samples(seed: int, count: int, options: RouteOptions | None = None) -> Iterator[Sample]:
    """Yield scenes of many worlds; equal arguments give equal samples.

    Half of the ego positions are drawn so that a signal, stop sign, crossing or leader is 0-50 m ahead of
    the front bumper; in a tenth of these the ego stands 1.5-3 m before it. Offsets from the lane center are
    normal with 0.35 m (at most 1.2), heading errors with 0.04 rad (at most 0.15), speeds uniform in 0-13 m/s.

    Args:
        seed: not negative.
        count: number of scenes.
        options: of the routes; lanes and weather left None differ from world to world.
    """
    rng = np.random.default_rng([seed, 100])
    world: World | None = None
    for index in range(count):
        if world is None or index % SAMPLES_PER_WORLD == 0:
            world = World(int(rng.integers(0, 2**31)), options, time_s=float(rng.uniform(0.0, 100.0)))
        for _ in range(int(rng.integers(2, 9))):
            world.step(_TIME_STEP_S, None)
        ego, target_m = _sample_ego(rng, world)
        # Only for this image, as the traffic does not know of the ego.
        removed = _clear_ego_body(world, ego)
        if target_m is not None and rng.uniform() < _FREE_VIEW_SHARE:
            removed = np.concatenate((removed, world.clear_ego_lane(ego.s_m, target_m - 1.0)))
        yield Sample(world.scene(ego), reference_plan(world, ego, camera=_CAMERA))
        world.traffic.active[removed] = True


def _sample_ego(rng: np.random.Generator, world: World) -> tuple[EgoState, float | None]:
    """Return an ego at a random pose, and the position of the stop ahead where the pose was drawn for one."""
    layout = world.layout
    low, high = RUN_IN_M, layout.finish_s_m
    s, speed = float(rng.uniform(low, high)), float(rng.uniform(0.0, 13.0))
    offset = float(np.clip(rng.normal(0.0, 0.35), -1.2, 1.2))
    turned = float(np.clip(rng.normal(0.0, 0.04), -0.15, 0.15))
    target: float | None = None
    if rng.uniform() < 0.5:
        places = _stop_positions(rng, world)
        if len(places):
            target = float(rng.choice(places))
            before = float(rng.uniform(0.0, 50.0))
            if rng.uniform() < 0.1:
                before, speed = float(rng.uniform(1.5, 3.0)), 0.0
            s = float(np.clip(target - before - VEHICLE.front_m, low, high))
    return world.ego_at(s, layout.ego_lane_m + offset, turned, speed), target


def _stop_positions(rng: np.random.Generator, world: World) -> np.ndarray:
    """Return stop positions of one random kind.

    Occupied crossings are preferred over empty ones with a probability of two thirds.
    """
    control, traffic, road = world.layout.traffic_control, world.traffic, world.layout.road
    crossings = [c for c in control.crossings if c.signal is None]
    busy = [c for c in crossings if world.people.occupied[c.ident]]
    if busy and rng.uniform() < 2.0 / 3.0:
        crossings = busy
    same_lane = traffic.active & (traffic.lane == road.cross_section.lanes_ahead - 1)
    kinds = (
        [signal.stop_s_m for signal in control.signals],
        [stop.stop_s_m for stop in control.stops],
        [crossing.s_from_m - 1.0 for crossing in crossings],
        (traffic.s_m - 0.5 * traffic.length_m)[same_lane],
    )
    return np.asarray(kinds[int(rng.choice(4, p=(0.35, 0.15, 0.25, 0.25)))], np.float64)


def _clear_ego_body(world: World, ego: EgoState) -> np.ndarray:
    """Remove vehicles that overlap the ego; return their indices in traffic."""
    traffic = world.traffic
    low, high = ego.s_m - VEHICLE.rear_m - 1.0, ego.s_m + VEHICLE.front_m + 0.5
    half = 0.5 * traffic.length_m
    beside = np.abs(traffic.d_m - ego.d_m) < 0.5 * (VEHICLE.width_m + traffic.width_m) + 0.3
    inside = (traffic.s_m + half > low) & (traffic.s_m - half < high)
    removed = np.flatnonzero(traffic.active & beside & inside)
    traffic.active[removed] = False
    return removed
