# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of two results: cases computed by hand, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.metrics.agreement import (
    DetectionAgreement,
    agreement,
    detection_agreement,
    planning_agreement,
    pool,
    segmentation_agreement,
)
from ad_compressed_perception.metrics.path_offset import lateral_offsets_m, resample_by_arc_length

LABELS = ("car", "person")


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Rows of left, top, right, bottom, score, class."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        table[:, 5].astype(np.int64),
        LABELS,
    )


def mask(rows: list[list[int]]) -> LabelMask:
    return LabelMask(np.array(rows, dtype=np.uint8), LABELS)


def path(points: list[tuple[float, float]], heading: float = 0.0) -> Trajectory:
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    return Trajectory(array, np.full(len(array), heading), 0.0, 10.0)


# Detection --------------------------------------------------------------------------------------


def test_two_empty_frames_agree_fully() -> None:
    # An empty road seen as empty by both is agreement, not "no data": 1, and never NaN.
    found = detection_agreement(detections(), detections())
    assert found.overall.precision == found.overall.recall == found.score == 1.0
    assert found.mean_matched_iou == 1.0


def test_one_sided_frames_do_not_agree() -> None:
    one = detections((0, 0, 10, 10, 0.9, 0))
    missed = detection_agreement(one, detections()).overall
    extra = detection_agreement(detections(), one).overall
    assert (missed.precision, missed.recall, missed.f1) == (0.0, 0.0, 0.0)
    assert (extra.precision, extra.recall, extra.f1) == (0.0, 0.0, 0.0)
    assert (missed.missed, extra.extra) == (1, 1)


def test_same_box_of_another_class_does_not_match() -> None:
    # Class-aware: a car that became a person is one missed car and one extra person.
    found = detection_agreement(detections((0, 0, 10, 10, 0.9, 0)), detections((0, 0, 10, 10, 0.9, 1)))
    assert found.per_class["car"].missed == 1
    assert found.per_class["person"].extra == 1
    assert found.score == 0.0


def test_classes_are_compared_by_label_not_by_number() -> None:
    mine = detections((0, 0, 10, 10, 0.9, 0))
    other = Detections(mine.boxes_xyxy, mine.scores, np.array([1], np.int64), ("person", "car"))
    assert detection_agreement(mine, other).score == 1.0


def test_best_score_chooses_first() -> None:
    # Two variant boxes over one reference box. The 0.9 one overlaps by 0.6, the 0.5 one perfectly: greedy
    # matching by score gives the reference to the 0.9 one, so exactly one matches, with IoU 0.6, and the
    # perfect one is extra.
    reference = detections((0, 0, 10, 10, 0.5, 0))
    found = detection_agreement(reference, detections((0, 0, 10, 10, 0.5, 0), (0, 0, 10, 6, 0.9, 0)))
    assert (found.overall.matched, found.overall.extra) == (1, 1)
    assert found.mean_matched_iou == pytest.approx(0.6)


def test_overlap_at_the_threshold_matches() -> None:
    # 10x10 against 10x5 inside it: IoU is exactly 50 / 100, and "at least 0.5" includes it.
    pair = detections((0, 0, 10, 10, 0.9, 0)), detections((0, 0, 10, 5, 0.9, 0))
    assert detection_agreement(*pair).overall.matched == 1
    assert detection_agreement(*pair, iou=0.51).overall.matched == 0


def test_pooled_frames_add_counts() -> None:
    one = detections((0, 0, 10, 10, 0.9, 0))
    pooled = detection_agreement(one, one) + detection_agreement(one, detections())
    assert pooled.frames == 2
    # Over both frames: 2 reference boxes, 1 found, nothing extra: precision 1, recall 1/2, F1 2/3.
    assert pooled.overall.precision == 1.0
    assert pooled.overall.recall == 0.5
    assert pooled.score == pytest.approx(2 / 3)


box = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
row = st.tuples(box, st.floats(0.0625, 1.0, width=32), st.integers(0, 1)).map(lambda r: (*r[0], r[1], r[2]))
frames = st.lists(row, max_size=8).map(lambda rows: detections(*rows))


@given(frames, frames)
def test_every_object_is_counted_once(baseline: Detections, variant: Detections) -> None:
    overall = detection_agreement(baseline, variant).overall
    assert overall.matched + overall.missed == len(baseline.scores)
    assert overall.matched + overall.extra == len(variant.scores)
    for value in (overall.precision, overall.recall, overall.f1):
        assert 0.0 <= value <= 1.0


@given(frames)
def test_a_frame_agrees_fully_with_itself(frame: Detections) -> None:
    found = detection_agreement(frame, frame)
    assert found.score == 1.0
    assert found.mean_matched_iou == pytest.approx(1.0)


@given(st.lists(st.tuples(frames, frames), min_size=1, max_size=4), st.randoms())
def test_pooling_order_does_not_matter(pairs: list[tuple[Detections, Detections]], random: object) -> None:
    single = [detection_agreement(*pair) for pair in pairs]
    forward = sum(single[1:], single[0])
    backward = sum(single[-2::-1], single[-1])
    assert forward.per_class == backward.per_class
    assert forward.frames == backward.frames == len(pairs)


# Segmentation -----------------------------------------------------------------------------------


def test_mask_iou_by_hand() -> None:
    # 4 pixels; label 0: shared 1, union 2 -> 1/2; label 1: shared 2, union 3 -> 2/3; 1 of 4 differs.
    found = segmentation_agreement(mask([[0, 0], [1, 1]]), mask([[0, 1], [1, 1]]))
    assert found.per_class_iou == {"car": pytest.approx(1 / 2), "person": pytest.approx(2 / 3)}
    assert found.miou == pytest.approx(7 / 12)
    assert found.differing_pixels_share == 0.25


def test_absent_labels_do_not_lower_the_mean() -> None:
    # Nobody sees a person here: the mean is over "car" alone.
    found = segmentation_agreement(mask([[0, 0]]), mask([[0, 0]]))
    assert found.per_class_iou == {"car": 1.0}
    assert found.miou == 1.0


def test_an_empty_mask_agrees() -> None:
    empty = LabelMask(np.zeros((0, 0), np.uint8), LABELS)
    found = segmentation_agreement(empty, empty)
    assert (found.miou, found.differing_pixels_share) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (LabelMask(np.zeros((1, 3), np.uint8), LABELS), "different sizes"),
        (LabelMask(np.zeros((1, 2), np.uint8), ("car",)), "different labels"),
        (LabelMask(np.full((1, 2), 7, np.uint8), LABELS), "label id 7"),
    ],
)
def test_masks_that_cannot_be_compared_say_why(other: LabelMask, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        segmentation_agreement(mask([[0, 0]]), other)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=30), st.data())
def test_pooled_confusion_is_that_of_all_pixels(pixels: list[tuple[int, int]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(pixels) - 1))

    def pair(part: list[tuple[int, int]]) -> tuple[LabelMask, LabelMask]:
        return mask([[a for a, _ in part]]), mask([[b for _, b in part]])

    whole = segmentation_agreement(*pair(pixels))
    halves = segmentation_agreement(*pair(pixels[:cut])) + segmentation_agreement(*pair(pixels[cut:]))
    assert np.array_equal(whole.confusion, halves.confusion)
    assert whole.miou == halves.miou
    assert 0.0 <= whole.miou <= 1.0


@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_pairs_of_labels_are_counted_exactly(count: int, seed: int) -> None:
    """Up to 16 labels a histogram of bytes counts, above np.bincount: cell (b, v) is that of a loop."""
    random = np.random.default_rng(seed)
    first, second = random.integers(0, count, (2, 9, 7)).astype(np.uint8)
    labels = tuple(map(str, range(count)))
    found = segmentation_agreement(LabelMask(first, labels), LabelMask(second, labels)).confusion
    expected = np.zeros((count, count), np.int64)
    np.add.at(expected, (first, second), 1)
    assert found.dtype == np.int64 and np.array_equal(found, expected)


# Planning ---------------------------------------------------------------------------------------


def test_parallel_path_is_offset_everywhere() -> None:
    straight = path([(0, 0), (5, 0), (10, 0)])
    left = path([(0, 0.5), (5, 0.5), (10, 0.5)])
    found = planning_agreement(straight, left)
    assert found.ade_m == found.fde_m == found.max_lateral_offset_m == pytest.approx(0.5)


def test_a_longer_path_on_the_same_line_has_no_lateral_offset() -> None:
    # The variant only drives further: its points are displaced along the path, not sideways.
    short, long = path([(0, 0), (5, 0), (10, 0)]), path([(0, 0), (6, 0), (12, 0)])
    found = planning_agreement(short, long)
    assert found.max_lateral_offset_m == pytest.approx(0.0)
    assert found.fde_m == pytest.approx(2.0)
    assert found.ade_m == pytest.approx(1.0)  # (0 + 1 + 2) / 3


def test_lateral_offset_is_left_positive() -> None:
    line = np.array([[0.0, 0.0], [0.0, 10.0]])  # driving along +y: left is -x
    found = lateral_offsets_m(line, np.zeros(2), np.array([[-1.0, 5.0], [2.0, 5.0]]))
    assert found == pytest.approx([1.0, -2.0])


def test_a_standing_path_uses_its_heading() -> None:
    # No length, no tangent: the heading (here +y) says where left is.
    standing = np.zeros((3, 2))
    found = lateral_offsets_m(standing, np.full(3, math.pi / 2), np.array([[-1.0, 4.0]]))
    assert found == pytest.approx([1.0])


def test_lateral_offset_on_an_arc_is_the_difference_of_radii() -> None:
    # Two concentric quarter circles left of the car, radii 20 and 19: the inner is 1 m to the left. A
    # polyline of 200 segments lies within R (1 - cos(pi / 800)) = 0.2 mm of its arc.
    angles = np.linspace(0.0, math.pi / 2, 201)
    outer = np.stack([20 * np.sin(angles), 20 - 20 * np.cos(angles)], axis=1)
    inner = np.stack([19 * np.sin(angles), 20 - 19 * np.cos(angles)], axis=1)
    assert lateral_offsets_m(outer, angles, inner) == pytest.approx(np.ones(201), abs=1e-3)


def test_different_numbers_of_points_are_resampled() -> None:
    # The same straight line with 3 and with 5 points: no displacement at all after resampling.
    found = planning_agreement(path([(0, 0), (4, 0), (8, 0)]), path([(0, 0), (2, 0), (4, 0), (6, 0), (8, 0)]))
    assert found.ade_m == pytest.approx(0.0)
    assert found.fde_m == pytest.approx(0.0)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1), st.integers(2, 40))
def test_resampling_keeps_ends_and_never_lengthens(points: list[tuple[int, int]], count: int) -> None:
    line = np.array(points, dtype=np.float64)
    found = resample_by_arc_length(line, count)

    def length(track: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(track, axis=0), axis=1).sum())

    assert found.shape == (count, 2)
    assert found[0] == pytest.approx(line[0])
    assert found[-1] == pytest.approx(line[-1])
    assert length(found) <= length(line) + 1e-6


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=12),
    st.floats(-20, 20),
    st.floats(-20, 20),
)
def test_lateral_offset_is_at_most_the_distance(
    points: list[tuple[float, float]], x: float, y: float
) -> None:
    line = np.array(points, dtype=np.float64)
    point = np.array([[x, y]])
    nearest = np.linalg.norm(line - point, axis=1).min()
    assert abs(lateral_offsets_m(line, np.zeros(len(line)), point)[0]) <= nearest + 1e-6


def test_pooled_means_weigh_frames_and_maxima_stay() -> None:
    straight = path([(0, 0), (10, 0)])
    pooled = (
        planning_agreement(straight, straight)
        + planning_agreement(straight, straight)
        + planning_agreement(straight, path([(0, 3), (10, 3)]))
    )
    assert pooled.frames == 3
    assert pooled.ade_m == pytest.approx(1.0)  # (0 + 0 + 3) / 3
    assert pooled.max_lateral_offset_m == pytest.approx(3.0)


@pytest.mark.parametrize("points", [[], [(0.0, math.nan)]])
def test_invalid_paths_are_named(points: list[tuple[float, float]]) -> None:
    with pytest.raises(DataError, match="variant's path"):
        planning_agreement(path([(0, 0), (1, 0)]), path(points))


# All tasks --------------------------------------------------------------------------------------


def test_results_of_different_tasks_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="Detections with a LabelMask"):
        agreement(detections(), mask([[0]]))
    with pytest.raises(DataError, match="cannot pool"):
        pool(DetectionAgreement(), agreement(mask([[0]]), mask([[0]])))
