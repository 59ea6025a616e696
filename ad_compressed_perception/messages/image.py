# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images and pinhole camera parameters to sensor_msgs."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header


def to_image(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """Return (H, W) or (H, W, C) uint8 pixels as an image without row padding under a header."""
    height, width = pixels.shape[:2]
    # rclpy assigns array('B') by reference; any other sequence would be checked element by element.
    data = array("B")
    data.frombytes(np.ascontiguousarray(pixels).data)
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = len(data) // height
    message.data = data
    return message
