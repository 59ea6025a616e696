# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a node has of one camera: its subscription, the age of its frames, its timings and drawings."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image

from ad_compressed_perception.image.video import MessageDecoder
from ad_compressed_perception.nodes.frame_age import FrameAge
from ad_compressed_perception.nodes.frame_diagnostics import FrameDiagnostics
from ad_compressed_perception.nodes.frame_selection import FrameSelection
from ad_compressed_perception.nodes.image_receiver import OnMessage
from ad_compressed_perception.nodes.image_subscription import ImageSubscription
from ad_compressed_perception.nodes.model_info import ModelInfoTopic
from ad_compressed_perception.nodes.options import SetupOptions
from ad_compressed_perception.nodes.qos import image_qos
from ad_compressed_perception.nodes.result_topics import camera_node, prefixes_of
from ad_compressed_perception.nodes.timing_publisher import TimingPublisher
from ad_compressed_perception.serving.served_model import ServedModel

_LEAST_DEPTH = 16
"""Frames that the middleware keeps between two looks; up to 160 a second all of them are counted."""


class CameraStream:
    """Created while the node is configured, subscribed while it is active.

    Attributes:
        camera: its name in the node; empty where the node has one camera.
        diagnostics: where its frames are counted.
        timing: publishes their timings.
        overlay: publishes drawings.
        subscription: while the node is active.
        selection: of frames; None: all.
        age: of frames, set by subscribe().
        videos: decodes a stream of video, set by subscribe().
    """

    subscription: ImageSubscription | None = None
    selection: FrameSelection | None = None
    age: FrameAge
    videos: MessageDecoder

    def __init__(
        self, node: Node, camera: str, diagnostics: FrameDiagnostics, task: str, timing_period_s: float
    ) -> None:
        """Create the topics timing and overlay, for a camera with a name model_info, too."""
        self._node, self.camera, self.diagnostics = node, camera, diagnostics
        prefix = prefixes_of(node, [camera])[camera]
        self.timing = TimingPublisher(
            node, task, timing_period_s, topic=f"{prefix}/timing", name=camera_node(node, camera)
        )
        self.overlay: Publisher = node.create_publisher(Image, f"{prefix}/overlay", 1)
        self._model_info = ModelInfoTopic(node, f"{prefix}/model_info") if camera else None

    def describe(self, model: ServedModel, every_nth: int) -> None:
        """Let the topics name a model that serves."""
        self.timing.texts = model.identity.texts()
        if self._model_info is not None:
            self._model_info.publish(model.pipeline, every_nth)

    def subscribe(self, setup: SetupOptions, on_image: OnMessage) -> ImageSubscription:
        """Subscribe to the camera."""
        is_selecting = setup.every_nth > 1
        self.selection = FrameSelection(setup.every_nth, setup.camera_rate_hz) if is_selecting else None
        self.age = FrameAge(self._node, by_publish_time=setup.age_reference == "publish_time")
        qos = image_qos(setup.qos_reliability, max(setup.qos_depth, _LEAST_DEPTH))
        subscription = ImageSubscription(self._node, setup.transport, qos, on_image, self.camera)
        self.videos = MessageDecoder(subscription.topic, setup.max_image_pixels)
        self.subscription = subscription
        return subscription

    def unsubscribe(self) -> None:
        """Unsubscribe, and publish the timings that are collected."""
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            subscription.destroy()
        self.timing.flush()

    @property
    def topic(self) -> str:
        """The camera's topic."""
        return "image" if self.subscription is None else self.subscription.topic

    def note_clock_step(self, step_ms: float, stamp_ns: int) -> None:
        """Report that the ROS clock was set."""
        self.diagnostics.latency.note_step(step_ms, stamp_ns)
        self.timing.note_clock_step(step_ms)

    def age_of(self, stamp_ns: int, info: Any, waited_ms: float, decode_ms: float) -> float:
        """Return how old a frame was when it came, ms; see FrameAge.

        Args:
            stamp_ns: its stamp.
            info: of the message.
            waited_ms: since it came.
            decode_ms: of a video's packet, which is no age: it is counted where other images are decoded.
        """
        age_ms = self.age.of(stamp_ns, info) - decode_ms
        clock: Any = self._node.get_clock()
        if clock.ros_time_is_active:  # simulated time may be slower, and then no stamp lies in the future
            waited_ms = min(waited_ms, max(age_ms, 0.0))
        age_ms -= waited_ms
        if self.age.step_ms:
            self.note_clock_step(self.age.step_ms, stamp_ns)
        self.diagnostics.note_age(age_ms)
        return age_ms

    def destroy(self) -> None:
        """Destroy the topics."""
        self.timing.destroy()
        self._node.destroy_publisher(self.overlay)
        if self._model_info is not None:
            self._model_info.destroy()
