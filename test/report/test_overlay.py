# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Overlays: positions of boxes, tints and paths, and the size of the image."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.report.overlay import (
    PALETTE_BGR,
    DrawingCamera,
    describe_steering,
    draw_detections,
    draw_mask,
    draw_result,
)
from ad_compressed_perception.report.panels import Panel, side_by_side, with_steering, write_png
from ad_compressed_perception.tasks.planning import arc_points, curvature_of_steering

LABELS = ("car", "person")
RATIO, WHEELBASE_M = 14.8, 2.85


def gray(width: int = 320, height: int = 240) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def one_box(left: float, top: float, right: float, bottom: float, class_id: int = 0) -> Detections:
    return Detections(
        np.array([[left, top, right, bottom]], np.float32),
        np.array([0.9], np.float32),
        np.array([class_id], np.int64),
        LABELS,
    )


def path(angle_rad: float) -> Trajectory:
    curvature = curvature_of_steering(angle_rad, RATIO, WHEELBASE_M)
    points, headings = arc_points(curvature, 30.0, 20)
    return Trajectory(points, headings, math.nan, 10.0)


def test_a_box_is_drawn_on_its_edges_and_nowhere_else() -> None:
    image = gray()
    drawn = draw_detections(image, one_box(100, 120, 180, 200))
    color = PALETTE_BGR[0]
    for x, y in ((100, 160), (180, 160), (140, 200), (140, 120)):
        assert tuple(drawn[y, x]) == color
    assert tuple(drawn[160, 140]) == (90, 90, 90)  # inside
    assert tuple(drawn[220, 300]) == (90, 90, 90)  # far away
    assert (image == 90).all()  # the source is not touched


def test_boxes_beyond_the_image_and_none_at_all_are_drawn_without_complaint() -> None:
    assert draw_detections(gray(), one_box(-50, -50, 5000, 5000)).shape == (240, 320, 3)
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), LABELS)
    assert (draw_detections(gray(), none) == 90).all()


def test_a_mask_tints_its_labels_and_leaves_the_background() -> None:
    ids = np.zeros((240, 320), np.uint8)
    ids[100:, :] = 1
    drawn = draw_mask(gray(), LabelMask(ids, ("background", "road")), opacity=0.5)
    assert tuple(drawn[50, 50]) == (90, 90, 90)
    expected = [round((90 + channel) / 2) for channel in PALETTE_BGR[1]]
    assert drawn[150, 50].tolist() == pytest.approx(expected, abs=1)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="10x10.*320x240"):
        draw_mask(gray(), LabelMask(np.zeros((10, 10), np.uint8), ("road",)))


def test_the_camera_projects_by_the_pinhole_formula() -> None:
    # 90 degrees across 200 pixels is a focal length of 100 pixels; level, 1 m up, nothing in front.
    camera = DrawingCamera(height_m=1.0, horizontal_fov_deg=90.0, pitch_deg=0.0, forward_m=0.0)
    pixels = camera.project(np.array([[10.0, 0.0], [10.0, 2.0], [-5.0, 0.0]]), 200, 100)
    # 10 m ahead the road lies 100 * 1 / 10 below the middle; 2 m to the left is 20 pixels to the left.
    np.testing.assert_allclose(pixels, [[100.0, 60.0], [80.0, 60.0]])


def test_looking_down_raises_the_horizon() -> None:
    camera = DrawingCamera(height_m=1.0, horizontal_fov_deg=90.0, pitch_deg=5.0, forward_m=0.0)
    far = camera.project(np.array([[1e7, 0.0]]), 200, 100)[0]
    assert far[1] == pytest.approx(50.0 - 100.0 * math.tan(math.radians(5.0)), abs=0.01)


def test_a_straight_path_is_drawn_up_the_middle_and_a_left_one_to_the_left() -> None:
    straight = draw_result(gray(), path(0.0)).astype(int)
    left = draw_result(gray(), path(3.0)).astype(int)

    def middle_line(image: np.ndarray) -> list[float]:
        rows = [np.flatnonzero(image[row].min(axis=1) > 200) for row in range(150, 230, 10)]
        return [float(row.mean()) for row in rows if len(row)]

    assert np.allclose(middle_line(straight), 160.0, atol=2.0)
    assert middle_line(left)[0] < 140.0


@given(st.floats(-6.0, 6.0))
def test_the_steering_angle_comes_back_from_the_path(angle_rad: float) -> None:
    # The path is sampled: its length is measured along chords, a little shorter than the arc.
    found = with_steering(path(angle_rad), RATIO, WHEELBASE_M)
    assert found.steering_wheel_angle_rad == pytest.approx(angle_rad, rel=0.01, abs=1e-9)


def test_a_given_angle_is_kept_and_a_path_without_length_gets_none() -> None:
    given_angle = Trajectory(np.ones((2, 2)), np.zeros(2), 0.1, 5.0, 0.25)
    assert with_steering(given_angle, RATIO, WHEELBASE_M) is given_angle
    standing = Trajectory(np.zeros((2, 2)), np.zeros(2), 0.0, 0.0)
    assert math.isnan(with_steering(standing, RATIO, WHEELBASE_M).steering_wheel_angle_rad)
    assert "curvature" in describe_steering(standing)
    assert describe_steering(given_angle) == "steering wheel 14.3 deg left"


@pytest.mark.parametrize("panels", [1, 2, 3])
def test_side_by_side_has_the_documented_size(panels: int, tmp_path: Path) -> None:
    result = one_box(50, 60, 90, 100)
    image = side_by_side(
        gray(), [Panel(result, "int8", "onnxruntime")] * panels, headline="detection", panel_width=640
    )
    # 320x240 scaled to 640x480, below 30 pixels of headline and 46 of captions; 6 between panels.
    assert image.shape == (30 + 46 + 480, panels * 646 - 6, 3)
    # The box's left edge at x = 50 is at 100 in each panel, its middle at y = 80 is at 160.
    for index in range(panels):
        assert tuple(image[76 + 160, index * 646 + 100]) == PALETTE_BGR[0]
    read = cv2.imread(str(write_png(tmp_path / "image.png", image)))
    assert (read == image).all()


def test_masks_get_a_legend_below() -> None:
    mask = LabelMask(np.ones((240, 320), np.uint8), ("background", "road"))
    image = side_by_side(gray(), [Panel(mask, "baseline", "")], headline="", panel_width=320)
    assert image.shape == (30 + 46 + 240 + 26, 320, 3)
    assert tuple(image[30 + 46 + 240 + 12, 16]) == PALETTE_BGR[1]
