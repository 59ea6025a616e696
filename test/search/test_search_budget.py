# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a search: the budget's grammar, the Pareto front, the frames, the time budget and the journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.compression.frame_split import segment_capacity, split_by_shares
from ad_compressed_perception.compression.search.budget import Budget, parse_budget
from ad_compressed_perception.compression.search.frames import LEAST, split_recording
from ad_compressed_perception.compression.search.journal import SearchJournal
from ad_compressed_perception.compression.search.pareto import Point, dominates, dominator, front
from ad_compressed_perception.compression.search.time_budget import OutOfTimeError, TimeBudget
from ad_compressed_perception.core.errors import DataError, RecipeError
from ad_compressed_perception.data.frames import open_frames
from support.compression import write_images

LIMITS = st.none() | st.floats(1e-6, 1e6)
BUDGETS = st.builds(Budget, st.floats(0.0, 1.0), LIMITS, LIMITS, LIMITS)
POINTS = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.floats(0.01, 10.0), st.floats(0.01, 10.0), st.floats(0.05, 2.0)),
    min_size=1,
    max_size=12,
).map(lambda rows: [Point(f"c{number}", *row) for number, row in enumerate(rows)])


@given(BUDGETS)
def test_a_budget_written_down_reads_back_the_same(budget: Budget) -> None:
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop<=1%", Budget(0.01)),
        ("drop <= 0.01, p99 <= 20 ms, size <= 25%", Budget(0.01, 20.0, 0.25)),
        ("P99<=0.02s, speed>=2x", Budget(0.05, 20.0, None, 2.0)),  # no drop named: 5 %
        ("speed>=1.5,size<=.25,drop<=0", Budget(0.0, None, 0.25, 1.5)),
    ],
)
def test_units_and_blanks_are_free(text: str, expected: Budget) -> None:
    found = parse_budget(text)
    assert found.drop == pytest.approx(expected.drop)
    assert (found.p99_ms, found.size, found.speed) == (expected.p99_ms, expected.size, expected.speed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a term is empty"),
        ("drop<=1%,", "a term is empty"),
        ("accuracy<=1%", "unknown term 'accuracy'"),
        ("drop=1%", "drop takes '<=', not '='"),
        ("speed<=2x", "speed takes '>=', not '<='"),
        ("p99<=20", "the unit of p99 is 'ms' or 's', not 'none'"),
        ("size<=25ms", "the unit of size is none or '%', not 'ms'"),
        ("drop<=120%", "a drop is 0 to 1"),
        ("size<=0", "above 0"),
        ("drop<=1%, drop<=2%", "'drop' is named twice"),
        ("a little", "'a little' is no term"),
    ],
)
def test_a_wrong_budget_names_the_term_and_the_known_ones(text: str, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_budget(text)
    assert reason in str(caught.value)
    assert "drop<=1%, p99<=20ms, size<=0.25, speed>=2x" in str(caught.value)


@given(st.text(max_size=30))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse_budget(text)
    except RecipeError as error:
        assert str(error).startswith(f"budget {text!r}:")


def test_without_speed_or_size_a_winner_must_be_faster() -> None:
    assert parse_budget("drop<=1%").accept() == {"max_drop": 0.01, "min_speedup": 1.0, "timed": "end_to_end"}
    assert parse_budget("size<=0.5").accept() == {"max_drop": 0.05, "max_size_ratio": 0.5}


@given(POINTS)
def test_no_member_of_the_front_is_dominated_and_every_other_point_is_by_a_member(
    points: list[Point],
) -> None:
    members = front(points)
    assert members  # a strict order on finitely many points has a minimum
    for point in points:
        if point in members:
            assert dominator(point, points) is None
        else:
            better = dominator(point, members)
            assert better is not None
            assert better in members


@given(POINTS)
def test_domination_is_a_strict_order(points: list[Point]) -> None:
    for one in points:
        assert not dominates(one, one)
        for other in points:
            assert not (dominates(one, other) and dominates(other, one))
            for third in points:
                if dominates(one, other) and dominates(other, third):
                    assert dominates(one, third)


def test_differences_that_a_second_measurement_would_not_confirm_count_as_none() -> None:
    """Half a percent of size does not keep a candidate that is twice as slow on the front."""
    quick, slow = Point("quick", 0.0, 0.5, 0.5, 0.995), Point("slow", 0.0, 1.0, 1.0, 0.992)
    assert dominates(quick, slow)
    # A tenth of the size does.
    assert front([quick, Point("small", 0.0, 1.0, 1.0, 0.1)])[-1].name == "small"


@given(
    st.integers(100, 3000),
    st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(1, 60)),
    st.floats(0.1, 0.5),
    st.floats(0.0, 0.4),
)
def test_shares_keep_the_kinds_apart_whatever_the_numbers(
    total: int, counts: tuple[int, int, int], calibration: float, search: float
) -> None:
    room = [segment_capacity(total, calibration, search, kind) for kind in range(3)]
    if any(count > held for count, held in zip(counts, room, strict=True)):
        with pytest.raises(DataError, match="too many"):
            split_by_shares(total, counts, calibration, search)
        return
    kinds = split_by_shares(total, counts, calibration, search)
    assert [len(kind) for kind in kinds] == list(counts)
    chosen = [index for kind in kinds for index in kind]
    assert len(set(chosen)) == len(chosen)
    assert all(0 <= index < total for index in chosen)
    # What verifies does not depend on how many frames calibrate: a search may vary that.
    other = split_by_shares(total, (1, counts[1], counts[2]), calibration, search)
    assert other[1:] == kinds[1:]


def test_a_search_splits_a_recording_and_refuses_a_short_one(tmp_path: Path) -> None:
    frames = split_recording(open_frames(str(write_images(tmp_path / "long", 120))), None)
    # A fifth is 24 frames: 9 for calibration, 6 for comparison, 9 for verification.
    assert (frames.calibration, len(frames.search), frames.verification) == (45, 30, 45)
    assert set(frames.subset(10).indices) <= set(frames.search)
    with pytest.raises(DataError, match=f"at least {LEAST} each"):
        split_recording(open_frames(str(write_images(tmp_path / "short", 40))), None)
    with pytest.raises(DataError, match="46 frames to calibrate on are too many"):
        split_recording(frames.source, 46)


def test_the_time_budget_reserves_time_for_the_verdict() -> None:
    now = [100.0]
    time_budget = TimeBudget(1.0, lambda: now[0])
    time_budget.reserve_s = 20.0
    time_budget.check()
    assert not time_budget.is_past(0.5)
    now[0] += 20.0  # half of the 40 s that are not reserved
    assert time_budget.is_past(0.5)
    with pytest.raises(OutOfTimeError, match="more than 20% of the time"):
        time_budget.check(begun_s=5.0, share=0.2)  # 15 s for one candidate of a minute's search
    time_budget.check(begun_s=15.0, share=0.2)
    now[0] += 20.0
    with pytest.raises(OutOfTimeError, match="give more minutes"):
        time_budget.check()


def test_a_journal_survives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = SearchJournal(path)
    journal.add("screen", "a", {"bytes": 1})
    journal.add("screen", "b", {"bytes": 2})
    path.write_bytes(path.read_bytes()[:-5])  # as if the power had gone
    again = SearchJournal(path)
    assert again.find("screen", "a") == {"bytes": 1}
    assert again.find("screen", "b") is None
    again.add("screen", "b", {"bytes": 3})  # and the file is whole again
    assert len(SearchJournal(path).entries()) == 2
    assert SearchJournal(path).find("screen", "b") == {"bytes": 3}
