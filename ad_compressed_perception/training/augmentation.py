# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Altered copies of an image, and what becomes of its labels in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Augmentation:
    """A part of an image, mirrored or not, under another light.

    Attributes:
        top: first row of the part.
        left: its first column.
        height: its rows.
        width: its columns.
        mirrored: whether left and right are swapped.
        light: (256,) uint8, what each brightness becomes; None for the light it has.
        whole: whether it shows the image as it is.
    """

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False
    light: NDArray[np.uint8] | None = None
    whole: bool = False

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the view of a (H, W, 3) BGR image."""
        seen = self.mask(image)
        return seen if self.light is None else np.asarray(cv2.LUT(seen, self.light), np.uint8)

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the view of a (H, W, ...) array whose values are no brightnesses."""
        part = mask[self.top : self.top + self.height, self.left : self.left + self.width]
        return np.ascontiguousarray(part[:, ::-1]) if self.mirrored else part

    def boxes(self, boxes_xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """Return (N, 4) boxes of the image in the view's pixels, not clipped."""
        moved = np.asarray(boxes_xyxy, np.float32) - np.array([self.left, self.top] * 2, np.float32)
        if self.mirrored:
            moved = moved[:, [2, 1, 0, 3]]
            moved[:, [0, 2]] = self.width - moved[:, [0, 2]]
        return moved


def identity_augmentation(height: int, width: int) -> Augmentation:
    """Return the view that shows an image as it is."""
    return Augmentation(0, 0, height, width, whole=True)


def draw_augmentation(height: int, width: int, rng: np.random.Generator) -> Augmentation:
    """Return a random view of an image of the given size, pixels.

    The part keeps the proportions and 0.75 to 1 of each side: another place on the road, another lens. Gain
    0.6..1.4, offset -20..20, gamma 0.7..1.4: what exposure, dusk and another camera do.
    """
    share = rng.uniform(0.75, 1.0)
    rows, columns = (max(1, round(size * share)) for size in (height, width))
    top = int(rng.integers(0, height - rows + 1))
    left = int(rng.integers(0, width - columns + 1))
    mirrored = bool(rng.random() < 0.5)
    gain, offset, gamma = rng.uniform(0.6, 1.4), rng.uniform(-20.0, 20.0), rng.uniform(0.7, 1.4)
    gray = np.arange(256) / 255.0
    light = np.clip(gray**gamma * 255.0 * gain + offset, 0, 255).astype(np.uint8)
    return Augmentation(top, left, rows, columns, mirrored, light)
