# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images as one uint8 array, on the device if they fit there, otherwise as a memory map."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.image.decode import Frame, to_bgr8
from ad_compressed_perception.tasks.geometry import plan_geometry

_SHARE_OF_DEVICE = 0.45


def content_size(spec: InputSpec, width: int, height: int) -> tuple[int, int]:
    """Return (width, height) of an image after a model's resizing, without padding."""
    geometry = plan_geometry(spec, width, height)
    return geometry.resized_width, geometry.resized_height


def shrink(frame: Frame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return (h, w, 3) BGR pixels of a frame at a size, resized as in the package's preprocessing."""
    pixels = to_bgr8(frame)
    if (pixels.shape[1], pixels.shape[0]) != size:
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return pixels


class ImageBuffer:
    """(N, ...) uint8 images from which batches are gathered on a device."""

    def __init__(self, images: NDArray[np.uint8], device: torch.device) -> None:
        """Copy the images to the device if they take less than 45 % of its free memory."""
        self._device = device
        self._images = torch.from_numpy(images)
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if images.nbytes < _SHARE_OF_DEVICE * free:
                self._images = self._images.to(device)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def batch(self, rows: Tensor) -> Tensor:
        """Return the rows as they are stored, on the device."""
        return self._images[rows.to(self._images.device)].to(self._device, non_blocking=True)


def in_parts(total: int, size: int) -> Iterator[slice]:
    """Yield slices of at most ``size`` that cover 0..total."""
    for first in range(0, total, size):
        yield slice(first, min(first + size, total))
