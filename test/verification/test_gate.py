# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The accept gate: verdicts are exclusive and monotone in the limits, and have reasons."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.compression.verification.finding import frames_needed
from ad_compressed_perception.compression.verification.gate import (
    AccuracyDrop,
    Measured,
    decide,
)
from ad_compressed_perception.compression.verification.scores import PartDrop
from ad_compressed_perception.pass_api.terms import AcceptSpec

GOOD = Measured(
    drop=0.02,
    drop_low=0.01,
    drop_high=0.03,
    frames=100,
    informative_frames=100,
    failed_frames=0,
    speedup=1.5,
    speedup_low=1.4,
    speedup_high=1.6,
    p99_ms=10.0,
    size_ratio=0.3,
    integer_coverage=1.0,
)
NAN = math.nan
RANK = {"rejected": 0, "inconclusive": 1, "accepted": 2}
shares = st.floats(0.0, 1.0)
intervals = st.tuples(shares, shares, shares).map(sorted)


def measured(interval: list[float], **fields: object) -> Measured:
    low, drop, high = interval
    return replace(GOOD, drop_low=low, drop=drop, drop_high=high, **fields)


@given(intervals, shares)
def test_the_verdict_is_where_the_interval_lies(interval: list[float], limit: float) -> None:
    verdict = decide(AcceptSpec(max_drop=limit), measured(interval))
    low, _, high = interval
    expected = "accepted" if high <= limit else "rejected" if low > limit else "inconclusive"
    assert verdict.status == expected
    assert len(verdict.reasons) >= 1


@pytest.mark.parametrize("informative", [0, 5])
def test_a_loss_on_frames_that_are_not_informative_is_a_loss(informative: int) -> None:
    """A variant that invents objects of the compared labels on every frame, where the baseline has none."""
    lost = measured([0.9, 1.0, 1.0], informative_frames=informative)
    assert decide(AcceptSpec(max_drop=0.05), lost).status == "rejected"
    few = replace(lost, frames=10)
    assert decide(AcceptSpec(max_drop=0.05), few).status == "inconclusive", "fewer than min_frames frames"


@given(intervals, shares, shares, st.sampled_from([0.5, 1.45, 2.0]))
def test_a_looser_limit_never_makes_it_worse(
    interval: list[float], one: float, other: float, min_speedup: float
) -> None:
    strict, loose = sorted((one, other))
    figures = measured(interval)
    verdicts = [
        decide(AcceptSpec(max_drop=limit, min_speedup=min_speedup), figures).status
        for limit in (strict, loose)
    ]
    assert RANK[verdicts[0]] <= RANK[verdicts[1]]


@pytest.mark.parametrize(
    ("terms", "changes", "words"),
    [
        ({"max_size_ratio": 0.25}, {}, ["0.30", "0.25"]),
        ({"min_integer_coverage": 0.9}, {"integer_coverage": 0.5}, ["0.50", "0.9"]),
        ({"min_integer_coverage": 0.9}, {"integer_coverage": None}, ["unknown"]),
        ({"max_p99_ms": 9.0}, {}, ["10.0 ms", "9"]),
        ({"min_speedup": 2.0}, {}, ["1.50x", "2x"]),
        ({}, {"failed_frames": 3}, ["3 of 100"]),
    ],
)
def test_one_failed_limit_rejects_and_is_the_reason(
    terms: dict[str, float], changes: dict[str, object], words: list[str]
) -> None:
    verdict = decide(AcceptSpec(**terms), replace(GOOD, **changes))
    assert verdict.status == "rejected"
    (reason,) = verdict.reasons  # the met terms are no reason
    for word in words:
        assert word in reason


def test_a_failed_limit_outweighs_an_open_one() -> None:
    figures = measured([0.01, 0.05, 0.2], size_ratio=0.9)
    assert decide(AcceptSpec(max_size_ratio=0.5), figures).status == "rejected"


def test_a_speedup_around_its_limit_is_open() -> None:
    assert decide(AcceptSpec(min_speedup=1.5), GOOD).status == "inconclusive"


def test_few_informative_frames_are_inconclusive_even_without_a_difference() -> None:
    """Ten empty roads without detections on either side agree perfectly, but are not informative."""
    verdict = decide(AcceptSpec(), measured([0.0, 0.0, 0.0], informative_frames=7))
    assert verdict.status == "inconclusive"
    assert "7 of 100" in verdict.reasons[0]


def test_nothing_to_compare_is_inconclusive() -> None:
    nan = float("nan")
    verdict = decide(AcceptSpec(), replace(GOOD, drop=nan, drop_low=nan, drop_high=nan))
    assert verdict.status == "inconclusive"


@pytest.mark.parametrize("drop", [0.033, 0.067])
def test_frames_needed_decide_nine_times_in_ten(drop: float) -> None:
    """Half width 0.02 (s = 0.0102): share of new estimates whose interval on more frames has the limit in it.

    The new estimate is drawn around a true drop, which is drawn around the present estimate. The square root
    law alone, (half width / distance)^2 = 1.4 times the frames, leaves about one in four open.
    """
    needed = frames_needed(100, drop, drop - 0.02, drop + 0.02, 0.05)
    assert needed is not None
    rng = np.random.default_rng(0)
    true = rng.normal(drop, 0.02 / 1.96, 20_000)
    for frames, fewest, most in ((needed, 0.0, 0.1), (100 * (0.02 / (drop - 0.05)) ** 2, 0.2, 1.0)):
        shrink = np.sqrt(100 / frames)
        estimate = rng.normal(true, 0.02 / 1.96 * shrink)
        assert fewest <= np.mean(np.abs(estimate - 0.05) < 0.02 * shrink) <= most


def test_at_the_limit_no_number_of_frames_is_named() -> None:
    assert frames_needed(100, 0.05, 0.03, 0.07, 0.05) is None


@given(st.integers(1, 10000), intervals, shares)
def test_the_advice_is_more_frames_or_none(frames: int, interval: list[float], limit: float) -> None:
    low, drop, high = interval
    needed = frames_needed(frames, drop, low, high, limit)
    assert needed is None or (frames < needed <= 100 * frames + 1 and math.isfinite(needed))


@given(st.tuples(*[st.floats(-5.0, 5.0)] * 3).map(sorted), st.floats(0.0, 5.0))
def test_accuracy_is_checked_by_its_interval(interval: list[float], limit: float) -> None:
    low, value, high = interval
    accuracy = AccuracyDrop("map", "points", value, low, high, 64)
    verdict = decide(AcceptSpec(max_accuracy_drop=limit), replace(GOOD, accuracy=accuracy))
    expected = "accepted" if high <= limit else "rejected" if low > limit else "inconclusive"
    assert verdict.status == expected
    # Without the term it decides nothing.
    assert decide(AcceptSpec(), replace(GOOD, accuracy=accuracy)).status == "accepted"


def test_accuracy_without_labels_or_undefined_is_open() -> None:
    asked = AcceptSpec(max_accuracy_drop=1.0)
    assert "no labeled data" in decide(asked, GOOD).reasons[0]
    nan = float("nan")
    undefined = replace(GOOD, accuracy=AccuracyDrop("map", "points", nan, nan, nan, 3))
    assert decide(asked, undefined).status == "inconclusive"
    assert "undefined on these 3" in decide(asked, undefined).reasons[0]


@pytest.mark.parametrize("loss", [0.0, 40.0])
def test_accuracy_on_too_few_labeled_frames_is_open(loss: float) -> None:
    """Every resample of one frame is that frame: an interval without width, which accepted or rejected."""
    asked, accuracy = AcceptSpec(max_accuracy_drop=1.0), AccuracyDrop("map", "points", loss, loss, loss, 1)
    verdict = decide(asked, replace(GOOD, accuracy=accuracy))
    assert (
        verdict.status == "inconclusive"
        and "on 1 labeled frames, at least 20 are needed" in verdict.reasons[0]
    )
    enough = decide(asked, replace(GOOD, accuracy=replace(accuracy, frames=20)))
    assert enough.status == ("rejected" if loss else "accepted")


def test_accuracy_of_a_baseline_that_has_none_to_lose_is_open() -> None:
    """Labels in other units, of other images or of exchanged classes: mAP is 0.4 of both, and the loss 0."""
    asked = AcceptSpec(max_accuracy_drop=1.0)
    useless = AccuracyDrop("map", "points", 0.0, -0.1, 0.1, 64, to_lose=0.4)
    verdict = decide(asked, replace(GOOD, accuracy=useless))
    assert verdict.status == "inconclusive" and "only 0.40 points above" in verdict.reasons[0]
    assert decide(asked, replace(GOOD, accuracy=replace(useless, to_lose=40.0))).status == "accepted"


def test_a_reason_names_figure_unit_interval_and_limit() -> None:
    worse = replace(GOOD, accuracy=AccuracyDrop("rmse_rad", "percent", 4.0, 3.0, 5.0, 527))
    (reason,) = decide(AcceptSpec(max_accuracy_drop=2.0), worse).reasons
    assert reason == (
        "rmse_rad is worse by 4.00 percent on 527 labeled frames (95 % interval 3.00 to 5.00), beyond the "
        "allowed 2"
    )


def part(name: str, low: float, drop: float, high: float, frames: int = 100) -> PartDrop:
    return PartDrop(name, drop, low, high, frames)


@pytest.mark.parametrize(
    ("label", "status", "words"),
    [
        (
            part("curb", 0.05, 0.1, 0.2),
            "accepted",
            "IoU of each of 2 informative labels drops by at most 0.1",
        ),
        (part("curb", 0.4, 0.5, 0.6), "rejected", "IoU of label 'curb' drops by 0.500"),
        (part("curb", 0.1, 0.24, 0.4), "inconclusive", "around the allowed 0.25"),
    ],
)
def test_each_informative_label_has_a_limit_of_its_own(label: PartDrop, status: str, words: str) -> None:
    """By default max(0.25, 3 max_drop); the mean, within its limit, cannot hide a label."""
    verdict = decide(AcceptSpec(), replace(GOOD, labels=(part("road", 0.0, 0.01, 0.02), label)))
    assert verdict.status == status
    assert any(words in reason for reason in verdict.reasons)


def test_a_label_that_disappears_is_rejected_whatever_the_limit() -> None:
    gone = replace(GOOD, labels=(part("sign", 1.0, 1.0, 1.0, 12),))
    verdict = decide(AcceptSpec(max_drop=1.0, max_label_drop=1.0), gone)
    assert verdict.status == "rejected"
    assert "'sign'" in verdict.reasons[0]
    assert decide(AcceptSpec(min_frames=200), gone).status == "inconclusive", "on too few frames nothing is"


@pytest.mark.parametrize(
    ("slices", "status"),
    [
        ([part("darkest tenth", 0.0, 0.05, 0.09, 20)], "accepted"),
        ([part("darkest tenth", 0.0, 0.05, 0.09, 20), part("crowded", 0.2, 0.3, 0.4, 20)], "rejected"),
        ([part("darkest tenth", 0.0, 0.05, 0.2, 20)], "inconclusive"),
        ([part("darkest tenth", 0.0, 0.0, 0.0, 10)], "inconclusive"),
        ([part("darkest tenth", NAN, NAN, NAN, 20)], "inconclusive"),
        ([], "inconclusive"),
    ],
    ids=["within", "worst beyond", "around", "ten frames", "undefined", "no slice"],
)
def test_the_worst_slice_enters_the_verdict_where_it_is_asked_for(
    slices: list[PartDrop], status: str
) -> None:
    figures = replace(GOOD, slices=tuple(slices))
    assert decide(AcceptSpec(worst_slice=0.1), figures).status == status
    assert decide(AcceptSpec(), figures).status == "accepted"


def test_a_slice_of_few_frames_says_how_many_to_verify_on() -> None:
    (reason,) = decide(
        AcceptSpec(worst_slice=0.1), replace(GOOD, slices=(part("darkest tenth", 0.0, 0.0, 0.0, 10),))
    ).reasons
    assert "verify on 200 frames for 20 in a slice" in reason


@pytest.mark.parametrize("term", ["by_size", "by_distance"])
def test_parts_that_are_limited_are_judged_one_by_one(term: str) -> None:
    """Only what the recipe names; what no frame shows is open, never met."""
    kind = {"by_size": ("sizes", "small", "large"), "by_distance": ("distances", "near", "far")}[term]
    field, first, last = kind
    found = {field: (part(first, 0.3, 0.4, 0.5), part(last, 0.0, 0.01, 0.02))}
    figures = replace(GOOD, **found)
    assert decide(AcceptSpec(**{term: {last: 0.05}}), figures).status == "accepted"
    assert decide(AcceptSpec(**{term: {last: 0.05, first: 0.1}}), figures).status == "rejected"
    empty = replace(GOOD, **{field: (part(first, NAN, NAN, NAN, 0),)})
    verdict = decide(AcceptSpec(**{term: {first: 0.1}}), empty)
    assert verdict.status == "inconclusive"
    assert "only 0 frames have any" in verdict.reasons[0]
