# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Classification node: labels of the whole frame on ~/classification."""

from __future__ import annotations

from typing import Any

from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.messages import classification, detection
from ad_compressed_perception.nodes.inference_node import InferenceNode
from ad_compressed_perception.nodes.layout_check import check_layouts
from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS
from ad_compressed_perception.nodes.run import run_node
from ad_compressed_perception.tasks.pipeline import Pipeline


class ClassificationNode(InferenceNode):
    """Publishes vision_msgs/Classification, strongest label first, and the latched list of labels."""

    task_name = "classification"

    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create ~/classification and ~/label_info."""
        check_layouts(classification.examples())
        self._results = self.create_publisher(
            classification.ClassificationMessage, "~/classification", RESULT_QOS
        )
        self._labels = self.create_publisher(detection.LabelInfo, "~/label_info", LATCHED_QOS)
        header = detection.Header(stamp=self.get_clock().now().to_msg())
        threshold = pipeline.task.settings.score_threshold
        self._labels.publish(detection.label_info(pipeline.task.manifest.labels, header, threshold))

    def publish_result(self, result: Classification, header: Any) -> None:
        """Publish the labels."""
        self._results.publish(classification.serialize(result, header))

    def destroy_result_publishers(self) -> None:
        """Destroy both publishers."""
        self.destroy_publisher(self._results)
        self.destroy_publisher(self._labels)


def main() -> None:
    """Run the node until it is stopped."""
    run_node(ClassificationNode)


if __name__ == "__main__":
    main()
