# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of videos that are no sensor_msgs, seen as sensor_msgs/CompressedImage of the same packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
VIDEO_TYPES = ("foxglove_msgs/msg/CompressedVideo", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket")
# For files without definitions: https://github.com/foxglove/foxglove-sdk (CompressedVideo) and
# https://github.com/ros-misc-utilities/ffmpeg_image_transport_msgs (FFMPEGPacket).
DEFINITIONS = {
    VIDEO_TYPES[0]: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format",
    VIDEO_TYPES[1]: (
        "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
        "bool is_bigendian\nuint8[] data"
    ),
}


def to_compressed_image(message: Any, store: Typestore) -> Any:
    """Return a message of one of VIDEO_TYPES as a CompressedImage of a store of ROS 2's own types."""
    types = store.types
    if hasattr(message, "header"):
        stamp, frame, text = message.header.stamp, message.header.frame_id, message.encoding
    else:
        stamp, frame, text = message.timestamp, message.frame_id, message.format
    time = types["builtin_interfaces/msg/Time"](stamp.sec, stamp.nanosec)
    return types[COMPRESSED_IMAGE](types["std_msgs/msg/Header"](time, frame), text, message.data)
