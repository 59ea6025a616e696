# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Odometry to nav_msgs and back."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry as OdometryMessage

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.driving.odometry import Odometry
from ad_compressed_perception.driving.path_tracker import Pose
from ad_compressed_perception.messages.timing import stamp_to_ns

_NORM_TOLERANCE = 0.1


def to_message(odometry: Odometry, stamp: Time, frame_id: str, child_frame_id: str) -> OdometryMessage:
    """Return pose in ``frame_id`` and twist in ``child_frame_id``; the covariances are left zero."""
    message = OdometryMessage(child_frame_id=child_frame_id)
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    message.pose.pose.position.x = odometry.pose.x_m
    message.pose.pose.position.y = odometry.pose.y_m
    message.pose.pose.orientation.z = math.sin(odometry.pose.heading_rad / 2.0)
    message.pose.pose.orientation.w = math.cos(odometry.pose.heading_rad / 2.0)
    message.twist.twist.linear.x = odometry.speed_mps
    message.twist.twist.angular.z = odometry.yaw_rate_radps
    return message


def from_message(message: OdometryMessage) -> Odometry:
    """Return the planar part of a message: yaw of the orientation, speed along x, yaw rate.

    Raises:
        DataError: the orientation is no unit quaternion.
    """
    rotation = message.pose.pose.orientation
    norm = math.hypot(rotation.x, rotation.y, rotation.z, rotation.w)
    if not abs(norm - 1.0) <= _NORM_TOLERANCE:
        raise DataError(f"odometry with an orientation of norm {norm:g}, which should be 1, is not used")
    yaw = math.atan2(
        2.0 * (rotation.w * rotation.z + rotation.x * rotation.y),
        1.0 - 2.0 * (rotation.y * rotation.y + rotation.z * rotation.z),
    )
    position, twist = message.pose.pose.position, message.twist.twist
    return Odometry(
        stamp_to_ns(message.header.stamp) * 1e-9,
        Pose(position.x, position.y, yaw),
        twist.linear.x,
        twist.angular.z,
    )
