# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The camera frames that every target gets: of the road camera, or of a recording scaled to the sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.image.decode import Frame, decode_image, to_bgr8
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.messages.image import serialize_image
from benchmark.hot_path.stamps import with_stamp

JPEG_QUALITY = 90


def images_of(size: str, count: int, bag: Path | None = None) -> list[NDArray[np.uint8]]:
    """Return (H, W, 3) uint8 BGR images in the order of a drive.

    Args:
        size: WIDTHxHEIGHT.
        count: of images; a recording with fewer gives what it has.
        bag: a recording; None renders the road camera.

    Raises:
        DataError: the recording cannot be read or holds no image.
    """
    width, height = (int(side) for side in size.split("x"))
    if bag is None:
        return _rendered(width, height, count)
    images: list[NDArray[np.uint8]] = []
    with BagReader(bag) as reader:
        topic = reader.resolve_image_topic()
        for _, _, message in reader.image_messages(topic):
            image = to_bgr8(decode_image(message, topic))
            images.append(np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)))
            if len(images) == count:
                break
    if not images:
        raise DataError(f"{bag}: no image on {topic}")
    return images


def _rendered(width: int, height: int, count: int) -> list[NDArray[np.uint8]]:
    from ad_road_simulation.recording.drive import driven_frames
    from ad_road_simulation.renderer.renderer import Renderer
    from ad_road_simulation.world.camera import Camera
    from ad_road_simulation.world.layout import RouteOptions

    renderer = Renderer(Camera(width, height))
    drive = driven_frames(7, count, RouteOptions(), renderer, 5.0)
    return [frame.image_bgr.copy() for frame in drive]


@dataclass(frozen=True)
class CameraFrame:
    """One frame as bytes.

    Attributes:
        payload: the JPEG file, or the pixels row by row.
        shape: (height, width).
        cdr: the serialized message; its stamp is zero.
    """

    payload: bytes
    shape: tuple[int, int]
    cdr: bytes

    def stamped(self, stamp_ns: int) -> bytes:
        """Return the serialized message with a stamp."""
        return with_stamp(self.cdr, stamp_ns)

    def decode(self) -> Frame:
        """Return the frame as the floor gets it: cv2.imdecode, or a view of the pixels."""
        data = np.frombuffer(self.payload, np.uint8)
        if len(self.payload) == self.shape[0] * self.shape[1] * 3:
            return Frame(data.reshape(*self.shape, 3), "BGR")
        return Frame(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), "BGR")


def camera_frames(images: list[NDArray[np.uint8]], image_format: str) -> list[CameraFrame]:
    """Return images as the messages of a camera topic: "raw" Image (bgr8) or "jpeg" CompressedImage."""
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header

    frames = []
    for image in images:
        header = Header(frame_id="camera")
        if image_format == "raw":
            payload, serialized = image.tobytes(), serialize_image(image, "bgr8", header)
        else:
            payload = encode_jpeg(image, JPEG_QUALITY)
            message = CompressedImage(header=header, format="jpeg")
            message.data.frombytes(payload)
            serialized = serialize_message(message)
        frames.append(CameraFrame(payload, (image.shape[0], image.shape[1]), serialized))
    return frames
