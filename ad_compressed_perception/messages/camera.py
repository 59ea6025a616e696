# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed images and camera parameters to sensor_msgs."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from ad_compressed_perception.image.encode import encode_jpeg


def to_compressed(bgr: NDArray[np.uint8], quality: int, header: Header) -> CompressedImage:
    """Return a (H, W, 3) image as JPEG of this quality under a header."""
    message = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
    data = array("B")
    data.frombytes(encode_jpeg(bgr, quality))
    message.data = data
    return message


def to_camera_info(matrix: NDArray[np.float64], width: int, height: int, header: Header) -> CameraInfo:
    """Return a pinhole camera without distortion from its (3, 3) matrix, pixels."""
    message = CameraInfo(header=header, width=width, height=height, distortion_model="plumb_bob")
    message.d = [0.0] * 5
    message.k = matrix.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist()
    return message
