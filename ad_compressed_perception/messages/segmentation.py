# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label masks to mono8 images and back."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ad_compressed_perception.errors import ResultError
from ad_compressed_perception.image import decode_image
from ad_compressed_perception.results import LabelMask


def to_message(mask: LabelMask, header: Header) -> Image:
    """Return the label ids as a mono8 image of the source's size under the source's header."""
    height, width = mask.label_ids.shape
    message = Image(header=header, height=height, width=width, encoding="mono8", step=width)
    # rclpy assigns array('B') by reference; any other sequence would be checked element by element.
    data = array("B")
    data.frombytes(np.ascontiguousarray(mask.label_ids).data)
    message.data = data
    return message


def from_message(message: Image, labels: Sequence[str]) -> LabelMask:
    """Return the mask of a mono8 image.

    Raises:
        ImageError: the image is malformed.
        ResultError: it is not mono8, or holds an id without a label.
    """
    if message.encoding != "mono8":
        raise ResultError(f"a label mask is mono8, not {message.encoding!r}")
    label_ids = decode_image(message, "mask").pixels
    highest = int(label_ids.max())
    if highest >= len(labels):
        raise ResultError(f"the mask holds label id {highest}, there are {len(labels)} labels")
    return LabelMask(label_ids, tuple(labels))
