# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Node of a simulated road camera: images, odometry, ground truth, and a car that accepts drive commands."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistStamped
from pydantic import ValidationError
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.metrics.latency import RateTracker
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.callback_guard import new_failures, note_failure
from ad_compressed_perception.nodes.qos import image_qos
from ad_compressed_perception.nodes.run import run_node
from ad_road_simulation.nodes.road_camera_options import RoadCameraOptions
from ad_road_simulation.nodes.road_camera_pose import publish_mounting
from ad_road_simulation.nodes.road_camera_topics import RoadCameraTopics
from ad_road_simulation.recording.drive import Drive, road_frame
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.command_follower import CommandFollower
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.simulation import Event

COUNTED = ("collision", "departure", "red_light", "stop_missed", "finished")
_SLOW_SHARE = 0.8
"""Below this share of the requested rate a warning is published."""


class RoadCameraNode(Node):
    """Publishes the images of a simulated drive at a constant rate of the ROS clock.

    Every tick advances the simulation by one period, independent of the rendering time: on a slow machine
    the drive slows down, and no frame is skipped.
    """

    def __init__(self, **node_arguments: Any) -> None:
        """Read the parameters, build the world and start.

        Raises:
            AdcpError: a parameter is invalid.
        """
        super().__init__(node_arguments.pop("node_name", "road_camera"), **node_arguments)
        self._options = self._read_parameters()
        parameters.refuse_change(self, RoadCameraOptions.model_fields, "camera")
        options = self._options
        weather = None if options.weather == "any" else options.weather
        camera = Camera(width_px=options.width, height_px=options.height)
        self._drive = Drive(options.seed, RouteOptions(options.route_length_m, options.traffic, weather))
        self._renderer = Renderer(camera)
        self._follower = CommandFollower(options.command_timeout_s)
        self._events: Counter[str] = Counter()
        self._unreported_events: list[str] = []
        self._has_begun = self._is_over = self._silence_reported = False
        self._rate = RateTracker()
        self._topics = RoadCameraTopics(self, options, camera.matrix)
        self._mounting = publish_mounting(self, camera)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        if options.drive == "command":
            self.create_subscription(
                TwistStamped, "~/drive_command", self._on_command, image_qos("best_effort", 1)
            )
        # The node's clock: with use_sim_time the simulation pauses while /clock does.
        self.create_timer(1.0 / options.rate_hz, self._tick)
        self.create_timer(
            options.diagnostics_period_s,
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        driver = "the expert" if options.drive == "expert" else "~/drive_command"
        self.get_logger().info(
            f"{options.width}x{options.height} at {options.rate_hz:g} Hz, route {options.seed}, "
            f"driven by {driver}"
        )

    def _read_parameters(self) -> RoadCameraOptions:
        parameters.declare(self, RoadCameraOptions)
        for name in parameters.undeclared_overrides(self):
            self.get_logger().warning(f"parameter {name!r} does not exist here and is ignored")
        try:
            return RoadCameraOptions.model_validate(parameters.values(self, RoadCameraOptions))
        except ValidationError as error:
            reason = describe_validation_error(error)
            raise AdcpError(f"{self.get_fully_qualified_name()}: parameter {reason}") from error

    def _on_command(self, message: TwistStamped) -> None:
        if self._follower.take(message.twist.linear.x, message.twist.angular.z):
            self._silence_reported = False
        else:
            twist = message.twist
            note_failure(
                self,
                "drive command ignored",
                DataError(f"speed {twist.linear.x:g} m/s, yaw rate {twist.angular.z:g} rad/s"),
            )

    def _tick(self) -> None:
        """Advance by one period and publish the frame."""
        now = self.get_clock().now()
        if self._is_over or now.nanoseconds == 0:
            return
        if self._has_begun and not self._advance():
            return
        self._has_begun = True
        world = self._drive.world
        scene = world.scene()
        with_ground_truth = self._topics.has_ground_truth_subscribers
        image = self._renderer.render(scene, with_ground_truth=with_ground_truth)
        frame = road_frame(scene, image, world.reference().trajectory, now.nanoseconds, self._drive.route)
        try:
            self._topics.publish(frame, now.to_msg(), with_ground_truth)
        except Exception:
            # A signal may shut the context down while the image is rendered.
            if self.context.ok():
                raise
        self._rate.add(time.monotonic())

    def _advance(self) -> bool:
        """Drive for one period; return False at the end of the last route."""
        dt_s = 1.0 / self._options.rate_hz
        command = None
        if self._options.drive == "command":
            command = self._follower.command(dt_s, self._drive.world.ego.speed_mps)
            if self._follower.is_silent and not self._silence_reported:
                self._silence_reported = True
                timeout = f"no drive command for {self._options.command_timeout_s:g} s"
                first = "the first drive command has not arrived"
                self.get_logger().warning(
                    f"{timeout if self._follower.has_begun else first}: braking to a standstill"
                )
        for event in self._drive.advance(dt_s, command):
            self._on_event(event)
        if self._drive.world.is_finished:
            self._is_over = not self._options.loop
            if self._is_over:
                self.get_logger().info("the route is finished; no more images are published")
                return False
            self._drive.next_route()
            self.get_logger().info(f"route {self._drive.route}")
        return True

    def _on_event(self, event: Event) -> None:
        self._events[event.kind] += 1
        line = f"{event.kind} at {event.s_m:.0f} m: {event.what}"
        if event.kind != "finished":
            self._unreported_events.append(line)
            self.get_logger().warning(line)
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        """Publish the state of the drive, and the events since the last message."""
        rate_hz = self._rate.recent_hz(time.monotonic())
        problems = [*self._unreported_events]
        self._unreported_events = []
        if failures := new_failures(self):
            problems.append(failures)
        if self._silence_reported:
            problems.append("no drive command is received")
        if self._is_over:
            problems.append("the route is finished")
        elif self.get_clock().now().nanoseconds == 0:
            problems.append("use_sim_time is set and /clock has not come: no images")
        elif rate_hz < _SLOW_SHARE * self._options.rate_hz:
            problems.append(f"only {rate_hz:.1f} of {self._options.rate_hz:g} images a second")
        drive = self._drive
        values = {
            "route": str(drive.route),
            "drive": self._options.drive,
            "rate_hz": f"{rate_hz:.2f}",
            "frames": str(self._rate.count),
            "speed_mps": f"{drive.world.ego.speed_mps:.2f}",
            "driven_m": f"{drive.driven_m:.1f}",
            **{kind: str(self._events[kind]) for kind in COUNTED},
        }
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if problems else DiagnosticStatus.OK,
            name=self.get_fully_qualified_name(),
            hardware_id="road_camera",
            message="; ".join(problems) or "running",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        try:
            self._diagnostics.publish(message)
        except Exception:
            if self.context.ok():
                raise


def main() -> None:
    """Run the camera until it is shut down."""
    run_node(RoadCameraNode)


if __name__ == "__main__":
    main()
