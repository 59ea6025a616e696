# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's figures as numbers that a plotter can draw: ``~/figures/TASK/VARIANT/FIGURE``, Float64."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64

from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskMonitor
from ad_compressed_perception.monitor.frame_health import Level
from ad_compressed_perception.report.schemas.comparison import TaskReport

NODE_FIGURES = (
    *("rate_hz", "infer_p50_ms", "end_to_end_p50_ms", "end_to_end_p99_ms"),
    *("deadline_miss_share", "drop_share", "alarm_level"),
)
"""Of every node, the baseline's too."""

COMPARISON_FIGURES = ("agreement", "compared_share", "speedup_infer")
"""Of a variant against its baseline."""


class FigureTopics:
    """Publishes the figures of the shortest window; NaN where there is no data, never an old figure."""

    def __init__(self, node: Node, monitor: ComparisonMonitor) -> None:
        """Create all topics at once, so that they can be chosen before there is a figure."""
        self._node = node
        self._publishers: dict[tuple[str, str, str], Publisher] = {}
        for task, each in monitor.tasks.items():
            self.add(task, each)

    def add(self, task: str, monitor: TaskMonitor) -> None:
        """Create the topics of a task; of a head ``multi_task.HEAD`` they are below multi_task/HEAD."""
        place, of_nodes = task.replace(".", "/"), ("alarm_level",) if monitor.head else NODE_FIGURES
        for name in monitor.variants:
            for figure in (*of_nodes, *(COMPARISON_FIGURES if name in monitor.comparisons else ())):
                topic = f"~/figures/{place}/{name}/{figure}"
                self._publishers[task, name, figure] = self._node.create_publisher(Float64, topic, 10)

    def publish(self, tasks: Mapping[str, TaskReport], window: str) -> None:
        """Publish what somebody subscribes to.

        Args:
            tasks: of the report of this moment.
            window: name of the window, such as "10s".
        """
        for (task, name, figure), publisher in self._publishers.items():
            if publisher.get_subscription_count():
                publisher.publish(Float64(data=_figure(tasks[task], name, figure, window)))


def _figure(task: TaskReport, name: str, figure: str, window: str) -> float:
    value: float | None
    if figure == "alarm_level":
        return float(max((Level[a.level] for a in task.alarms if a.variant == name), default=Level.OK))
    compared = task.comparison[name].windows.get(window) if name in task.comparison else None
    frames = task.variants[name].windows.get(window)
    if figure in COMPARISON_FIGURES:
        of_pairs = {"agreement": "score", "speedup_infer": "speedup_infer_paired_p50"}
        value = getattr(compared, of_pairs.get(figure, figure), None)
    elif figure.endswith("_ms"):
        series, _, percentile = figure.removesuffix("_ms").rpartition("_")
        value = getattr(getattr(frames, f"{series}_ms", None), percentile, None)
    else:
        value = getattr(frames, figure, None)
    return math.nan if value is None else float(value)
