# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Augmented copies of an image, with its masks and boxes transformed the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Augmentation:
    """A crop of an image, optionally mirrored, with a brightness curve.

    Attributes:
        top: first row of the crop.
        left: its first column.
        height: its rows.
        width: its columns.
        mirrored: whether left and right are swapped.
        tone_curve: (256,) uint8, the new value of each pixel value; None leaves values unchanged.
        is_identity: whether it leaves the image unaltered.
    """

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False
    tone_curve: NDArray[np.uint8] | None = None
    is_identity: bool = False

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the augmented (H, W, 3) BGR image."""
        crop = self.mask(image)
        return crop if self.tone_curve is None else np.asarray(cv2.LUT(crop, self.tone_curve), np.uint8)

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the cropped and mirrored (H, W, ...) array; values stay, as of class indices."""
        crop = mask[self.top : self.top + self.height, self.left : self.left + self.width]
        return np.ascontiguousarray(crop[:, ::-1]) if self.mirrored else crop

    def boxes(self, boxes_xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """Return (N, 4) boxes of the image in the crop's pixels, not clipped."""
        moved = np.asarray(boxes_xyxy, np.float32) - np.array([self.left, self.top] * 2, np.float32)
        if self.mirrored:
            moved = moved[:, [2, 1, 0, 3]]
            moved[:, [0, 2]] = self.width - moved[:, [0, 2]]
        return moved


def identity_augmentation(height: int, width: int) -> Augmentation:
    """Return the augmentation that leaves an image unaltered."""
    return Augmentation(0, 0, height, width, is_identity=True)


def draw_augmentation(height: int, width: int, rng: np.random.Generator) -> Augmentation:
    """Return a random augmentation of an image of the given size, pixels.

    The crop keeps the aspect ratio and 0.75 to 1 of each side, as from another position or lens. Gain
    0.6..1.4, offset -20..20 and gamma 0.7..1.4 vary exposure and lighting.
    """
    share = rng.uniform(0.75, 1.0)
    rows, columns = (max(1, round(size * share)) for size in (height, width))
    top = int(rng.integers(0, height - rows + 1))
    left = int(rng.integers(0, width - columns + 1))
    mirrored = bool(rng.random() < 0.5)
    gain, offset, gamma = rng.uniform(0.6, 1.4), rng.uniform(-20.0, 20.0), rng.uniform(0.7, 1.4)
    gray = np.arange(256) / 255.0
    tone_curve = np.clip(gray**gamma * 255.0 * gain + offset, 0, 255).astype(np.uint8)
    return Augmentation(top, left, rows, columns, mirrored, tone_curve)
