# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A small node of one's own around a model: the number of objects in every image of a camera."""

from __future__ import annotations

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import UInt32

import ad_compressed_perception as adcp
from ad_compressed_perception.image.decode import decode_image, to_bgr8


class ObjectCounter(Node):
    """Subscribes to ``image``, publishes ``count``."""

    def __init__(self, **arguments):
        super().__init__("object_counter", **arguments)
        model = self.declare_parameter("model", "road_detection").value
        variant = self.declare_parameter("variant", "accepted").value
        self.model = adcp.load(model, variant)
        self._publisher = self.create_publisher(UInt32, "count", 10)
        # Best effort, as cameras publish, and one image: an older one is not worth waiting for.
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Image, "image", self._count, newest)

    def _count(self, message):
        try:
            # All encodings and rows of any step; BGR is what a model takes by default.
            found = self.model(to_bgr8(decode_image(message)))
        except adcp.AdcpError as error:  # a frame without a result; the next one may have one
            self.get_logger().warning(str(error))
            return
        self._publisher.publish(UInt32(data=len(found.scores)))

    def destroy_node(self):
        """Release the model with the node."""
        self.model.close()
        super().destroy_node()


def main():
    """Spin until Ctrl-C."""
    rclpy.init()
    node = ObjectCounter()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
