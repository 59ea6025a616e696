# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation node: label ids on ~/mask."""

from __future__ import annotations

from typing import Any

from ad_compressed_perception.core.results import LabelMask
from ad_compressed_perception.messages import detection, segmentation
from ad_compressed_perception.nodes.inference_node import InferenceNode
from ad_compressed_perception.nodes.layout_check import check_layouts
from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS
from ad_compressed_perception.nodes.run import run_node
from ad_compressed_perception.tasks.pipeline import Pipeline


class SegmentationNode(InferenceNode):
    """Publishes label ids as mono8 in the source frame's size and the latched list of labels."""

    task_name = "segmentation"

    def create_result_publishers(self, pipeline: Pipeline) -> None:
        """Create ~/mask and ~/label_info."""
        check_layouts(segmentation.examples())
        self._results = self.create_publisher(segmentation.Image, "~/mask", RESULT_QOS)
        self._labels = self.create_publisher(detection.LabelInfo, "~/label_info", LATCHED_QOS)
        header = detection.Header(stamp=self.get_clock().now().to_msg())
        self._labels.publish(detection.label_info(pipeline.task.manifest.labels, header))

    def publish_result(self, result: LabelMask, header: Any) -> None:
        """Publish the mask."""
        self._results.publish(segmentation.serialize(result, header))

    def destroy_result_publishers(self) -> None:
        """Destroy both publishers."""
        self.destroy_publisher(self._results)
        self.destroy_publisher(self._labels)


def main() -> None:
    """Run the node until it is stopped."""
    run_node(SegmentationNode)


if __name__ == "__main__":
    main()
