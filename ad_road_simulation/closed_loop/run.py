# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One variant at the wheel on one route, from the beginning to the finish or to what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.driving.driver import Driver
from ad_compressed_perception.driving.path_tracker import Pose, TrackerSettings
from ad_road_simulation.closed_loop.images import PLACES, remove_images, write_image
from ad_road_simulation.closed_loop.latency import Latency, draw_latency
from ad_road_simulation.closed_loop.planner_queue import PlannerSlot, Shot
from ad_road_simulation.closed_loop.planners import Planner
from ad_road_simulation.closed_loop.route_metrics import STANDING_MPS, Ending, Recorder, RouteResult
from ad_road_simulation.world.ego import VEHICLE, DriveCommand
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.simulation import Simulation

STEP_S = 0.05
"""Of physics and control: 20 Hz."""
STUCK_S = 60.0
OFF_ROAD_M = 10.0
"""Farther than this beside the lane's middle the drive is over."""
SLOWEST_MPS = 1.0
"""A drive that is slower than this on average is stuck."""


@dataclass(frozen=True)
class Route:
    """What is driven; equal routes are equal worlds.

    Attributes:
        seed: of the world.
        length_m, traffic, weather: as in RouteOptions.
    """

    seed: int
    length_m: float = 1000.0
    traffic: float = 1.0
    weather: str | None = None

    def options(self) -> RouteOptions:
        """Return them as the simulation takes them; RouteError where they are impossible."""
        return RouteOptions(length_m=self.length_m, traffic=self.traffic, weather=self.weather)


class Abandoned(Exception):
    """The drive was called off from outside."""


def drive_route(
    planner: Planner,
    variant: str,
    route: Route,
    latency_ms: Latency = (),
    *,
    images: Path | None = None,
    is_called_off: Callable[[], bool] = lambda: False,
) -> RouteResult:
    """Drive a route and measure the drive.

    Args:
        planner: makes the plans.
        variant: its name, for the result.
        route: what is driven.
        latency_ms: what the time of each plan is drawn from.
        images: folder for images with the planned path, at some places of the route.
        is_called_off: asked at every step.

    Raises:
        Abandoned: it was called off.
        AdcpError: a planner that fails, or a route that is impossible.
    """
    simulation = Simulation(route.seed, route.options())
    ego = simulation.ego
    layout = simulation.world.layout
    driver = Driver(
        TrackerSettings(wheelbase_m=VEHICLE.wheelbase_m, max_steering_rad=VEHICLE.max_steering_rad)
    )
    drawn: list[float] = []
    draw = draw_latency(latency_ms, route.seed)

    def latency_s() -> float:
        drawn.append(draw())
        return drawn[-1]

    def take() -> Shot:
        now = simulation.ego
        pose = Pose(now.x_m, now.y_m, now.heading_rad)
        for reason in simulation.reference().reasons:
            if reason.kind == "actor":
                recorder.gap(reason.distance_m)
        return Shot(simulation.time_s, pose, now.speed_mps, planner.look(simulation))

    slot = PlannerSlot(planner.plan, latency_s)
    recorder = Recorder(ego.s_m, layout.finish_s_m)
    start_m, places = ego.s_m, list(PLACES)
    if images is not None:
        remove_images(variant, images)
    stood_s = 0.0
    limit_s = STUCK_S + route.length_m / SLOWEST_MPS
    ending: Ending | None = None
    while ending is None:
        if is_called_off():
            raise Abandoned
        now_s, ego = simulation.time_s, simulation.ego
        offset_m = ego.d_m - layout.ego_lane_m
        recorder.step(now_s, ego.s_m, offset_m, ego.speed_mps, ego.accel_mps2)
        planned = slot.step(now_s, take)
        if planned is not None:
            driver.accept(planned.trajectory, planned.shot.pose, planned.shot.time_s, planned.shot.speed_mps)
            share = (ego.s_m - start_m) / route.length_m
            if images is not None and places and share >= places[0]:
                image = planner.image(planned.shot)
                write_image(image, planned.trajectory, variant, places.pop(0), images)
        pose = Pose(ego.x_m, ego.y_m, ego.heading_rad)
        command = driver.command(pose, ego.speed_mps, now_s, STEP_S)
        events = simulation.step(DriveCommand(command.steering_rad, command.accel_mps2), STEP_S)
        for event in events:
            if event.kind != "finished":
                recorder.event(event.kind, event.time_s, event.s_m, event.what)
        stood_s = stood_s + STEP_S if ego.speed_mps < STANDING_MPS else 0.0
        if any(event.kind == "collision" for event in events):
            ending = "collision"
        elif abs(offset_m) > OFF_ROAD_M:
            ending = "off_road"
        elif simulation.is_finished:
            ending = "finished"
        elif stood_s >= STUCK_S or now_s > limit_s:
            ending = "stuck"
    ego = simulation.ego
    offset_m = ego.d_m - layout.ego_lane_m
    recorder.step(simulation.time_s, ego.s_m, offset_m, ego.speed_mps, ego.accel_mps2)
    account = slot.account
    counts = {
        "taken": account.taken,
        "planned": account.planned,
        "dropped": account.dropped,
        "failed": account.failed,
    }
    mean_ms = 1e3 * sum(drawn) / len(drawn)
    return recorder.result(variant, route.seed, ending, counts, mean_ms)
