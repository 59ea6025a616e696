# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label masks to serialized mono8 images and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import LabelMask
from ad_compressed_perception.image.decode import decode_image
from ad_compressed_perception.messages.cdr import EXAMPLE
from ad_compressed_perception.messages.image import serialize_image


def serialize(mask: LabelMask, header: Any) -> bytes:
    """Return the label ids as a mono8 Image of the source's size under the source's header."""
    return serialize_image(mask.label_ids, "mono8", header)


def examples() -> dict[type, bytes]:
    """Return a message of each type that is written here, to compare with the installed types."""
    return {Image: serialize(LabelMask(np.ones((2, 3), np.uint8), ("road",)), EXAMPLE)}


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
