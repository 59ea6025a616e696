# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small videos for the tests: packets by PyAV, files by OpenCV, which needs no codec of others."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ad_compressed_perception.data.video_messages import DEFINITIONS, VIDEO_TYPES

ENCODERS = {"h264": "libx264", "hevc": "libx265"}


def moving_image(index: int, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 BGR: squares of colors that move by 4 pixels a frame."""
    noise = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return np.ascontiguousarray(np.roll(noise.repeat(8, 0).repeat(8, 1), 4 * index, axis=1))


def packets_of(codec: str, count: int, gop: int = 10, *, b_frames: int = 0, **options: str) -> list[bytes]:
    """Return a packet for each of ``count`` moving images, a keyframe first and after every ``gop``."""
    av = pytest.importorskip("av", reason="needs PyAV, the extra [video]")
    if ENCODERS[codec] not in av.codecs_available:
        pytest.skip(f"this PyAV has no {ENCODERS[codec]}")
    context = av.CodecContext.create(ENCODERS[codec], "w")
    context.width, context.height, context.pix_fmt = 160, 96, "yuv420p"
    context.time_base, context.gop_size, context.max_b_frames = Fraction(1, 20), gop, b_frames
    quiet = {"x265-params": "log-level=none"} if codec == "hevc" else {}
    live = {} if b_frames else {"tune": "zerolatency", "preset": "ultrafast"}
    context.options = {"crf": "18", **live, **quiet, **options}
    packets: list[bytes] = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(moving_image(index), format="bgr24")
        frame.pts = index
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets + [bytes(packet) for packet in context.encode(None)]


def distance(pixels: NDArray[Any], index: int) -> float:
    """Return the mean difference from a moving image: below 12 for its own, above 30 for others."""
    return float(np.abs(pixels.astype(int) - moving_image(index)).mean())


def video_message(kind: str, packet: bytes, stamp_ns: int, codec: str) -> bytes:
    """Return a serialized message of a video: CompressedImage, or one of VIDEO_TYPES."""
    store = get_typestore(Stores.ROS2_JAZZY)
    if kind in VIDEO_TYPES:
        store.register(get_types_from_msg(DEFINITIONS[kind], kind))
    types: Any = store.types
    stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    header = types["std_msgs/msg/Header"](stamp, "camera")
    data = np.frombuffer(packet, np.uint8)
    if kind == VIDEO_TYPES[0]:
        message = types[kind](stamp, "camera", data, codec)
    elif kind == VIDEO_TYPES[1]:
        message = types[kind](header, 160, 96, f"{codec};yuv420p;bgr8", 0, 0, False, data)
    else:
        message = types[kind](header, codec, data)
    return bytes(store.serialize_cdr(message, kind))


def write_video_file(path: Path, count: int, rate_hz: float = 20.0) -> Path:
    """Write moving images as a video file: MPEG-4, of which OpenCV has its own encoder."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, (160, 96))
    assert writer.isOpened()
    for index in range(count):
        writer.write(moving_image(index))
    writer.release()
    return path
