# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of objects and their distances on a flat road, against distances by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ad_compressed_perception.metrics.object_parts import (
    GroundCamera,
    band_of_rows,
    distance_bands,
    size_classes,
)

LEVEL = GroundCamera(focal_px=700.0, center_y_px=180.0, height_m=1.5)


def test_sizes_are_those_of_coco() -> None:
    """32^2 and 96^2 pixels belong to the larger class."""
    sides = [31.9, 32.0, 95.9, 96.0]
    boxes = np.array([(0, 0, side, side) for side in sides], np.float32)
    assert size_classes(boxes).tolist() == [0, 1, 1, 2]
    assert size_classes(np.zeros((0, 4), np.float32)).tolist() == []


@pytest.mark.parametrize(
    ("row", "expected_m"),
    [(180.0 + 35.0, 30.0), (180.0 + 21.0, 50.0), (180.0, math.inf), (100.0, math.inf)],
)
def test_a_level_camera_sees_the_road_at_focal_times_height_over_rows(row: float, expected_m: float) -> None:
    """Z = f h / (v - cy): 700 * 1.5 / 35 is 30 m, / 21 is 50 m; at the horizon and above there is no road."""
    assert LEVEL.distances_m(np.array([row]))[0] == pytest.approx(expected_m)


def test_a_camera_that_looks_down_sees_its_center_at_height_over_tangent() -> None:
    tilted = GroundCamera(700.0, 180.0, 1.5, pitch_rad=0.1)
    assert tilted.distances_m(np.array([180.0]))[0] == pytest.approx(1.5 / math.tan(0.1))


def test_bands_are_those_of_the_lower_edge() -> None:
    """Lower edges 40, 30 and 10 rows below the horizon: 26 m, 35 m and 105 m; one that floats is far."""
    boxes = np.array([(0, 0, 9, 180 + rows) for rows in (40, 30, 10, -50)], np.float32)
    assert distance_bands(boxes, LEVEL).tolist() == [0, 1, 2, 2]
    bands = band_of_rows(360, LEVEL)
    assert (bands[0], bands[-1]) == (2, 0)
    assert np.all(np.diff(bands) <= 0)
