# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One variant in closed loop on one route, until the finish or an event that ends the route."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.driving.driver import Driver
from ad_compressed_perception.driving.path_tracker import Pose, TrackerSettings
from ad_road_simulation.closed_loop.images import IMAGE_FRACTIONS, remove_images, write_image
from ad_road_simulation.closed_loop.latency import Latency, draw_latency
from ad_road_simulation.closed_loop.planner_queue import CameraSample, PlannerQueue
from ad_road_simulation.closed_loop.planners import Planner
from ad_road_simulation.closed_loop.route_metrics import STANDING_MPS, Ending, Recorder, RouteResult
from ad_road_simulation.world.ego import VEHICLE, DriveCommand
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.simulation import Simulation

STEP_S = 0.05
"""Of physics and control: 20 Hz."""
STUCK_S = 60.0
OFF_ROAD_M = 10.0
"""The drive ends at a larger offset from the lane center."""
SLOWEST_MPS = 1.0
"""A drive with a lower average speed is stuck."""


@dataclass(frozen=True)
class Route:
    """A route; equal routes give equal worlds.

    Attributes:
        seed: of the world.
        length_m, traffic, weather: as in RouteOptions.
    """

    seed: int
    length_m: float = 1000.0
    traffic: float = 1.0
    weather: str | None = None

    def options(self) -> RouteOptions:
        """Return the options of the simulation; raise RouteError where they are invalid."""
        return RouteOptions(length_m=self.length_m, traffic=self.traffic, weather=self.weather)


class DriveCanceledError(Exception):
    """The drive was canceled by the caller."""


def drive_route(
    planner: Planner,
    variant: str,
    route: Route,
    latency_ms: Latency = (),
    *,
    images: Path | None = None,
    is_canceled: Callable[[], bool] = lambda: False,
) -> RouteResult:
    """Drive a route and measure the drive.

    Args:
        planner: computes the plans.
        variant: its name, for the result.
        route: to drive.
        latency_ms: values from which the latency of each plan is drawn.
        images: folder for images with the planned path, at IMAGE_FRACTIONS of the route.
        is_canceled: called at every step.

    Raises:
        DriveCanceledError: is_canceled returned True.
        AdcpError: a planner that fails, or a route that is invalid.
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

    def take() -> CameraSample:
        now = simulation.ego
        pose = Pose(now.x_m, now.y_m, now.heading_rad)
        for reason in simulation.reference().reasons:
            if reason.kind == "actor":
                recorder.gap(reason.distance_m)
        return CameraSample(simulation.time_s, pose, now.speed_mps, planner.observe(simulation))

    queue = PlannerQueue(planner.plan, latency_s, lambda: planner.further_latency_s)
    recorder = Recorder(ego.s_m, layout.finish_s_m)
    start_m, fractions = ego.s_m, list(IMAGE_FRACTIONS)
    if images is not None:
        remove_images(variant, images)
    stood_s = 0.0
    limit_s = STUCK_S + route.length_m / SLOWEST_MPS
    ending: Ending | None = None
    while ending is None:
        if is_canceled():
            raise DriveCanceledError
        now_s, ego = simulation.time_s, simulation.ego
        offset_m = ego.d_m - layout.ego_lane_m
        recorder.step(now_s, ego.s_m, offset_m, ego.speed_mps, ego.accel_mps2)
        planned = queue.step(now_s, take)
        if planned is not None:
            driver.accept(
                planned.trajectory, planned.sample.pose, planned.sample.time_s, planned.sample.speed_mps
            )
            driven = (ego.s_m - start_m) / route.length_m
            if images is not None and fractions and driven >= fractions[0]:
                image = planner.image(planned.sample)
                write_image(image, planned.trajectory, variant, fractions.pop(0), images)
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
    counters = queue.counters
    counts = {
        "taken": counters.taken,
        "planned": counters.planned,
        "dropped": counters.dropped,
        "failed": counters.failed,
        **planner.counts,
    }
    mean_ms = 1e3 * sum(drawn) / len(drawn)
    return recorder.result(variant, route.seed, ending, counts, mean_ms)
