# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""When labels settle a choice of the import: not where figures are next to nothing or of few frames."""

from __future__ import annotations

import pytest

from ad_compressed_perception.importing.labeled_ranking import LabeledRanking


@pytest.mark.parametrize(
    ("best", "second", "frames", "least", "is_certain"),
    [
        (0.42, 0.31, 48, 0.0, True),
        (0.42, 0.41, 48, 0.0, False),
        (0.004, 0.0, 48, 0.0, False),  # one lucky box on the images of another data set
        (0.42, 0.31, 3, 0.0, False),
        (0.52, 0.41, 48, 0.5, False),  # a classifier at the share of the most frequent class
        (-0.10, -0.20, 48, 0.0, True),  # errors, negated
        (-0.10, -0.20, 3, 0.0, False),
        (float("-inf"), float("-inf"), 0, 0.0, False),
    ],
)
def test_labels_settle_a_choice_where_the_figure_says_something(
    best: float, second: float, frames: int, least: float, is_certain: bool
) -> None:
    ranking = object.__new__(LabeledRanking)
    ranking.table = {"color": [("RGB", best), ("BGR", second)]}
    ranking._metric, ranking._frames, ranking._least = "map", frames, least
    assert ranking.choice("color", "RGB", ()).is_certain is is_certain
