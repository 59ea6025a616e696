# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A first inference node as tutorials write it: one callback, runtime defaults, messages field by field.

    python -m benchmark.hot_path.tutorial_node MODEL_FOLDER VARIANT TRANSPORT

It runs the same file on the same runtime as the package's node does. What it borrows is the decoding of the
outputs, which a tutorial copies from the model's authors too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.packing.decompress import decompress
from ad_compressed_perception.tasks import create_task
from benchmark.hot_path.result_topics import RESULTS, image_topic


class TutorialNode(Node):
    """Image in, result out."""

    def __init__(self, folder: str, variant: str, transport: str) -> None:
        """Load the model with the runtime's defaults and subscribe as tutorials do."""
        manifest = load_manifest(folder)
        super().__init__(manifest.task)
        self.spec = manifest.input
        self.task = create_task(manifest.for_variant(variant))
        chosen = manifest.variant(variant)
        self.infer = load(str(decompress(manifest.checked_path(variant), chosen.sha256)), chosen.backend)
        self.geometry: Any = None
        name, kind = RESULTS[manifest.task]
        message_type, topic = image_topic(transport)
        self.is_compressed = transport == "compressed"
        self.publisher = self.create_publisher(kind, f"~/{name}", 10)
        self.create_subscription(message_type, topic, self.callback, 10)

    def callback(self, msg: Any) -> None:
        """Process one image."""
        if self.is_compressed:
            image = cv2.imdecode(np.frombuffer(msg.data, np.uint8), cv2.IMREAD_COLOR)
        else:
            image = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)
        if self.geometry is None:  # where the resized image lies in the model's input; for the decoding
            self.geometry = self.task.prepare(Frame(image, "BGR"))[1]
        outputs = self.infer(self.preprocess(image))
        result = self.task.decode(outputs, self.geometry)
        self.publisher.publish(MESSAGES[self.task.name](result, msg.header))

    def preprocess(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the (1, 3, H, W) float32 input tensor."""
        place = self.geometry
        resized = cv2.resize(image, (place.resized_width, place.resized_height))
        padded = np.full((self.spec.height, self.spec.width, 3), self.spec.pad_value, np.uint8)
        top, left = place.offset_y, place.offset_x
        padded[top : top + place.resized_height, left : left + place.resized_width] = resized
        if self.spec.color == "RGB":
            padded = cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)
        scaled = padded.astype(np.float32) * self.spec.scale
        normalized = (scaled - np.array(self.spec.mean, np.float32)) / np.array(self.spec.std, np.float32)
        return np.ascontiguousarray(normalized.transpose(2, 0, 1)[np.newaxis], np.float32)


def load(path: str, backend: str) -> Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]:
    """Return a function from input tensor to named outputs, with the runtime's defaults."""
    if backend == "openvino":
        import openvino

        compiled = openvino.Core().compile_model(path, "CPU")

        def run(tensor: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
            return {output.any_name: value for output, value in compiled(tensor).items()}

        return run
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    feed = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]
    return lambda tensor: dict(zip(names, session.run(None, {feed: tensor}), strict=True))


def path_message(result: Any, header: Any) -> Path:
    """Return a trajectory, pose by pose."""
    path = Path()
    path.header.stamp = header.stamp
    path.header.frame_id = "base_link"
    for (x, y), heading in zip(result.points_xy_m, result.headings_rad, strict=True):
        pose = PoseStamped()
        pose.header = path.header
        pose.pose.position.x = float(x)
        pose.pose.position.y = float(y)
        pose.pose.orientation.z = math.sin(heading / 2.0)
        pose.pose.orientation.w = math.cos(heading / 2.0)
        path.poses.append(pose)
    return path


def detections_message(result: Any, header: Any) -> Detection2DArray:
    """Return boxes, one by one."""
    message = Detection2DArray()
    message.header = header
    for (left, top, right, bottom), score, number in zip(
        result.boxes_xyxy, result.scores, result.class_ids, strict=True
    ):
        detection = Detection2D()
        detection.header = header
        detection.bbox.center.position.x = float(left + right) / 2.0
        detection.bbox.center.position.y = float(top + bottom) / 2.0
        detection.bbox.size_x = float(right - left)
        detection.bbox.size_y = float(bottom - top)
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = result.labels[number]
        hypothesis.hypothesis.score = float(score)
        detection.results.append(hypothesis)
        message.detections.append(detection)
    return message


def mask_message(result: Any, header: Any) -> Image:
    """Return label ids as an image, filled as cv_bridge does."""
    message = Image()
    message.header = header
    message.height, message.width = result.label_ids.shape
    message.encoding = "mono8"
    message.step = message.width
    message.data.frombytes(result.label_ids.tobytes())
    return message


MESSAGES: dict[str, Callable[[Any, Any], Any]] = {
    "planning": path_message,
    "detection": detections_message,
    "segmentation": mask_message,
}


def main() -> None:
    """Run until stopped."""
    rclpy.init()
    node = TutorialNode(*rclpy.utilities.remove_ros_args(sys.argv)[1:])
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
