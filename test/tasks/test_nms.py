# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression against its definition, pair by pair."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.tasks.nms import class_aware_nms, iou_matrix

box = st.tuples(*[st.integers(0, 40)] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
# Distinct scores: the order of equal ones is a matter of convention, tested on its own below.
scene = st.lists(box, max_size=12).flatmap(
    lambda boxes: st.tuples(
        st.just(boxes),
        st.permutations(range(len(boxes))),
        st.lists(st.integers(0, 2), min_size=len(boxes), max_size=len(boxes)),
    )
)


def plain_iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    overlap = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union else 0.0


@given(scene, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_it_keeps_what_the_greedy_definition_keeps(scene: tuple, threshold: float) -> None:
    boxes, ranks, classes = scene
    array = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.asarray([(rank + 1) / 100 for rank in ranks], np.float32)
    kept = class_aware_nms(array, scores, np.asarray(classes, np.int64), threshold, 100)
    expected: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: -ranks[i]):
        rivals = (k for k in expected if classes[k] == classes[index])
        if all(plain_iou(boxes[index], boxes[k]) <= threshold for k in rivals):
            expected.append(index)
    assert kept.tolist() == expected


@given(st.lists(box, min_size=1, max_size=8), st.lists(box, min_size=1, max_size=8))
def test_the_iou_matrix_is_the_iou_of_every_pair(first: list, second: list) -> None:
    matrix = iou_matrix(np.asarray(first, np.float32), np.asarray(second, np.float32))
    expected = [[plain_iou(a, b) for b in second] for a in first]
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


def test_another_class_is_never_suppressed_and_the_limit_holds() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 4, np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    classes = np.array([0, 1, 0, 2])
    assert class_aware_nms(boxes, scores, classes, 0.5, 100).tolist() == [0, 1, 3]
    assert class_aware_nms(boxes, scores, classes, 0.5, 2).tolist() == [0, 1]
