# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning node: a path on ~/trajectory and a drive command on ~/command, from image and odometry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.odometry import OdometryLog
from ad_compressed_perception.driving.vehicle_controller import VehicleController
from ad_compressed_perception.messages import odometry, planning
from ad_compressed_perception.messages.timing import stamp_to_ns
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.camera_calibration import CameraCalibration, MountingOptions
from ad_compressed_perception.nodes.inference_node import InferenceNode
from ad_compressed_perception.nodes.layout_check import check_layouts
from ad_compressed_perception.nodes.qos import RESULT_QOS, image_qos
from ad_compressed_perception.nodes.result_topics import CameraResults, ResultTopics
from ad_compressed_perception.nodes.run import run_node
from ad_compressed_perception.report.overlay import DrawingCamera
from ad_compressed_perception.serving.served_model import Before
from ad_compressed_perception.tasks.multi_task import MultiTask
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
        self._own_parameters.setup_names.add("use_odometry")  # read when the publishers are created
        parameters.declare(self, MountingOptions)
        self._calibrations: dict[str, CameraCalibration] = {}

    def activate(self) -> None:
        """Start the worker, subscribe to the cameras and to the camera_info of each."""
        super().activate()
        streams = self._frames.streams
        self._calibrations = {camera: CameraCalibration(self, each.topic) for camera, each in streams.items()}

    def deactivate(self) -> None:
        """Unsubscribe."""
        calibrations, self._calibrations = self._calibrations, {}
        for calibration in calibrations.values():
            calibration.destroy()
        super().deactivate()

    def drawing_camera(self, camera: str = "") -> DrawingCamera | None:
        """Return the camera as camera_info and the parameters describe it."""
        calibration = self._calibrations.get(camera)
        if calibration is None:
            return None
        return calibration.camera(MountingOptions(**parameters.values(self, MountingOptions)))

    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create ~/trajectory and ~/command, and subscribe to odometry."""
        check_layouts(planning.examples())
        self._wheelbase_m = float(pipeline.task.settings.wheelbase_m)
        self._odometry_log = OdometryLog()
        self._controllers = {camera: self._new_controller() for camera in self.prefixes}
        self._results = CameraResults(
            self.prefixes, lambda camera, prefix: self._topics(prefix, lambda: self._controllers[camera])
        )
        self._begin_odometry()

    def _begin_odometry(self) -> None:
        """Subscribe to odometry, which goes into the log, where the parameter says so."""
        self._odometry: Any = None
        self._has_odometry_warning = False
        self.diagnostics.speed_mps = self._speed_mps
        if self.get_parameter("use_odometry").value:
            self._odometry = self.create_subscription(
                odometry.OdometryMessage, "odometry", self._on_odometry, image_qos("best_effort", 10)
            )

    def describe_results(self, pipeline: Pipeline) -> None:
        """Control the vehicle that the model's settings describe; stops begin anew with another one."""
        wheelbase_m = float(pipeline.task.settings.wheelbase_m)
        if wheelbase_m != self._wheelbase_m:
            self._wheelbase_m = wheelbase_m
            self._controllers = {camera: self._new_controller() for camera in self._controllers}

    def _new_controller(self) -> VehicleController:
        controller = VehicleController(self._wheelbase_m)
        controller.odometry = self._odometry_log
        return controller

    def _on_odometry(self, message: Any) -> None:
        log = self._odometry_log
        try:
            log.add(odometry.from_message(message))
        except DataError as error:
            log.is_in_use = True
            note_failure(self, "odometry ignored", error)

    def _speed_mps(self) -> float | None:
        """Return the vehicle's present speed, m/s; None where odometry does not have it."""
        known = self._odometry_log.at(self.get_clock().now().nanoseconds * 1e-9)
        return None if known is None else known.speed_mps

    def before_frame(self, pipeline: Pipeline, stamp_ns: int) -> None:
        """Set the planner's speed at the frame's stamp; None where odometry does not have it."""
        self.inputs_at(stamp_ns)(pipeline)

    def inputs_at(self, stamp_ns: int) -> Before:
        """Return what gives a planner the speed that is known at a stamp."""
        known = self._odometry_log.at(stamp_ns * 1e-9)
        speed_mps = None if known is None else known.speed_mps

        def give(pipeline: Pipeline) -> None:
            assert isinstance(pipeline.task, PlanningTask | MultiTask)
            pipeline.task.observe_speed(speed_mps)

        return give

    def result_topics(self, prefix: str, pipeline: Pipeline) -> ResultTopics:
        """Create ``prefix``/trajectory and ``prefix``/command, with a state of stops of their own."""
        controller = VehicleController(pipeline.task.settings.wheelbase_m)
        controller.odometry = self._odometry_log
        return self._topics(prefix, lambda: controller)

    def _topics(self, prefix: str, controller: Callable[[], VehicleController]) -> ResultTopics:
        paths = self.create_publisher(planning.Path, f"{prefix}/trajectory", RESULT_QOS)
        commands = self.create_publisher(planning.TwistStamped, f"{prefix}/command", RESULT_QOS)

        def publish(result: Trajectory, header: Any) -> None:
            frame = str(self.get_parameter("base_frame").value)
            now_s = self.get_clock().now().nanoseconds * 1e-9
            taken_s = stamp_to_ns(header.stamp) * 1e-9
            speed_mps, curvature_per_m = controller().command(result, taken_s, now_s)
            paths.publish(planning.serialize_path(result, header.stamp, frame))
            commands.publish(planning.serialize_command(speed_mps, curvature_per_m, header.stamp, frame))

        return ResultTopics(self, [paths, commands], publish)

    def publish_result(self, result: Trajectory, header: Any, camera: str = "") -> None:
        """Publish path and command, both or none.

        Raises:
            ResultError: there is no valid command for the path.
        """
        self._results.publish(result, header, camera)
        if not self._has_odometry_warning:  # rclpy's once=True looks up the calling line in every frame
            self._warn_without_odometry()

    def _warn_without_odometry(self) -> None:
        if self._odometry is not None and not self._odometry_log.is_in_use:
            self._has_odometry_warning = True
            self.get_logger().warning(
                f"no odometry came on {self._odometry.topic_name}: plans begin at the nominal speed_mps"
            )

    def destroy_result_publishers(self) -> None:
        """Destroy both publishers and the subscription."""
        if self._odometry is not None:
            self.destroy_subscription(self._odometry)
        self._results.destroy()


def main() -> None:
    """Run the node until it is stopped."""
    run_node(PlanningNode)


if __name__ == "__main__":
    main()
