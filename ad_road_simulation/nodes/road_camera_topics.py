# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of a road camera: a frame and its ground truth, all with the same stamp."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from ad_compressed_perception.messages import detection, odometry, planning, segmentation
from ad_compressed_perception.messages.camera import to_camera_info, to_compressed
from ad_compressed_perception.messages.image import serialize_image
from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS, image_qos
from ad_road_simulation.nodes.road_camera_options import RoadCameraOptions
from ad_road_simulation.world.road_frame import (
    BASE_FRAME,
    CAMERA_FRAME,
    ODOMETRY_FRAME,
    RoadFrame,
)
from ad_road_simulation.world.scene import LABELS, MASK_LABELS

# Old names of topics' first parts, published for one version.
_RENAMED = {"truth": "ground_truth"}


class _GroundTruthPublisher:
    """A topic of the ground truth, and the same under its old name while somebody subscribes to that."""

    def __init__(self, node: Node, kind: type, name: str, qos: QoSProfile) -> None:
        ((old, present),) = _RENAMED.items()
        self._logger, self._has_warned = node.get_logger(), False
        self._present = node.create_publisher(kind, f"~/{present}/{name}", qos)
        self._old = node.create_publisher(kind, f"~/{old}/{name}", qos)

    @property
    def has_subscribers(self) -> bool:
        return bool(self._present.get_subscription_count() or self._old.get_subscription_count())

    def publish(self, message: Any) -> None:
        self._present.publish(message)
        if not self._old.get_subscription_count():
            return
        self._old.publish(message)
        if not self._has_warned:
            self._has_warned = True
            self._logger.warning(
                f"topic {self._old.topic_name} is now called {self._present.topic_name}; the old name is "
                "published in this version only"
            )

    def publish_latched(self, message: Any) -> None:
        """Publish on both topics, whoever subscribes later."""
        self._present.publish(message)
        self._old.publish(message)


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
        self._boxes = _GroundTruthPublisher(node, Detection2DArray, "detections", RESULT_QOS)
        self._masks = _GroundTruthPublisher(node, Image, "mask", RESULT_QOS)
        self._paths = _GroundTruthPublisher(node, Path, "trajectory", RESULT_QOS)
        self._labels = []
        for topic, labels in (("detections", LABELS), ("mask", MASK_LABELS)):
            publisher = _GroundTruthPublisher(node, LabelInfo, f"{topic}/label_info", LATCHED_QOS)
            header = Header(stamp=node.get_clock().now().to_msg())
            publisher.publish_latched(detection.label_info(labels, header))
            self._labels.append(publisher)

    @property
    def has_ground_truth_subscribers(self) -> bool:
        """Whether boxes or masks have a subscription."""
        return any(each.has_subscribers for each in (self._boxes, self._masks))

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
            self._raw.publish(serialize_image(frame.image_bgr, "bgr8", header))
        if self._jpeg is not None and self._jpeg.get_subscription_count():
            self._jpeg.publish(to_compressed(frame.image_bgr, self._quality, header))
        self._info.publish(to_camera_info(self._matrix, width, height, header))
        self._paths.publish(planning.serialize_path(frame.trajectory, stamp, BASE_FRAME))
        if with_ground_truth:
            self._boxes.publish(detection.serialize(frame.detections, header))
            self._masks.publish(segmentation.serialize(frame.mask, header))
