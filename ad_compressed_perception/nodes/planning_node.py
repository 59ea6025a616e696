# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning node: a path on ~/trajectory and a drive command on ~/command, from image and odometry."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.vehicle_controller import VehicleController
from ad_compressed_perception.messages import odometry, planning
from ad_compressed_perception.messages.timing import stamp_to_ns
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.camera_calibration import CameraCalibration, MountingOptions
from ad_compressed_perception.nodes.inference_node import InferenceNode
from ad_compressed_perception.nodes.layout_check import check_layouts
from ad_compressed_perception.nodes.qos import RESULT_QOS, image_qos
from ad_compressed_perception.nodes.run import run_node
from ad_compressed_perception.report.overlay import DrawingCamera
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_compressed_perception.tasks.planning import PlanningTask


class PlanningOptions(StrictModel):
    """The frame of trajectory and command, and the use of odometry."""

    base_frame: str = Field("base_link", description="frame of trajectory and command (REP-105)")
    use_odometry: bool = Field(
        True,
        description="subscribe to odometry: its speed is the initial speed of a plan's profile; once any "
        "came, a frame without valid odometry fails",
    )


class PlanningNode(InferenceNode):
    """Publishes nav_msgs/Path and geometry_msgs/TwistStamped, stamped like the source frame."""

    task_name = "planning"

    def declare_task_parameters(self) -> None:
        """Declare the name of the vehicle's frame and the use of odometry."""
        parameters.declare(self, PlanningOptions)
        self._setup_names.add("use_odometry")  # read when the publishers are created
        parameters.declare(self, MountingOptions)
        self._calibration: CameraCalibration | None = None

    def activate(self) -> None:
        """Start the worker, subscribe to the camera and to its camera_info."""
        super().activate()
        self._calibration = CameraCalibration(self, self._subscription_topic())

    def deactivate(self) -> None:
        """Unsubscribe."""
        calibration, self._calibration = self._calibration, None
        if calibration is not None:
            calibration.destroy()
        super().deactivate()

    def drawing_camera(self) -> DrawingCamera | None:
        """Return the camera as camera_info and the parameters describe it."""
        calibration = self._calibration
        if calibration is None:
            return None
        return calibration.camera(MountingOptions(**parameters.values(self, MountingOptions)))

    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create ~/trajectory and ~/command, and subscribe to odometry."""
        check_layouts(planning.examples())
        self._paths = self.create_publisher(planning.Path, "~/trajectory", RESULT_QOS)
        self._commands = self.create_publisher(planning.TwistStamped, "~/command", RESULT_QOS)
        self._controller = VehicleController(pipeline.task.settings.wheelbase_m)
        self._odometry: Any = None
        self._has_odometry_warning = False
        if self.get_parameter("use_odometry").value:
            self._odometry = self.create_subscription(
                odometry.OdometryMessage, "odometry", self._on_odometry, image_qos("best_effort", 10)
            )

    def _on_odometry(self, message: Any) -> None:
        log = self._controller.odometry
        try:
            log.add(odometry.from_message(message))
        except DataError as error:
            log.is_in_use = True
            note_failure(self, "odometry ignored", error)

    def before_frame(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Set the planner's speed at the frame's stamp; None where odometry does not have it."""
        assert isinstance(pipeline.task, PlanningTask)
        known = self._controller.odometry.at(stamp_ns * 1e-9)
        pipeline.task.observe_speed(None if known is None else known.speed_mps)

    def publish_result(self, result: Trajectory, header: Any) -> None:
        """Publish path and command, both or none.

        Raises:
            ResultError: there is no valid command for the path.
        """
        frame = str(self.get_parameter("base_frame").value)
        now_s = self.get_clock().now().nanoseconds * 1e-9
        taken_s = stamp_to_ns(header.stamp) * 1e-9
        speed_mps, curvature_per_m = self._controller.command(result, taken_s, now_s)
        self._paths.publish(planning.serialize_path(result, header.stamp, frame))
        self._commands.publish(planning.serialize_command(speed_mps, curvature_per_m, header.stamp, frame))
        if not self._has_odometry_warning:  # rclpy's once=True looks up the calling line in every frame
            self._warn_without_odometry()

    def _warn_without_odometry(self) -> None:
        if self._odometry is not None and not self._controller.odometry.is_in_use:
            self._has_odometry_warning = True
            self.get_logger().warning(
                f"no odometry came on {self._odometry.topic_name}: plans begin at the nominal speed_mps"
            )

    def destroy_result_publishers(self) -> None:
        """Destroy both publishers and the subscription."""
        if self._odometry is not None:
            self.destroy_subscription(self._odometry)
        self.destroy_publisher(self._paths)
        self.destroy_publisher(self._commands)


def main() -> None:
    """Run the node until it is stopped."""
    run_node(PlanningNode)


if __name__ == "__main__":
    main()
