# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the road camera is mounted, on /tf_static."""

from __future__ import annotations

import math
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.node import Node
from std_msgs.msg import Header

from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.road_frame import BASE_FRAME, CAMERA_FRAME


def mounting(camera: Camera, stamp: Time) -> TransformStamped:
    """Return the pose of the camera's optical frame (REP-103: z ahead, x right, y down) in base_link.

    Looking straight ahead its quaternion (w, x, y, z) is (1, -1, 1, -1) / 2; the camera is then turned by its
    pitch about its own x axis.
    """
    cosine, sine = math.cos(camera.pitch_rad / 2.0) / 2.0, -math.sin(camera.pitch_rad / 2.0) / 2.0
    rotation = Quaternion(w=cosine + sine, x=sine - cosine, y=cosine - sine, z=-cosine - sine)
    return TransformStamped(
        header=Header(stamp=stamp, frame_id=BASE_FRAME),
        child_frame_id=CAMERA_FRAME,
        transform=Transform(translation=Vector3(x=camera.x_m, y=0.0, z=camera.z_m), rotation=rotation),
    )


def publish_mounting(node: Node, camera: Camera) -> Any:
    """Publish the pose once, latched, and return the publisher; None where tf2_msgs is not installed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        node.get_logger().info("tf2_msgs is not installed: the camera's pose is not published on /tf_static")
        return None
    publisher = node.create_publisher(TFMessage, "/tf_static", LATCHED_QOS)
    publisher.publish(TFMessage(transforms=[mounting(camera, node.get_clock().now().to_msg())]))
    return publisher
