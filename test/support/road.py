# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drawn road camera frames, on which the tiny models of support.models match the ground truth."""

from __future__ import annotations

import math

import numpy as np

from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.driving.odometry import Odometry
from ad_compressed_perception.driving.path_tracker import Pose
from ad_road_simulation.world.road_frame import RoadFrame
from support.labeled import CELL, COLORS
from support.models import DETECTOR_LABELS, SEGMENTER_LABELS

STEP_S = 0.15


def straight_trajectory(speed_mps: float, points: int = 20) -> Trajectory:
    """Return a straight trajectory at constant speed."""
    ahead_m = speed_mps * STEP_S * np.arange(1, points + 1)
    return Trajectory(
        np.stack([ahead_m, np.zeros(points)], axis=1),
        np.zeros(points),
        0.0,
        speed_mps,
        0.0,
        speeds_mps=np.full(points, speed_mps),
        step_s=STEP_S,
        clear_distance_m=math.inf,
        stop_probability=0.0,
        proceed_after_stop_probability=0.0,
    )


def drawn_frame(index: int, speed_mps: float = 8.0, drive: int = 0) -> RoadFrame:
    """Return a 64x64 image of two cars at the same height, symmetric left and right: straight ahead."""
    image, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    boxes = []
    for column in (1, 6):
        left, top = CELL * column, CELL * (1 + index % 6)
        image[top : top + CELL, left : left + CELL] = COLORS["car"]
        mask[top : top + CELL, left : left + CELL] = SEGMENTER_LABELS.index("blue")
        boxes.append((left, top, left + CELL, top + CELL))
    return RoadFrame(
        stamp_ns=(10 + index) * 100_000_000,
        drive=drive,
        image_bgr=image,
        detections=Detections(
            np.array(boxes, np.float32), np.ones(2, np.float32), np.zeros(2, np.int64), tuple(DETECTOR_LABELS)
        ),
        visible_shares=np.array([1.0, 0.5]),
        mask=LabelMask(mask, tuple(SEGMENTER_LABELS)),
        trajectory=straight_trajectory(speed_mps),
        odometry=Odometry(1.0 + 0.1 * index, Pose(0.8 * index, 0.0, 0.0), speed_mps, 0.0),
    )
