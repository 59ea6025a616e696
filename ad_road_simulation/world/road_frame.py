# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One camera image with its ground truth in the package's result types, as published and recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.driving.odometry import Odometry

CAMERA_FRAME, BASE_FRAME, ODOMETRY_FRAME = "camera_front_optical_frame", "base_link", "odom"
"""Names of the coordinate frames (REP-103, REP-105): x right, y down, z ahead; x ahead, y left; the start."""


@dataclass(frozen=True)
class RoadFrame:
    """An image with the ground truth and odometry of its time.

    Attributes:
        stamp_ns: of the image; more than 0.
        drive: number of the drive; frames of one drive are consecutive in time.
        image_bgr: (H, W, 3) uint8.
        detections: ground truth boxes in source pixels, scores 1.
        visible_shares: (N,) float64, 0..1, visible share of each box's object.
        mask: ground truth label of every pixel; (0, 0) where it was not requested.
        trajectory: the reference trajectory, in base_link.
        odometry: of the vehicle, at the stamp.
    """

    stamp_ns: int
    drive: int
    image_bgr: NDArray[np.uint8]
    detections: Detections
    visible_shares: NDArray[np.float64]
    mask: LabelMask
    trajectory: Trajectory
    odometry: Odometry
