# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What camera_info says of how a camera forms its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

DISTORTION_MODELS: Final = ("", "plumb_bob", "rational_polynomial", "equidistant")
"""Of camera_info; the empty one stands for a pinhole without distortion."""


@dataclass(frozen=True)
class Intrinsics:
    """A calibrated camera.

    Attributes:
        matrix: (3, 3) float64, pixels.
        width, height: of the images that it is valid for, pixels.
        model: one of DISTORTION_MODELS.
        distortion: coefficients of the model, in the order of camera_info, which is OpenCV's.
    """

    matrix: NDArray[np.float64]
    width: int
    height: int
    model: str = ""
    distortion: tuple[float, ...] = ()

    def project(self, points_m: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Return the (N, 2) pixels of (N, 3) points in an image of this size.

        Args:
            points_m: in the optical frame (x right, y down, z along the axis), each with z > 0.
            width: of the image, which may be a scaled one; pixels are as in camera_info: integers are pixel
                centers.
            height: likewise.
        """
        matrix = self.matrix
        points = np.ascontiguousarray(points_m, np.float64).reshape(-1, 1, 3)
        zero = np.zeros(3)
        if not len(points):
            return np.zeros((0, 2))
        if self.model == "equidistant":
            coefficients = np.resize(np.asarray(self.distortion, np.float64), 4)
            found, _ = cv2.fisheye.projectPoints(points, zero, zero, matrix, coefficients)
        else:
            found, _ = cv2.projectPoints(points, zero, zero, matrix, np.asarray(self.distortion, np.float64))
        scale = np.array([width / self.width, height / self.height])
        return (found.reshape(-1, 2) + 0.5) * scale - 0.5
