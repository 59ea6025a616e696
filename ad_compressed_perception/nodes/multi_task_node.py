# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Node for models with several heads: one inference a frame, each head's results on ~/HEAD/..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ad_compressed_perception.core.results import HeadResults
from ad_compressed_perception.driving.odometry import OdometryLog
from ad_compressed_perception.driving.vehicle_controller import VehicleController
from ad_compressed_perception.messages import classification, detection, planning, segmentation
from ad_compressed_perception.nodes.classification_node import classification_topics
from ad_compressed_perception.nodes.detection_node import detection_topics
from ad_compressed_perception.nodes.layout_check import check_layouts
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.planning_node import PlanningNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.nodes.result_topics import CameraResults, ResultTopics, SameOnEach
from ad_compressed_perception.nodes.run import run_node
from ad_compressed_perception.nodes.segmentation_node import mask_topics
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.tasks.base import Task
from ad_compressed_perception.tasks.multi_task import MultiTask, MultiTaskSettings
from ad_compressed_perception.tasks.pipeline import Pipeline


class HeadSettingsPart(NodePart):
    """Refuses head_settings that the loaded model cannot have."""

    def __init__(self, models: Callable[[], ModelSet]) -> None:
        """Check against the primary of these models."""
        self._models = models

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ManifestError where a head, a setting or a value is unknown."""
        model = self._models().primary
        if model is not None and "head_settings" in values and isinstance(model.pipeline.task, MultiTask):
            settings = MultiTaskSettings(head_settings=values["head_settings"])
            model.pipeline.task.settings_of_heads(settings)


class MultiTaskNode(PlanningNode):
    """Publishes what the nodes of the heads' tasks publish, under ~/HEAD; one timing message a frame.

    It is a planning node because a head may plan: that one needs odometry and the camera's mounting.
    """

    task_name = "multi_task"

    def create_parts(self) -> tuple[NodePart, ...]:
        """Return those of every node, and the check of settings."""
        return (*super().create_parts(), HeadSettingsPart(lambda: self._supervised.models))

    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create the topics of every head; subscribe to odometry where a head plans."""
        for module in (classification, detection, planning, segmentation):
            check_layouts(module.examples())
        task = _task(pipeline)
        self._odometry, self._has_odometry_warning = None, True
        self._odometry_log = OdometryLog()
        self._head_controllers: dict[tuple[str, str], VehicleController] = {}
        self._results = CameraResults(self.prefixes, lambda _, prefix: self.result_topics(prefix, pipeline))
        self._labels = {
            name: SameOnEach(self, detection.LabelInfo, self.prefixes, f"{name}/label_info", LATCHED_QOS)
            for name, head in task.heads.items()
            if head.manifest.labels
        }
        if any(task.planners()):
            self.diagnostics.speed_mps = self._speed_mps
            self._begin_odometry()
        for name, head in task.heads.items():
            if head.name not in _TOPICS and head.name != "planning":
                self.get_logger().info(f"head {name} is of task {head.name}: nothing of it is published")

    def describe_results(self, pipeline: Pipeline) -> None:
        """Publish the labels of every head, and control the vehicle that its settings describe."""
        header = detection.Header(stamp=self.get_clock().now().to_msg())
        task = _task(pipeline)
        for name, publisher in self._labels.items():
            head = task.heads[name]
            threshold = getattr(head.settings, "score_threshold", 0.0)
            publisher.publish(detection.label_info(head.manifest.labels, header, threshold))
        for prefix, name in self._head_controllers:
            self._head_controllers[prefix, name] = self._controller_for(task.heads[name])

    def _controller_for(self, head: Task[Any]) -> VehicleController:
        controller = VehicleController(head.settings.wheelbase_m)
        controller.odometry = self._odometry_log
        return controller

    def result_topics(self, prefix: str, pipeline: Pipeline) -> ResultTopics:
        """Create the topics of every head under ``prefix``/HEAD."""
        topics = {
            name: made
            for name, head in _task(pipeline).heads.items()
            if (made := self._topics_of(prefix, name, head)) is not None
        }
        # A command may be refused: nothing of the frame is published then.
        order = sorted(topics, key=lambda name: _task(pipeline).heads[name].name != "planning")

        def publish(results: HeadResults, header: Any) -> None:
            for name in order:
                topics[name].publish(results[name], header)

        publishers = [publisher for each in topics.values() for publisher in each.publishers]
        return ResultTopics(self, publishers, publish)

    def _topics_of(self, prefix: str, name: str, head: Task[Any]) -> ResultTopics | None:
        if head.name == "planning":
            self._head_controllers[prefix, name] = self._controller_for(head)
            return self._topics(f"{prefix}/{name}", lambda: self._head_controllers[prefix, name])
        create = _TOPICS.get(head.name)
        return None if create is None else create(self, f"{prefix}/{name}")

    def publish_result(self, result: Any, header: Any, camera: str = "") -> None:
        """Publish every head's result, or none; see PlanningNode."""
        super().publish_result(result, header, camera)

    def destroy_result_publishers(self) -> None:
        """Destroy the topics of every head."""
        for labels in self._labels.values():
            labels.destroy()
        super().destroy_result_publishers()


_TOPICS: Mapping[str, Callable[[Any, str], ResultTopics]] = {
    "detection": detection_topics,
    "segmentation": mask_topics,
    "classification": classification_topics,
}


def _task(pipeline: Pipeline) -> MultiTask:
    assert isinstance(pipeline.task, MultiTask)
    return pipeline.task


def main() -> None:
    """Run the node until it is stopped."""
    run_node(MultiTaskNode)


if __name__ == "__main__":
    main()
