# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frame attributes, the slices chosen by them, and the frames that differ most."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.compression.verification.frame_log import (
    WORST_FRAMES,
    FrameLog,
    brightness,
    label_edges,
    object_density,
    steering_magnitude,
)
from ad_compressed_perception.compression.verification.slices import choose_slices
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.image.decode import Frame


def image(blue: int, green: int, red: int) -> np.ndarray:
    return np.full((8, 8, 3), (blue, green, red), np.uint8)


def boxes(count: int) -> Detections:
    return Detections(
        np.zeros((count, 4), np.float32), np.ones(count, np.float32), np.zeros(count, np.int64), ("car",)
    )


def path(angle_rad: float, curvature: float = 0.0) -> Trajectory:
    return Trajectory(np.ones((2, 2)), np.zeros(2), curvature, 10.0, angle_rad)


def test_brightness_is_luma_in_either_color_order() -> None:
    expected = 0.114 * 10 + 0.587 * 100 + 0.299 * 200
    assert brightness(Frame(image(10, 100, 200), "BGR")) == pytest.approx(expected)
    assert brightness(Frame(image(200, 100, 10), "RGB")) == pytest.approx(expected)
    assert brightness(Frame(np.full((8, 8), 77, np.uint8), "GRAY")) == 77.0
    # 16-bit gray is reduced to its upper eight bits.
    assert brightness(Frame(np.full((8, 8), 77 << 8, np.uint16), "GRAY")) == 77.0


def test_object_density_counts_objects_and_edges_of_labels() -> None:
    assert object_density(boxes(5)) == 5.0
    halves = np.zeros((2, 4), np.uint8)
    halves[:, 2:] = 1
    # 6 pairs side by side, 2 of them across the edge; 4 pairs one above the other, none across.
    assert label_edges(halves) == pytest.approx(2 / 10)
    assert object_density(LabelMask(halves, ("a", "b"))) == pytest.approx(0.2)
    assert math.isnan(object_density(path(0.1)))


def test_steering_magnitude_is_the_angle_or_else_the_curvature() -> None:
    assert steering_magnitude(path(-0.5)) == 0.5
    assert steering_magnitude(path(math.nan, -0.02)) == 0.02
    assert math.isnan(steering_magnitude(boxes(1)))


def test_a_tenth_of_the_frames_with_the_most_extreme_values() -> None:
    values = np.arange(25.0)
    chosen = {rule.name: places.tolist() for rule, places in choose_slices(
        {"brightness": values, "object_density": values, "steering_magnitude": np.full(25, np.nan)}
    ).items()}  # fmt: skip
    # A tenth of 25, rounded up, is 3; an attribute that no frame has makes no slice.
    assert chosen == {"darkest": [0, 1, 2], "most_crowded": [22, 23, 24]}


def test_equal_frames_make_no_slice_and_ties_go_to_the_earlier() -> None:
    assert choose_slices({"object_density": np.zeros(30)}) == {}
    (places,) = choose_slices({"object_density": np.array([1.0] * 19 + [0.0])}).values()
    assert places.tolist() == [0, 1]


@given(st.lists(st.floats(0.0, 255.0), min_size=1, max_size=60))
def test_the_darkest_are_no_brighter_than_the_rest(values: list[float]) -> None:
    for places in choose_slices({"brightness": np.array(values)}).values():
        rest = np.delete(np.array(values), places)
        assert len(places) == math.ceil(len(values) / 10)
        assert rest.size == 0 or max(values[place] for place in places) <= rest.min()


def test_the_frames_that_differ_most_are_kept_and_those_alike_are_not() -> None:
    log = FrameLog()
    differences = [0.0, 3.0, 1.0, 2.0, 5.0, 0.5, 4.0, 0.25, math.inf, 0.0]
    for place, difference in enumerate(differences):
        log.add(Frame(image(0, 0, place), "BGR", 50 * place), boxes(place), boxes(0), difference)
    assert [one.place for one in log.worst] == [8, 4, 6, 1, 3, 2]
    assert len(log.worst) == WORST_FRAMES
    assert log.stamps_ns == [50 * place for place in range(10)]
    assert log.attributes()["object_density"].tolist() == list(range(10))
    alike = FrameLog()
    alike.add(Frame(image(0, 0, 0), "BGR"), boxes(1), boxes(1), 0.0)
    assert alike.worst == []
