# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of classifiers counted by hand, in verdicts and live; what is no information accepts nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from ad_compressed_perception.compression.verification.classification_score import ClassificationScore
from ad_compressed_perception.compression.verification.gate import Measured, decide
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Verdict
from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.metrics.agreement import ClassificationAgreement, agreement, pool
from ad_compressed_perception.monitor.gate import Gate
from ad_compressed_perception.monitor.pair_window import PairWindow, Scored
from ad_compressed_perception.pass_api.terms import AcceptSpec
from ad_compressed_perception.report.schemas.agreement import ClassificationFigures

LABELS = ("red", "yellow", "green")
Pairs = Sequence[tuple[Classification, Classification | None]]


def light(label: str | None, score: float = 0.9) -> Classification:
    """Return a result with this strongest label; the other two share the rest of the score."""
    rest = (1.0 - score) / 2.0
    scores = np.array([score if name == label else rest for name in LABELS], np.float32)
    ranked = np.argsort(-scores, kind="stable") if label is not None else np.array([], np.int64)
    return Classification(scores, ranked.astype(np.int64), LABELS)


def scored(pairs: Pairs, labels: Sequence[str] | None = None) -> ClassificationScore:
    score = ClassificationScore(0.05, labels)
    for baseline, variant in pairs:
        score.add(baseline, variant)
    return score


def verdict(pairs: Pairs, accept: AcceptSpec | None = None) -> Verdict:
    """Return the gate's decision on these figures alone: size and speed are not limited."""
    found = scored(pairs).figures()
    measured = Measured(
        found.drop, found.drop_low, found.drop_high, found.frames, found.informative_frames,
        found.failed_frames, 1.0, 1.0, 1.0, 1.0, 0.5, 1.0,
        labels=found.labels, lost=found.lost, label_text=found.label_text, rare=found.rare,
    )  # fmt: skip
    return decide(accept or AcceptSpec(), measured)


def mixed(pairs: Pairs) -> Pairs:
    """Return pairs in another order: losses one after the other are one event, whose interval is wide."""
    order = np.random.default_rng(0).permutation(len(pairs))
    return [pairs[place] for place in order]


def same(label: str, frames: int) -> list[tuple[Classification, Classification]]:
    return [(light(label), light(label))] * frames


def test_the_share_of_equal_labels_and_what_stands_beside_it() -> None:
    """Of 100 frames 3 differ, and on 10 others the scores are 0.1 apart: alike for the gate, not strictly."""
    pairs = [*same("red", 47), *same("green", 40), *[(light("red"), light("green"))] * 3]
    pairs += [(light("red", 0.9), light("red", 0.8))] * 10
    found = scored(pairs).figures()
    assert found.measure == "top-1 agreement"
    assert found.score == pytest.approx(0.97)
    assert found.drop_low < 0.03 < found.drop_high
    assert found.strict_score == pytest.approx(0.87)
    assert found.details["max_score_distance"] == pytest.approx(0.85)  # 0.9 against 0.05
    assert found.details["mean_score_distance"] == pytest.approx((3 * 0.85 + 10 * 0.1) / 100)
    assert found.details["frames_by_label"] == {
        "red": {"both": 57, "baseline": 60, "variant": 57},
        "green": {"both": 40, "baseline": 40, "variant": 43},
    }
    # F1 of red is 2 * 57 / (60 + 57), of green 2 * 40 / (40 + 43).
    drops = {one.name: (one.drop, one.frames) for one in found.labels}
    assert drops == {
        "red": (pytest.approx(1 - 114 / 117), 60),
        "green": (pytest.approx(1 - 80 / 83), 43),
    }
    assert found.label_text == "F1 of label {!r}"


def test_frames_are_ranked_by_labels_first_and_scores_second() -> None:
    pairs = [
        (light("red"), light("red", 0.4)), (light("red", 0.4), light("green", 0.4)), (light("red"), None)
    ]  # fmt: skip
    near, far, none = scored(pairs).differences
    assert near == pytest.approx(0.5)
    assert 1.0 < far < 2.0
    assert none == math.inf


def test_a_classifier_that_gives_one_label_on_all_frames_is_no_information() -> None:
    """Any variant that is stuck at it agrees perfectly; one other frame does not change that much."""
    assert scored(same("red", 100)).figures().informative_frames == 0
    assert scored([*same("red", 99), *same("green", 1)]).figures().informative_frames == 2
    found = verdict(same("red", 100))
    assert found.status == "inconclusive"
    assert "none of 100 verification frames is informative" in found.reasons[0]


def test_a_frame_without_a_label_is_no_information_and_a_result_without_one_disagrees() -> None:
    assert scored([(light(None), light(None))] * 30).figures().informative_frames == 0
    found = scored([*same("red", 20), *same("green", 20), *[(light("red"), light(None))] * 10]).figures()
    assert found.score == pytest.approx(0.8)


def test_a_frame_on_which_the_variant_fails_does_not_agree() -> None:
    found = scored([*same("red", 30), *same("green", 29), (light("green"), None)]).figures()
    assert (found.failed_frames, found.score) == (1, pytest.approx(59 / 60))
    assert verdict([*same("red", 30), *same("green", 29), (light("green"), None)]).status == "rejected"


def test_agreement_on_every_frame_is_accepted() -> None:
    found = verdict([*same("red", 50), *same("green", 50)])
    assert found.status == "accepted"
    assert any("F1 of each of 2 informative labels drops by at most 0.000" in one for one in found.reasons)


@pytest.mark.parametrize(("score", "status"), [(0.36, "rejected"), (0.7, "accepted")])
def test_labels_that_stay_with_scores_that_are_destroyed_are_rejected(score: float, status: str) -> None:
    """0.36 of three labels is hardly the strongest: no threshold of the baseline's 0.9 means the same."""
    pairs = [(light(name), light(name, score)) for name in ("red", "green")] * 50
    assert verdict(pairs).status == status
    assert scored(pairs).figures().score == (0.0 if status == "rejected" else 1.0)


def test_a_label_that_no_frame_has_is_named_by_the_verdict() -> None:
    """Nothing was verified about it, and nobody would know."""
    rare = "too rare on these frames to be judged by themselves: 'yellow' ({} frames)"
    assert rare.format(0) in verdict([*same("red", 50), *same("green", 50)]).reasons
    assert rare.format(3) in verdict([*same("red", 50), *same("green", 50), *same("yellow", 3)]).reasons
    often = verdict(mixed([*same("red", 50), *same("green", 50), *same("yellow", 25)]))
    assert not [one for one in often.reasons if "too rare" in one]


def test_a_label_that_loses_its_frames_rejects_though_the_whole_hardly_shows_it() -> None:
    """60 of 1000 frames are yellow, and half of them become red: 3 % of all frames, F1 of yellow 2/3."""
    pairs = [*same("red", 500), *same("green", 440), *same("yellow", 30)]
    pairs += [(light("yellow"), light("red"))] * 30
    found = verdict(mixed(pairs), AcceptSpec(max_drop=0.08, max_label_drop=0.15))
    assert found.status == "rejected"
    assert len(found.reasons) == 1
    assert "F1 of label 'yellow' drops by 0.333" in found.reasons[0]


@pytest.mark.parametrize(("frames", "status"), [(3, "accepted"), (6, "inconclusive"), (12, "rejected")])
def test_a_rare_label_of_which_nothing_is_left_is_lost(frames: int, status: str) -> None:
    """Too rare for an interval of its own; the count of its frames decides."""
    pairs = [*same("red", 500), *same("green", 500), *[(light("yellow"), light("red"))] * frames]
    found = verdict(mixed(pairs))
    assert found.status == status
    if status != "accepted":
        assert f"'yellow' is lost: the variant has it on none of the {frames} frames" in found.reasons[0]


def test_chosen_labels_decide_by_the_frames_on_which_either_side_gives_them() -> None:
    """Red and yellow are confused on a third of the frames, which a comparison of green does not see."""
    pairs = [*same("green", 30), *same("red", 30), *[(light("red"), light("yellow"))] * 30]
    assert scored(pairs).figures().score == pytest.approx(2 / 3)
    assert scored(pairs, ["green"]).figures().score == 1.0
    # 30 frames of red on both sides, 30 on one: half of the 60 with either label agree.
    assert scored(pairs, ["red", "yellow"]).figures().score == pytest.approx(0.5)
    assert scored(pairs, ["green"]).figures().measure == "top-1 agreement of green"


def test_pooled_agreements_add_up_and_other_labels_are_refused() -> None:
    pooled = None
    for pair in [*same("red", 3), (light("red"), light("green"))]:
        pooled = pool(pooled, agreement(*pair))
    assert isinstance(pooled, ClassificationAgreement)
    assert (pooled.score, pooled.frames, pooled.same) == (0.75, 4, 3)
    assert {name: (c.matched, c.missed, c.extra) for name, c in pooled.per_class.items()} == {
        "red": (3, 1, 0), "green": (0, 0, 1)
    }  # fmt: skip
    other = Classification(np.ones(1, np.float32), np.zeros(1, np.int64), ("stop",))
    with pytest.raises(DataError, match="classes of different labels"):
        agreement(light("red"), other)


def window(pairs: Pairs, gate: Gate | None = None) -> Scored:
    """Return the agreement of the last ten seconds of pairs at 20 Hz."""
    found = PairWindow(60.0)
    if gate is not None:
        found.measure_by(gate)
    for stamp, (baseline, variant) in enumerate(pairs, start=1):
        assert variant is not None
        found.add(stamp, (baseline, variant), agreement(baseline, variant), stamp / 20)
    return found.report(10.0, len(pairs) / 20)


def test_live_figures_are_those_of_the_last_seconds() -> None:
    found = window(
        [*same("red", 300), *same("green", 100), *same("red", 90), *[(light("red"), light("green"))] * 10]
    )
    assert isinstance(found.figures, ClassificationFigures)
    assert found.pairs == 200
    assert found.score == found.figures.top1 == pytest.approx(0.95)
    assert found.interval[0] < 0.95 < found.interval[1]
    assert (found.worst_score, found.worst_stamp_ns) == (0.0, 491)
    assert found.figures.per_class["red"].only_baseline == 10


def test_live_agreement_on_one_label_is_no_score_until_something_differs() -> None:
    """Two classifiers that are stuck agree perfectly; five frames that differ are judged with all others."""
    assert (window(same("red", 200)).informative, math.isnan(window(same("red", 200)).score)) == (0, True)
    found = window([*same("red", 195), *[(light("red"), light("yellow"))] * 5])
    assert (found.informative, found.score) == (200, pytest.approx(0.975))


def test_live_agreement_of_published_messages_has_the_distance_of_known_scores() -> None:
    """A message has the strongest labels only: the score of another one is unknown, not 0."""
    partial = Classification(np.array([0.8, np.nan, np.nan], np.float32), np.array([0]), LABELS)
    found = agreement(light("red", 0.9), partial)
    assert isinstance(found, ClassificationAgreement)
    assert found.mean_score_distance == pytest.approx(0.1)
    nothing_common = Classification(np.array([np.nan, np.nan, 0.8], np.float32), np.array([2]), LABELS)
    assert agreement(partial, nothing_common).mean_score_distance == 1.0  # type: ignore[union-attr]


def test_live_chosen_labels_are_those_of_the_gate() -> None:
    pairs = [*same("green", 30), *same("red", 30), *[(light("red"), light("yellow"))] * 30]
    assert window(pairs).score == pytest.approx(2 / 3)
    assert window(pairs, Gate(labels=["green"])).score == 1.0
