# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""~/side_by_side/compressed of the monitor: a camera frame with both sides' results, drawn while watched."""

from __future__ import annotations

import struct
import time
from array import array
from typing import Any, Literal

import numpy as np
from pydantic import Field
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.decode import decode_image, to_bgr8
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.monitor.comparison import ComparisonMonitor
from ad_compressed_perception.monitor.frames_in_view import FrameInView, FramesInView
from ad_compressed_perception.monitor.variant_monitor import VariantMonitor
from ad_compressed_perception.nodes.callback_guard import PeriodicThread
from ad_compressed_perception.nodes.qos import image_qos
from ad_compressed_perception.report.comparison_image import Row, Side, draw_comparison, draw_notice

_CHECK_PERIOD_S = 0.25
_STALLED_AFTER_S = 2.0
_SUFFIX = "/compressed"
_HOUR_MS = 3.6e6


class SideBySideOptions(StrictModel):
    """Parameters of ~/side_by_side/compressed; read once, at the monitor's start."""

    image_topic: str = Field(
        "image",
        description="camera topic of ~/side_by_side/compressed, read only while that is watched; its "
        "compressed images are expected on <image_topic>/compressed",
    )
    transport: Literal["", "raw", "compressed"] = Field(
        "", description="raw or compressed images; empty: what is published, compressed first"
    )
    side_by_side_rate_hz: float = Field(
        5.0, gt=0.0, le=60.0, description="most images a second on ~/side_by_side/compressed"
    )
    side_by_side_panel_width: int = Field(
        480, ge=160, le=1920, description="width of each of a row's three panels, pixels"
    )


class SideBySide:
    """Publishes images of the latest frame while somebody subscribes, from a thread of its own.

    The node's executor only stores serialized images and results; decoding, drawing and encoding are done
    in the thread. Without a subscriber the camera's topic is not subscribed to.
    """

    def __init__(
        self, node: Node, monitor: ComparisonMonitor, options: SideBySideOptions, patience_s: float
    ) -> None:
        """Offer the topic.

        Args:
            node: the monitor's ROS node.
            monitor: whose comparisons are drawn.
            options: see there.
            patience_s: how long a frame waits for the results of all nodes.
        """
        self._node, self._monitor, self._options, self._patience_s = node, monitor, options, patience_s
        self._publisher = node.create_publisher(
            CompressedImage, "~/side_by_side/compressed", QoSProfile(depth=1)
        )
        self._subscription: Any = None
        self._is_compressed = False
        self._view: FramesInView | None = None
        self._thread: PeriodicThread | None = None
        self._notice = ""
        self._forget()
        # Steady time: a simulated clock may stop.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_CHECK_PERIOD_S, self._check, clock=clock)

    @property
    def _pairs(self) -> list[tuple[str, str, str]]:
        """Tasks and heads with their baseline and variant; heads become known while the nodes run."""
        return [
            (task, str(each.spec.baseline), variant)
            for task, each in list(self._monitor.tasks.items())
            for variant in each.comparisons
        ]

    def close(self) -> None:
        """Stop drawing."""
        self._timer.cancel()
        self._stop()
        if self._thread is not None:
            self._thread.stop()

    def _forget(self) -> None:
        self._last = np.full((240, 3 * self._options.side_by_side_panel_width, 3), 100, np.uint8)
        self._header = Header()
        self._drawn_s = self._published_s = time.monotonic()

    # In the executor's thread -------------------------------------------------------------------

    def _check(self) -> None:
        """Start and stop with the subscribers, and subscribe to what the camera publishes."""
        if self._publisher.get_subscription_count() == 0 or not self._pairs:  # no head is known yet
            self._stop()
            return
        if self._view is None or not self._view.is_of(self._nodes()):
            self._forget()
            self._view = self._nothing_in_view()
            self._monitor.on_result = self._on_result
            if self._thread is None:
                period_s = 1.0 / self._options.side_by_side_rate_hz
                self._thread = PeriodicThread(self._node, self._draw, period_s)
        if time.monotonic() - self._view.last_image_s > _STALLED_AFTER_S:
            self._subscribe()

    def _nothing_in_view(self) -> FramesInView:
        return FramesInView(self._nodes(), self._patience_s)

    def _nodes(self) -> set[tuple[str, str]]:
        return {(task, name) for task, *names in self._pairs for name in names}

    def _stop(self) -> None:
        self._monitor.on_result = None
        self._unsubscribe()
        self._view = None

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self) -> None:
        """Subscribe to the topic that has a publisher; keep a subscription whose topic still has one."""
        topics = self._topics()
        published = [(topic, kind) for topic, kind in topics if self._is_published(topic, kind)]
        if not published:
            self._notice = "nobody publishes " + " or ".join(dict.fromkeys(topic for topic, _ in topics))
            return
        topic, kind = published[0]
        self._notice = f"no image on {topic}"
        now = self._subscription
        if now is not None and (now.topic_name, now.msg_type) == (topic, kind):
            return
        self._unsubscribe()
        # Waiting images of another topic may be of the other kind.
        self._view, self._is_compressed = self._nothing_in_view(), kind is CompressedImage
        self._subscription = self._node.create_subscription(
            # Serialized: only the images that are drawn become messages.
            *(kind, topic, self._on_image, image_qos("best_effort", 5)),
            raw=True,
        )

    def _is_published(self, topic: str, kind: type) -> bool:
        publishers = self._node.get_publishers_info_by_topic(topic)
        return any(each.topic_type == f"sensor_msgs/msg/{kind.__name__}" for each in publishers)

    def _topics(self) -> list[tuple[str, type]]:
        """Return the topics that the camera may publish, after remapping, the preferred first."""
        base, transport = self._options.image_topic, self._options.transport
        if base.endswith(_SUFFIX):
            base, transport = base.removesuffix(_SUFFIX), transport or "compressed"
        raw = self._node.resolve_topic_name(base)
        # Remapped by its own name, or, as by image_transport, below the remapped raw topic.
        compressed = dict.fromkeys((self._node.resolve_topic_name(base + _SUFFIX), raw + _SUFFIX))
        found: list[tuple[str, type]] = []
        if transport != "raw":
            # The last one of cameras that publish compressed images without the suffix.
            found += [(topic, CompressedImage) for topic in (*compressed, raw)]
        if transport != "compressed":
            found.append((raw, Image))
        return found

    def _on_image(self, data: bytes) -> None:
        # CDR: 4 bytes that name the byte order, then the header's stamp.
        second, nanosecond = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
        if self._view is not None:
            self._view.add_image(second * 1_000_000_000 + nanosecond, data, time.monotonic())

    def _on_result(self, task: str, name: str, stamp_ns: int, result: Result) -> None:
        if self._view is not None:
            self._view.add_result((task, name), stamp_ns, result, time.monotonic())

    # In the drawing thread ----------------------------------------------------------------------

    def _draw(self) -> None:
        """Publish the newest frame that is ready or, where none was for a while, that there is none."""
        now_s, view = time.monotonic(), self._view
        if view is None:
            return
        frame = view.take(now_s)
        if frame is not None:
            try:
                self._last = self._draw_frame(frame)
            except AdcpError as error:
                self._publish_notice(str(error), now_s)
            else:
                self._drawn_s = now_s
                self._publish(self._last, now_s)
        elif min(now_s - self._drawn_s, now_s - self._published_s + 1.0) > _STALLED_AFTER_S:
            has_images = now_s - view.last_image_s <= _STALLED_AFTER_S
            self._publish_notice("no frame that the nodes answered" if has_images else self._notice, now_s)

    def _draw_frame(self, frame: FrameInView) -> Any:
        message = deserialize_message(frame.image, CompressedImage if self._is_compressed else Image)
        self._header = message.header
        stamp = f"frame {frame.stamp_ns // 10**9}.{frame.stamp_ns % 10**9:09d}"
        rows = [
            Row(task, self._side(frame, task, baseline), self._side(frame, task, variant))
            for task, baseline, variant in self._pairs
        ]
        width = self._options.side_by_side_panel_width
        return draw_comparison(to_bgr8(decode_image(message)), rows, headline=stamp, panel_width=width)

    def _side(self, frame: FrameInView, task: str, name: str) -> Side:
        with self._monitor.lock:
            variant = self._monitor.tasks[task].variants[name]
            last = variant.last
            title = f"{name}: {last.variant}" if last is not None else name
            return Side(title, frame.results.get((task, name)), _latency(variant))

    def _publish_notice(self, text: str, now_s: float) -> None:
        line = f"NOT LIVE: {text}, for {now_s - self._drawn_s:.0f} s"
        self._publish(draw_notice(self._last, [line]), now_s)

    def _publish(self, image: Any, now_s: float) -> None:
        data = array("B", encode_jpeg(image, 85))
        self._published_s = now_s
        self._publisher.publish(
            CompressedImage(header=self._header, format="bgr8; jpeg compressed bgr8", data=data)
        )


def _latency(variant: VariantMonitor) -> str:
    """Return the medians of the recent frames."""
    infer, total = variant.stages["infer"].recent(), variant.end_to_end.recent()
    if not infer.count:
        return "no timing yet"
    # Stamps of a recording: the age of its frames says nothing.
    is_known = total.count and abs(total.p50) < _HOUR_MS
    age = f"end to end {total.p50:.1f} ms" if is_known else "age unknown"
    return f"p50: infer {infer.p50:.1f} ms, {age}"
