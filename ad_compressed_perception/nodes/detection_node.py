# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection node: boxes on ~/detections."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.messages import detection
from ad_compressed_perception.nodes.inference_node import InferenceNode
from ad_compressed_perception.nodes.layout_check import check_layouts
from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS
from ad_compressed_perception.nodes.result_topics import CameraResults, ResultTopics, SameOnEach
from ad_compressed_perception.nodes.run import run_node
from ad_compressed_perception.tasks.pipeline import Pipeline


def detection_topics(node: Node, prefix: str) -> ResultTopics:
    """Create ``prefix``/detections."""
    results = node.create_publisher(detection.Detection2DArray, f"{prefix}/detections", RESULT_QOS)

    def publish(result: Detections, header: Any) -> None:
        results.publish(detection.serialize(result, header))

    return ResultTopics(node, [results], publish)


class DetectionNode(InferenceNode):
    """Publishes vision_msgs/Detection2DArray in source pixels and the latched list of labels."""

    task_name = "detection"

    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create ~/detections and ~/label_info."""
        check_layouts(detection.examples())
        prefixes = self.prefixes
        self._results = CameraResults(prefixes, lambda _, prefix: self.result_topics(prefix, pipeline))
        self._labels = SameOnEach(self, detection.LabelInfo, prefixes, "label_info", LATCHED_QOS)

    def describe_results(self, pipeline: Pipeline) -> None:
        """Publish the labels."""
        header = detection.Header(stamp=self.get_clock().now().to_msg())
        threshold = pipeline.task.settings.score_threshold
        self._labels.publish(detection.label_info(pipeline.task.manifest.labels, header, threshold))

    def result_topics(self, prefix: str, pipeline: Pipeline) -> ResultTopics:
        """Create ``prefix``/detections."""
        return detection_topics(self, prefix)

    def publish_result(self, result: Detections, header: Any, camera: str = "") -> None:
        """Publish the boxes."""
        self._results.publish(result, header, camera)

    def destroy_result_publishers(self) -> None:
        """Destroy both publishers."""
        self._results.destroy()
        self._labels.destroy()


def main() -> None:
    """Run the node until it is stopped."""
    run_node(DetectionNode)


if __name__ == "__main__":
    main()
