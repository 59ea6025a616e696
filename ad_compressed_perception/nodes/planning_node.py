# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning node: a path on ~/trajectory and a drive command on ~/command."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ad_compressed_perception.manifest import StrictModel
from ad_compressed_perception.messages import planning
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.inference_node import InferenceNode
from ad_compressed_perception.nodes.qos import RESULT_QOS
from ad_compressed_perception.nodes.run import run_node
from ad_compressed_perception.pipeline import Pipeline
from ad_compressed_perception.results import Trajectory


class PlanningFrame(StrictModel):
    """The frame of what the planner publishes."""

    base_frame: str = Field("base_link", description="frame of trajectory and command (REP-105)")


class PlanningNode(InferenceNode):
    """Publishes nav_msgs/Path and geometry_msgs/TwistStamped, stamped like the source frame."""

    task_name = "planning"

    def declare_task_parameters(self) -> None:
        """Declare the name of the vehicle's frame."""
        parameters.declare(self, PlanningFrame)

    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create ~/trajectory and ~/command."""
        self._paths = self.create_publisher(planning.Path, "~/trajectory", RESULT_QOS)
        self._commands = self.create_publisher(planning.TwistStamped, "~/command", RESULT_QOS)

    def publish_result(self, result: Trajectory, header: Any) -> None:
        """Publish path and command."""
        frame = str(self.get_parameter("base_frame").value)
        self._paths.publish(planning.to_path(result, header.stamp, frame))
        self._commands.publish(planning.to_command(result, header.stamp, frame))

    def destroy_result_publishers(self) -> None:
        """Destroy both publishers."""
        self.destroy_publisher(self._paths)
        self.destroy_publisher(self._commands)


def main() -> None:
    """Run the node until it is told to stop."""
    run_node(PlanningNode)


if __name__ == "__main__":
    main()
