# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The camera_info beside an image topic, for drawing on its images."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.image.intrinsics import Intrinsics
from ad_compressed_perception.messages.camera import from_camera_info
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.qos import image_qos
from ad_compressed_perception.report.calibrated_camera import CalibratedCamera

_COMPRESSED = "/compressed"


class MountingOptions(StrictModel):
    """Where the camera is mounted, for drawing only: no result depends on it. They may change at any time."""

    camera_height_m: float = Field(
        1.4, gt=0.0, le=20.0, description="height of the camera above the road, for ~/overlay, meters"
    )
    camera_pitch_deg: float = Field(
        3.5, ge=-45.0, le=45.0, description="how far the camera looks down, for ~/overlay, degrees"
    )
    camera_forward_m: float = Field(
        1.5, ge=-20.0, le=20.0, description="how far it is ahead of base_frame, for ~/overlay, meters"
    )


def info_topic(image_topic: str) -> str:
    """Return the topic of the camera_info of an image topic, raw or compressed: its sibling."""
    return f"{image_topic.removesuffix(_COMPRESSED).rpartition('/')[0]}/camera_info"


class CameraCalibration:
    """Takes the first valid camera_info and then unsubscribes, so that it costs a running node nothing."""

    def __init__(self, node: Node, image_topic: str) -> None:
        """Subscribe to the sibling of a resolved image topic."""
        self._node = node
        self._rectified = "rect" in image_topic.removesuffix(_COMPRESSED).rpartition("/")[2]
        self._intrinsics: Intrinsics | None = None
        self._subscription: Any = None
        try:
            self._subscription = node.create_subscription(
                CameraInfo, info_topic(image_topic), self._on_info, image_qos("best_effort", 1)
            )
        except Exception as error:  # a policy of SROS2 that does not have it: a drawing is no reason to stop
            note_failure(node, "camera_info not subscribed", error)

    def _on_info(self, message: CameraInfo) -> None:
        if self._subscription is None:
            return
        try:
            self._intrinsics = from_camera_info(message, rectified=self._rectified)
        except DataError as error:
            note_failure(self._node, "camera_info ignored", error)
            return
        self._node.get_logger().info(f"the overlay's path is drawn as {self._subscription.topic_name} says")
        self.destroy()

    def camera(self, mounting: MountingOptions) -> CalibratedCamera:
        """Return the camera to draw with: as calibrated, or without camera_info one of 60 degrees across."""
        return CalibratedCamera(
            height_m=mounting.camera_height_m,
            pitch_deg=mounting.camera_pitch_deg,
            forward_m=mounting.camera_forward_m,
            intrinsics=self._intrinsics,
        )

    def destroy(self) -> None:
        """Unsubscribe."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._node.destroy_subscription(subscription)
