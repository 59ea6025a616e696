# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 nodes, and the executables that ``compose`` can run."""

PLUGINS = {
    "classification_node": "ad_compressed_perception.nodes.classification_node:ClassificationNode",
    "detection_node": "ad_compressed_perception.nodes.detection_node:DetectionNode",
    "latency_monitor_node": "ad_compressed_perception.nodes.latency_monitor_node:LatencyMonitorNode",
    "multi_task_node": "ad_compressed_perception.nodes.multi_task_node:MultiTaskNode",
    "planning_node": "ad_compressed_perception.nodes.planning_node:PlanningNode",
    "segmentation_node": "ad_compressed_perception.nodes.segmentation_node:SegmentationNode",
}
