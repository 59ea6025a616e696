# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drives over consecutive routes, by the expert or by commands, and frames of independent scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.driving.driver import Driver
from ad_compressed_perception.driving.odometry import Odometry
from ad_compressed_perception.driving.path_tracker import Pose
from ad_road_simulation.renderer.renderer import RenderedImage, Renderer
from ad_road_simulation.world.ego import DriveCommand, EgoState
from ad_road_simulation.world.expert import ReferencePlan
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.road_frame import RoadFrame
from ad_road_simulation.world.sampling import training_samples
from ad_road_simulation.world.scene import LABELS, MASK_LABELS, Scene
from ad_road_simulation.world.simulation import STEP_S, Event, Simulation

FIRST_STAMP_NS = 1_000_000_000
"""Stamps of recordings start at one second, as zero stands for no stamp."""


class DrivenWorld(Protocol):
    """Interface of a world that can be driven and recorded; Simulation implements it."""

    @property
    def time_s(self) -> float:
        """Time since the start of the world."""

    @property
    def ego(self) -> EgoState:
        """Current state of the ego vehicle."""

    @property
    def is_finished(self) -> bool:
        """Whether the end of the route is reached."""

    def scene(self) -> Scene:
        """Return the current scene for the camera."""

    def reference(self) -> ReferencePlan:
        """Return the current reference plan."""

    def step(self, command: DriveCommand, dt_s: float) -> Sequence[Event]:
        """Advance by one step and return the events."""


class Drive:
    """Drive through worlds of ascending seeds.

    Attributes:
        world: the current one.
        route: seed of the current world, which is also the number of its drive.
        driven_m: distance over all routes.
    """

    def __init__(
        self,
        seed: int,
        options: RouteOptions | None = None,
        make_world: Callable[[int, RouteOptions | None], DrivenWorld] = Simulation,
    ) -> None:
        """Start at the beginning of the seed's route.

        Args:
            seed: of the first world, not negative.
            options: of all routes.
            make_world: returns the world of a seed.
        """
        self._options, self._make = options, make_world
        self.driven_m = 0.0
        self.route = seed
        self.world: DrivenWorld = make_world(seed, options)
        self._expert = Driver()

    def next_route(self) -> None:
        """Go to the start of the next seed's route."""
        self.route += 1
        self.world = self._make(self.route, self._options)
        self._expert = Driver()

    @property
    def odometry(self) -> Odometry:
        """Current pose and motion of the car, stamped with the world's time."""
        ego = self.world.ego
        pose = Pose(ego.x_m, ego.y_m, ego.heading_rad)
        return Odometry(self.world.time_s, pose, ego.speed_mps, ego.yaw_rate_radps)

    def advance(self, dt_s: float, command: DriveCommand | None = None) -> list[Event]:
        """Advance the simulation and return the events.

        Args:
            dt_s: duration; divided into steps not longer than STEP_S.
            command: held over the duration; None: the expert drives.
        """
        steps = max(1, math.ceil(dt_s / STEP_S - 1e-6))
        events: list[Event] = []
        if command is None:
            now = self.odometry
            self._expert.accept(self.world.reference().trajectory, now.pose, now.time_s, now.speed_mps)
        for _ in range(steps):
            events += self.world.step(command or self._expert_command(dt_s / steps), dt_s / steps)
            self.driven_m += self.world.ego.speed_mps * dt_s / steps
        return events

    def _expert_command(self, dt_s: float) -> DriveCommand:
        now = self.odometry
        target = self._expert.command(now.pose, now.speed_mps, now.time_s, dt_s)
        return DriveCommand(target.steering_rad, target.accel_mps2)


def road_frame(
    scene: Scene, image: RenderedImage, trajectory: Trajectory, stamp_ns: int, drive: int
) -> RoadFrame:
    """Return a rendered scene with its ground truth as a RoadFrame; without a mask it is empty."""
    boxes = image.boxes
    mask = np.zeros((0, 0), np.uint8) if image.mask is None else image.mask
    return RoadFrame(
        stamp_ns=stamp_ns,
        drive=drive,
        image_bgr=image.image_bgr,
        detections=Detections(
            np.array([box.xyxy for box in boxes], np.float32).reshape(-1, 4),
            np.ones(len(boxes), np.float32),
            np.array([LABELS.index(box.label) for box in boxes], np.int64),
            LABELS,
        ),
        visible_shares=np.array([box.visible_share for box in boxes], np.float64),
        mask=LabelMask(mask, MASK_LABELS),
        trajectory=trajectory,
        odometry=Odometry(
            stamp_ns * 1e-9,
            Pose(scene.ego_x_m, scene.ego_y_m, scene.ego_heading_rad),
            scene.ego_speed_mps,
            scene.ego_yaw_rate_radps,
        ),
    )


def driven_frames(
    seed: int, count: int, options: RouteOptions, renderer: Renderer, rate_hz: float
) -> Iterator[RoadFrame]:
    """Yield the frames of an expert's drive; the next route follows at the end of one.

    Args:
        seed: of the first route.
        count: of images.
        options: of the routes.
        renderer: renders the scenes.
        rate_hz: images per second.
    """
    drive = Drive(seed, options)
    for index in range(count):
        scene = drive.world.scene()
        stamp_ns = FIRST_STAMP_NS + round(index * 1e9 / rate_hz)
        trajectory = drive.world.reference().trajectory
        yield road_frame(scene, renderer.render(scene), trajectory, stamp_ns, drive.route)
        drive.advance(1.0 / rate_hz)
        if drive.world.is_finished:
            drive.next_route()


def joined_drives(
    seed: int, count: int, parts: Sequence[RouteOptions], renderer: Renderer, rate_hz: float
) -> Iterator[RoadFrame]:
    """Yield the frames of an expert's drives of equal length as one drive, one time series.

    Args:
        seed: of the first part's first route; the next part has the next seed.
        count: of all images.
        parts: options of each part's routes.
        renderer: renders the scenes.
        rate_hz: images per second.
    """
    done = 0
    for number, options in enumerate(parts):
        length = -(-(count - done) // (len(parts) - number))
        later_s = done / rate_hz
        for frame in driven_frames(seed + number, length, options, renderer, rate_hz):
            odometry = replace(frame.odometry, time_s=frame.odometry.time_s + later_s)
            stamp_ns = frame.stamp_ns + round(later_s * 1e9)
            yield replace(frame, stamp_ns=stamp_ns, drive=seed, odometry=odometry)
        done += length


def independent_frames(
    seed: int, count: int, options: RouteOptions, renderer: Renderer
) -> Iterator[RoadFrame]:
    """Yield frames of independent scenes, stamped one second apart."""
    for index, sample in enumerate(training_samples(seed, count, options)):
        stamp_ns = FIRST_STAMP_NS + index * 1_000_000_000
        image = renderer.render(sample.scene)
        yield road_frame(sample.scene, image, sample.reference.trajectory, stamp_ns, index)
