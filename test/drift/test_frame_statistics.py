# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of frames say what is in the pixels, whatever their order, depth and size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.drift.frame_statistics import StatisticsReader
from ad_compressed_perception.drift.result_statistics import ResultStatistics
from ad_compressed_perception.image.decode import Frame


def textured(height: int = 240, width: int = 320, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def figure(image: NDArray[np.uint8], name: str) -> float:
    found = StatisticsReader().compute(Frame(image, "BGR"), None)
    return float(found.values[found.names.index(name)])


def test_the_same_image_in_another_channel_order_has_the_same_statistics() -> None:
    image = textured()
    bgr = StatisticsReader().compute(Frame(image, "BGR"), None)
    rgb = StatisticsReader().compute(Frame(image[:, :, ::-1], "RGB"), None)
    np.testing.assert_array_equal(bgr.values, rgb.values)


def test_sixteen_bit_gray_has_the_statistics_of_its_high_bytes() -> None:
    gray = textured()[:, :, 0]
    deep = StatisticsReader().compute(Frame(gray.astype(np.uint16) << 8, "GRAY"), None)
    np.testing.assert_array_equal(deep.values, StatisticsReader().compute(Frame(gray, "GRAY"), None).values)
    assert deep.size == (320, 240, 1)


def test_contrast_and_brightness_leave_sharpness_as_it_is_and_blur_does_not() -> None:
    coarse = np.random.default_rng(1).uniform(40, 200, (240, 320))
    image = np.repeat(coarse.astype(np.uint8)[:, :, None], 3, axis=2)
    half = (image * 0.5 + 20).astype(np.uint8)
    weights = np.ones(5) / 5
    smooth = np.apply_along_axis(lambda row: np.convolve(row, weights, "same"), 1, coarse)
    blurred = np.repeat(smooth.astype(np.uint8)[:, :, None], 3, axis=2)
    assert figure(half, "sharpness") == pytest.approx(figure(image, "sharpness"), abs=0.05)
    assert figure(blurred, "sharpness") < figure(image, "sharpness") - 0.5


def test_an_image_is_repeated_only_when_every_sampled_pixel_is_equal() -> None:
    reader, image = StatisticsReader(), textured()
    noisy = image.copy()
    noisy[0, 0, 0] ^= 1
    flags = [reader.compute(Frame(one, "BGR"), None).repeated for one in (image, image.copy(), noisy, image)]
    assert flags == [False, True, False, False]


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (7, 15), (16, 16), (17, 33), (95, 97), (481, 3)])
@pytest.mark.parametrize("level", [0, 255])
def test_tiny_and_even_images_have_finite_statistics(size: tuple[int, int], level: int) -> None:
    reader, (height, width) = StatisticsReader(), size
    image = np.full((height, width, 3), level, np.uint8)
    reader.compute(Frame(image, "BGR"), None)
    assert np.isfinite(reader.compute(Frame(image, "BGR"), None).values).all()


def test_figures_of_objects_count_classes_and_notice_boxes_that_jump() -> None:
    labels = ("car", "person")
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 60]], np.float32)
    scores, ids = np.array([0.9, 0.4], np.float32), np.array([0, 0])
    statistics = ResultStatistics(labels)
    statistics.compute(Detections(boxes, scores, ids, labels), 100, 100)
    names, values = statistics.compute(Detections(boxes + [[0], [50]], scores, ids, labels), 100, 100)
    found = dict(zip(names, values, strict=True))
    assert found["objects"] == pytest.approx(2**0.5) and found["class car"] == pytest.approx(2**0.5)
    assert found["class person"] == 0.0 and found["low_scores"] == 0.5
    assert found["object_area"] == pytest.approx(((10 * 10 + 20 * 40) / 1e4) ** 0.5)
    assert found["unmatched"] == 0.5  # one of two boxes has moved away


def test_no_objects_is_a_count_of_zero_and_no_result_is_no_count() -> None:
    statistics = ResultStatistics(("car",))
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("car",))
    names, values = statistics.compute(empty, 10, 10)
    assert values[names.index("objects")] == 0.0
    assert np.isnan(statistics.compute(None, 10, 10)[1]).all()


def test_figures_of_masks_and_paths() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[30:] = 1
    statistics = ResultStatistics(("sky", "road"))
    statistics.compute(LabelMask(mask, ("sky", "road")), 80, 60)
    names, values = statistics.compute(LabelMask(1 - mask, ("sky", "road")), 80, 60)
    assert values[names.index("changed_labels")] == 1.0 and values[names.index("class road")] == 0.5
    path = Trajectory(np.array([[0.0, 0.0], [3.0, 4.0]]), np.zeros(2), -0.1, 8.0)
    names, values = ResultStatistics().compute(path, 80, 60)
    assert values[names.index("path_length")] == 5.0 and values[names.index("turning")] == pytest.approx(0.1)
