# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels to files of images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ImageError


def encode_jpeg(bgr: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Return a JPEG file of an image.

    Args:
        bgr: (H, W, 3) uint8 BGR or (H, W) uint8 gray.
        quality: 1 (smallest) to 100.

    Raises:
        ImageError: no such image or quality, or a side above JPEG's 65500 pixels.
    """
    if not 1 <= quality <= 100:
        raise ImageError(f"the quality of a JPEG is 1 to 100, got {quality}")
    is_image = bgr.ndim == 2 or (bgr.ndim == 3 and bgr.shape[2] == 3)
    if bgr.dtype != np.uint8 or not is_image or bgr.size == 0 or max(bgr.shape) > 65500:
        raise ImageError(
            f"a JPEG needs (H, W, 3) or (H, W) uint8 of 1 to 65500 pixels a side, "
            f"got {bgr.dtype}{list(bgr.shape)}"
        )
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()
