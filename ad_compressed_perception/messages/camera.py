# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed images and camera parameters to sensor_msgs, and back."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.image.intrinsics import DISTORTION_MODELS, Intrinsics


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


def from_camera_info(message: CameraInfo, *, rectified: bool = False) -> Intrinsics:
    """Return a camera's intrinsics.

    Args:
        message: of the camera.
        rectified: whether they are to be those of the rectified images (P) or of the raw ones (K and D).

    Raises:
        DataError: the camera is not calibrated, or has a distortion of an unknown model.
    """
    matrix = np.asarray(message.p, np.float64).reshape(3, 4)[:, :3] if rectified else None
    matrix = np.asarray(message.k, np.float64).reshape(3, 3) if matrix is None else matrix.copy()
    width, height = int(message.width), int(message.height)
    if not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1], width, height) <= 0:
        raise DataError("camera_info of a camera that is not calibrated")
    distortion = () if rectified else tuple(float(each) for each in message.d)
    if not any(distortion):
        return Intrinsics(matrix, width, height)
    if not np.isfinite(distortion).all() or message.distortion_model not in DISTORTION_MODELS:
        raise DataError(f"camera_info with the distortion model {message.distortion_model[:40]!r}")
    return Intrinsics(matrix, width, height, message.distortion_model, distortion)
