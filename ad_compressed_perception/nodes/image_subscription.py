# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The subscription to a camera's topic, and the frames that got lost before it."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes.camera_topic import base_topic, camera_topic, describe_found
from ad_compressed_perception.nodes.image_receiver import ImageReceiver, NotByExecutor, OnMessage
from ad_compressed_perception.nodes.qos import describe_incompatible_qos
from ad_compressed_perception.nodes.rclpy_compat import (
    SubscriptionEventCallbacks,
    UnsupportedEventTypeError,
    publisher_count,
)
from ad_compressed_perception.nodes.stamp_gaps import StampGaps

_SILENT_AFTER_S = 2.0
_STATUSES = 6
_ENOUGH = 20


class ImageSubscription:
    """Subscribes to a camera's topic (see camera_topic) and counts what does not arrive.

    Attributes:
        topic: its name after remapping.
        receiver: takes the messages.
        last_arrival_s: monotonic time of the last frame; 0 before one.
        lost: messages that the middleware reported as lost.
    """

    def __init__(
        self, node: Node, transport: str, qos: QoSProfile, on_image: OnMessage, camera: str = ""
    ) -> None:
        """Subscribe.

        Args:
            node: subscribes.
            transport: see camera_topic().
            qos: of the subscription.
            on_image: called by receiver.receive(); see ImageReceiver.
            camera: see camera_topic().
        """
        self._node, self._transport, self._qos, self._base = node, transport, qos, base_topic(camera)
        self._gaps = StampGaps()
        self._new_stamps_ns: deque[int] = deque()
        self._qos_line = self._nobody_line = ""
        self._is_loss_logged = False
        # Lost and arrived messages at the last statuses.
        self._counts: deque[tuple[int, int]] = deque([(0, 0)], maxlen=_STATUSES)
        self._arrived = 0
        self.lost = 0
        self.last_arrival_s = 0.0
        arguments: Any = (*camera_topic(node, transport, camera), lambda message: None, qos)
        group = NotByExecutor()
        events: dict[str, Any] = {
            "incompatible_qos": self._on_incompatible_qos,
            "message_lost": self._on_message_lost,
        }
        try:
            self._subscription = node.create_subscription(
                *arguments,
                callback_group=group,
                event_callbacks=SubscriptionEventCallbacks(**events),
                raw=True,
            )
        except UnsupportedEventTypeError:  # not every middleware reports losses
            del events["message_lost"]
            self._subscription = node.create_subscription(
                *arguments,
                callback_group=group,
                event_callbacks=SubscriptionEventCallbacks(**events),
                raw=True,
            )
        self.receiver = ImageReceiver(self._subscription, node.context, on_image)
        self.topic: str = self._subscription.topic_name

    def destroy(self) -> None:
        """Unsubscribe."""
        self.receiver.destroy()
        self._node.destroy_subscription(self._subscription)

    def note_arrival(self, stamp_ns: int) -> None:
        """Add an arrived frame; its gap is estimated with the next status, since the frame waits for this."""
        self.last_arrival_s = monotonic()
        self._arrived += 1
        self._new_stamps_ns.append(stamp_ns)

    def problems(self, max_lost_share: float, silent_s: float) -> Problems:
        """Return what is wrong before the node: QoS, publisher, silence, losses; once a status.

        Args:
            max_lost_share: see HealthOptions.
            silent_s: seconds without a frame.
        """
        lost_share = self._lost_share()
        while self._new_stamps_ns:
            self._gaps.add(self._new_stamps_ns.popleft())
        found: Problems = [(Level.ERROR, self._qos_line)] if self._is_a_publisher_unheard() else []
        if publisher_count(self._node, self._subscription) == 0:
            return found or [(Level.WARN, self._describe_nobody(silent_s))]
        if silent_s > _SILENT_AFTER_S:  # losses are those before the silence
            return [*found, (Level.WARN, f"no new frame on {self.topic} for {silent_s:.0f} s")]
        if max(lost_share, self._gaps.share) > max_lost_share:
            found.append((Level.WARN, self._describe_losses(lost_share, max_lost_share)))
        return found

    def _describe_losses(self, lost_share: float, max_lost_share: float) -> str:
        """Return how many frames are lost, and what helps; on the console, too, but once."""
        line = (
            f"{self.topic}: {lost_share:.0%} of the messages lost before the node, "
            f"{self._gaps.share:.0%} of the stamps missing (max_lost_share {max_lost_share:g})"
        )
        if self._transport == "raw" and lost_share > max_lost_share:
            line += "; raw images need large_images:=true, also for the camera's process"
            line += " (docs/guides/transport.md)"
        if not self._is_loss_logged:
            self._is_loss_logged = True
            self._node.get_logger().warning(line)
        return line

    def _is_a_publisher_unheard(self) -> bool:
        """Whether one whose QoS does not fit is still there; the middleware reports only that one came."""
        return bool(self._qos_line) and any(
            qos_check_compatible(info.qos_profile, self._qos)[0] == QoSCompatibility.ERROR
            for info in self._node.get_publishers_info_by_topic(self.topic)
        )

    def _describe_nobody(self, silent_s: float) -> str:
        """Return what is there instead; on the console, too, but each thing once and after discovery."""
        found = describe_found(self._node, self.topic, self._transport, self._base)
        line = f"nobody publishes {self.topic}; {found or 'no topic of images has a publisher'}"
        if line != self._nobody_line and silent_s > _SILENT_AFTER_S:
            self._nobody_line = line
            self._node.get_logger().warning(line)
        return line

    def _lost_share(self) -> float:
        lost, arrived = self._counts[0]
        self._counts.append((self.lost, self._arrived))
        new_lost, new = self.lost - lost, self.lost - lost + self._arrived - arrived
        return new_lost / new if new >= _ENOUGH else 0.0

    def values(self) -> dict[str, str]:
        """Return the counts of lost frames."""
        return {
            "lost_before_node": str(self.lost),
            "missing_stamps": str(self._gaps.missing),
            "missing_stamps_share": f"{self._gaps.share:.3f}",
        }

    def _on_message_lost(self, event: Any) -> None:
        self.lost += max(int(event.total_count_change), 0)

    def _on_incompatible_qos(self, event: Any) -> None:
        self._qos_line = describe_incompatible_qos(self.topic, event)
        self._node.get_logger().error(self._qos_line)
