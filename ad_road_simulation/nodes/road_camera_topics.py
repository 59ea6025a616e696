# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of a road camera: a frame and its ground truth, all with the same stamp."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from ad_compressed_perception.messages import detection, odometry, planning, segmentation
from ad_compressed_perception.messages.image import to_camera_info, to_compressed, to_image
from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS, image_qos
from ad_road_simulation.nodes.road_camera_options import RoadCameraOptions
from ad_road_simulation.world.road_frame import (
    BASE_FRAME,
    CAMERA_FRAME,
    ODOMETRY_FRAME,
    RoadFrame,
)
from ad_road_simulation.world.scene import LABELS, MASK_LABELS


class RoadCameraTopics:
    """Publishers; expensive messages without a subscription are not published."""

    def __init__(self, node: Node, options: RoadCameraOptions, matrix: NDArray[Any]) -> None:
        """Create the publishers on a node and publish the latched labels.

        Args:
            node: owner of the private topics.
            options: transport and quality of service of the images.
            matrix: (3, 3) of the camera, pixels.
        """
        self._matrix, self._quality = matrix, options.jpeg_quality
        images = image_qos(options.qos_reliability, options.qos_depth)
        self._raw = self._jpeg = None
        if options.transport in ("raw", "both"):
            self._raw = node.create_publisher(Image, "~/image", images)
        if options.transport in ("compressed", "both"):
            self._jpeg = node.create_publisher(CompressedImage, "~/image/compressed", images)
        self._info = node.create_publisher(CameraInfo, "~/camera_info", RESULT_QOS)
        self._odometry = node.create_publisher(Odometry, "~/odometry", RESULT_QOS)
        self._boxes = node.create_publisher(Detection2DArray, "~/truth/detections", RESULT_QOS)
        self._masks = node.create_publisher(Image, "~/truth/mask", RESULT_QOS)
        self._paths = node.create_publisher(Path, "~/truth/trajectory", RESULT_QOS)
        self._labels = []
        for topic, labels in (("detections", LABELS), ("mask", MASK_LABELS)):
            publisher = node.create_publisher(LabelInfo, f"~/truth/{topic}/label_info", LATCHED_QOS)
            header = Header(stamp=node.get_clock().now().to_msg())
            publisher.publish(detection.label_info(labels, header))
            self._labels.append(publisher)

    @property
    def has_ground_truth_subscribers(self) -> bool:
        """Whether boxes or masks have a subscription."""
        return any(each.get_subscription_count() for each in (self._boxes, self._masks))

    def publish(self, frame: RoadFrame, stamp: Time, with_ground_truth: bool) -> None:
        """Publish a frame.

        Args:
            frame: image and ground truth.
            stamp: of all messages.
            with_ground_truth: publish boxes and masks, which the frame then has.
        """
        header = Header(stamp=stamp, frame_id=CAMERA_FRAME)
        height, width = frame.image_bgr.shape[:2]
        # Odometry first: a planner then has the speed when the image arrives.
        self._odometry.publish(odometry.to_message(frame.odometry, stamp, ODOMETRY_FRAME, BASE_FRAME))
        if self._raw is not None:
            self._raw.publish(to_image(frame.image_bgr, "bgr8", header))
        if self._jpeg is not None and self._jpeg.get_subscription_count():
            self._jpeg.publish(to_compressed(frame.image_bgr, self._quality, header))
        self._info.publish(to_camera_info(self._matrix, width, height, header))
        self._paths.publish(planning.to_path(frame.trajectory, stamp, BASE_FRAME))
        if with_ground_truth:
            self._boxes.publish(detection.to_message(frame.detections, header))
            self._masks.publish(segmentation.to_message(frame.mask, header))
