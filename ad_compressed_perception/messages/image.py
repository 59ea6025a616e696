# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels to serialized sensor_msgs/Image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from ad_compressed_perception.messages.cdr import CdrWriter

__all__ = ["Image", "serialize_image"]


def serialize_image(pixels: NDArray[Any], encoding: str, header: Any) -> bytes:
    """Return (H, W) or (H, W, C) uint8 pixels as an image without row padding under a header."""
    height, width = pixels.shape[:2]
    message = CdrWriter(header.stamp, header.frame_id)
    message.numbers("I", height, width)
    message.text(encoding)
    message.numbers("B", 0)
    message.numbers("I", pixels.nbytes // height)
    message.octets(np.ascontiguousarray(pixels))
    return bytes(message)
