# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a shadow publishes: for each camera of its node results, timings and its model, under ``shadow``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from rclpy.node import Node

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.nodes.model_info import ModelInfoTopic
from ad_compressed_perception.nodes.result_topics import CameraResults, ResultTopics, camera_node
from ad_compressed_perception.nodes.timing_publisher import TimingPublisher
from ad_compressed_perception.serving.served_model import ServedModel
from ad_compressed_perception.tasks.pipeline import Pipeline

NAME = "shadow"


class TopicHost(Protocol):
    """What the topics depend on."""

    task_name: ClassVar[str]

    @property
    def prefixes(self) -> Mapping[str, str]:
        """Camera to prefix of its topics."""

    def result_topics(self, prefix: str, pipeline: Pipeline) -> ResultTopics:
        """Create publishers of results."""


class ShadowTopics:
    """Its methods may be called from any thread."""

    def __init__(self, node: Node, host: TopicHost, model: ServedModel) -> None:
        """Create the topics, and name the model."""
        prefixes = {camera: f"{prefix}/{NAME}" for camera, prefix in host.prefixes.items()}
        pipeline = model.pipeline
        self._results = CameraResults(prefixes, lambda _, prefix: host.result_topics(prefix, pipeline))
        self._model_infos = [ModelInfoTopic(node, f"{prefix}/model_info") for prefix in prefixes.values()]
        for each in self._model_infos:
            each.publish(pipeline, 1)
        period_s = float(node.get_parameter("timing_period_s").value)
        self._timings = {
            camera: TimingPublisher(
                node,
                host.task_name,
                period_s,
                topic=f"{prefix}/timing",
                name=f"{camera_node(node, camera)}/{NAME}",
            )
            for camera, prefix in prefixes.items()
        }
        for timing in self._timings.values():
            timing.texts = model.identity.texts()

    def publish(self, result: Result, header: Any, camera: str) -> None:
        """Publish a result of a camera's frame under its source header."""
        self._results.publish(result, header, camera)

    def add(self, timing: FrameTiming, counters: FrameCounters) -> None:
        """Add a completed frame with the counters of its camera after it."""
        self._timings[timing.camera].add(timing, counters)

    def publish_due(self) -> None:
        """Publish timings whose time has come."""
        for timing in self._timings.values():
            timing.publish_due()

    def flush(self) -> None:
        """Publish all timings that wait."""
        for timing in self._timings.values():
            timing.flush()

    def destroy(self) -> None:
        """Destroy all topics."""
        self._results.destroy()
        for info in self._model_infos:
            info.destroy()
        for timing in self._timings.values():
            timing.destroy()
