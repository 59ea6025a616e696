# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Raw images of drivers whose step, height or number of bytes are not those that the encoding asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ImageError

_TRAILER_BYTES = 4096
"""Of a page, to which buffers are rounded up."""
_TRAILER_SHARE = 16


def find_layout(row_bytes: int, chroma_rows: int, size: int, height: int, step: int) -> tuple[int, int]:
    """Return (height of the image, bytes from row to row) of a message whose sizes are unusual.

    Read are, for ``size`` bytes and R rows: no step (0), a last row without padding, and up to a page or
    1/16 of the image behind it (rounded buffers, lines of metadata). Of nv12 and nv21 also: a step of 3/2 of
    the width, which counts the chroma of a row, and a height of 3/2 of the image's, which counts its rows.

    Args:
        row_bytes: bytes of a row's pixels.
        chroma_rows: see Encoding.
        size: bytes of the message.
        height: as the message says.
        step: as the message says.

    Raises:
        ImageError: the bytes are not an image of this size.
    """
    if step == 0:
        step = row_bytes
    rows = height + height * chroma_rows // 2
    if chroma_rows == 1 and size < step * (rows - 1) + row_bytes:
        if 2 * step == 3 * row_bytes and size >= row_bytes * rows:
            step = row_bytes
        elif height % 3 == 0 and size >= step * (height - 1) + row_bytes:
            height = height * 2 // 3
    if step < row_bytes:
        raise ImageError(f"step is too small: a row needs {row_bytes} bytes, got {step}")
    rows = height + height * chroma_rows // 2
    if rows == 1:  # whatever the step to a second row is
        step = row_bytes
    least, most = step * (rows - 1) + row_bytes, step * rows
    if chroma_rows == 4:  # the last row of chroma is as long as two of luma
        least = step * (rows - 2) + 2 * row_bytes
    if not least <= size <= most + max(_TRAILER_BYTES, most // _TRAILER_SHARE):
        raise ImageError(f"wrong size: expected {most} bytes ({rows} rows of {step}), got {size}")
    return height, step


def nv12_of_nv24(data: NDArray[np.uint8], width: int, height: int, step: int) -> NDArray[np.uint8]:
    """Return an image with a chroma pair for each pixel as nv12 of twice its size, (3 H, 2 W) uint8.

    OpenCV converts nv12 only; each pixel becomes four with the same chroma.
    """
    luma = np.ndarray((height, width), np.uint8, buffer=data, strides=(step, 1))
    chroma = np.ndarray(
        (height, 2 * width), np.uint8, buffer=data, offset=height * step, strides=(2 * step, 1)
    )
    return np.concatenate([luma.repeat(2, axis=0).repeat(2, axis=1), chroma])
