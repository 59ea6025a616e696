# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a node's frames come with for models that have further inputs: earlier frames, and topics' values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from ad_compressed_perception.core.errors import DataError, ManifestError
from ad_compressed_perception.core.input_sources import TopicInput, history_of, topics_of
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.data.topic_value import topic_value
from ad_compressed_perception.image.decode import Frame, FrameInputs
from ad_compressed_perception.image.frame_inputs import StampedValues
from ad_compressed_perception.messages.timing import stamp_to_ns
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.qos import image_qos
from ad_compressed_perception.serving.model_set import ModelSet

_DEPTH = 50
_BACK_NS = 1_000_000_000
"""A message whose stamp lies so far before the last one's was sent after the clock was set back."""


class ModelInputs(NodePart):
    """Subscribes to the topics that the loaded model names, and keeps the last frames of the camera.

    Frames that the node dropped are not among the earlier ones: a model's ``max_gap_s`` says how far apart
    two neighbors may be.
    """

    def __init__(self, node: Node, models: Callable[[], ModelSet]) -> None:
        """Serve the primary of these models."""
        self._node, self._models = node, models
        self._lock = Lock()
        self._topics: dict[str, TopicInput] = {}
        self._values: dict[str, StampedValues] = {}
        self._depth = 0
        self._recent: dict[str, deque[Frame]] = {}
        self._subscriptions: list[Any] = []

    def configure(self) -> None:
        """Subscribe; raise ManifestError where a message's type is not installed."""
        model = self._models().primary
        if model is not None:
            self._use(model.pipeline.task.manifest)

    def activate(self) -> None:
        """Begin without earlier frames."""
        with self._lock:
            self._recent.clear()

    def cleanup(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        with self._lock:
            self._subscriptions, self._topics, self._values = [], {}, {}
            self._depth, self._recent = 0, {}

    def _use(self, manifest: Manifest) -> None:
        with self._lock:
            self._topics = topics_of(manifest.inputs)
            self._depth, self._recent = history_of(manifest.inputs), {}
        for name, topic in self._topics.items():
            kind = _message_class(name, topic)
            callback = self._receiver(name, topic)
            qos = image_qos("best_effort", _DEPTH)
            subscription = self._node.create_subscription(kind, topic.topic, callback, qos)
            self._subscriptions.append(subscription)
            with self._lock:
                self._values[name] = StampedValues(subscription.topic_name, topic.max_age_s)

    def _receiver(self, name: str, topic: TopicInput) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            try:
                value = topic_value(message, topic)
            except DataError as error:
                note_failure(self._node, f"message for input {name!r} ignored", error)
                return
            header = getattr(message, "header", None)
            stamp_ns = 0 if header is None else stamp_to_ns(header.stamp)
            stamp_ns = stamp_ns or self._node.get_clock().now().nanoseconds
            with self._lock:
                self._take(name, stamp_ns, value)

        return receive

    def _take(self, name: str, stamp_ns: int, value: NDArray[np.float64]) -> None:
        log = self._values.get(name)
        if log is None:  # unsubscribed meanwhile
            return
        if len(log) and stamp_ns < log.newest_ns - _BACK_NS:
            log.clear()
        log.add(stamp_ns, value)
        log.forget_before(log.newest_ns - int(self._kept_s(name) * 1e9))

    def _kept_s(self, name: str) -> float:
        return self._topics[name].max_age_s + 10.0  # a frame may come late, too

    def complete(self, frame: Frame, camera: str) -> Frame:
        """Return a frame with what is known at its stamp; the frame itself for a model of an image alone.

        Args:
            frame: as decoded.
            camera: its topic: earlier frames are those of the same camera.
        """
        with self._lock:
            if not self._topics and not self._depth:
                return frame
            values, problems = {}, {}
            for name, log in self._values.items():
                found = log.at(frame.stamp_ns)
                if isinstance(found, str):
                    problems[name] = found
                else:
                    values[name] = found
            recent = self._recent.setdefault(camera, deque(maxlen=self._depth + 1))
            # The same frame again, as of a driver that sends twice or for the standby, is no earlier one.
            if recent and frame.stamp_ns == recent[-1].stamp_ns:
                recent.pop()
            inputs = FrameInputs(tuple(recent), values, problems)
            if recent and frame.stamp_ns < recent[-1].stamp_ns:
                recent.clear()
            recent.append(frame)
        return replace(frame, inputs=inputs)

    def values(self) -> dict[str, str]:
        """Return the topics that are read."""
        with self._lock:
            return {f"input_{name}": f"{topic.topic}: {topic.field}" for name, topic in self._topics.items()}


def _message_class(name: str, topic: TopicInput) -> Any:
    package, _, kind = topic.message_type.split("/")
    try:
        return getattr(import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError) as error:
        raise ManifestError(
            f"input {name!r}: messages of type {topic.message_type} are not installed here"
        ) from error
