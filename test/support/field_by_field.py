# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results as messages built field by field by rclpy's classes: what the serialized ones must be equal to."""

from __future__ import annotations

import math
from array import array
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    Classification,
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from ad_compressed_perception.core import results
from ad_compressed_perception.core.results import Detections, Trajectory


def path_message(trajectory: Trajectory, header: Header) -> Path:
    path = Path(header=header)
    rows = zip(trajectory.points_xy_m.tolist(), trajectory.headings_rad.tolist(), strict=True)
    for (x, y), heading in rows:
        pose = PoseStamped(header=header)
        pose.pose.position.x, pose.pose.position.y = x, y
        pose.pose.orientation.z = math.sin(heading / 2.0)
        pose.pose.orientation.w = math.cos(heading / 2.0)
        path.poses.append(pose)
    return path


def command_message(speed_mps: float, curvature_per_m: float, header: Header) -> TwistStamped:
    command = TwistStamped(header=header)
    command.twist.linear.x = speed_mps
    command.twist.angular.z = speed_mps * curvature_per_m
    return command


def detections_message(detections: Detections, header: Header) -> Detection2DArray:
    message = Detection2DArray(header=header)
    for box, score, class_id in zip(
        detections.boxes_xyxy.tolist(),
        detections.scores.tolist(),
        detections.class_ids.tolist(),
        strict=True,
    ):
        left, top, right, bottom = box
        detection = Detection2D(header=header)
        detection.bbox.center.position.x = (left + right) / 2.0
        detection.bbox.center.position.y = (top + bottom) / 2.0
        detection.bbox.size_x, detection.bbox.size_y = right - left, bottom - top
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = detections.labels[class_id]
        hypothesis.hypothesis.score = score
        detection.results.append(hypothesis)
        message.detections.append(detection)
    return message


def classification_message(found: results.Classification, header: Header) -> Classification:
    message = Classification(header=header)
    for class_id in found.ranked.tolist():
        score = float(found.scores[class_id])
        message.results.append(ObjectHypothesis(class_id=found.labels[class_id], score=score))
    return message


def pixels_message(pixels: Any, encoding: str, header: Header) -> Image:
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = pixels.nbytes // height
    message.data = array("B", pixels.tobytes())
    return message


def header_of(sec: int, nanosec: int, frame_id: str) -> Header:
    return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
