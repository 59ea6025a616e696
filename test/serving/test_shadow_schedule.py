# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames a shadow gets: rate, slack, weights that add up, order of the two models."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.serving.shadow_schedule import (
    MOST_HELD,
    Draw,
    Due,
    HeldFrames,
    ScheduleName,
    ShadowSchedule,
)

PERIOD_S = 0.05


def drive(
    schedule: ShadowSchedule[int], primary_s: list[float], shadow_s: float
) -> list[tuple[int, Due[int], float]]:
    """Run a simulated drive; return frame, what was run at it, and the time it began."""
    runs, free_s = [], -math.inf
    for place, taken_s in enumerate(primary_s):
        now_s = place * PERIOD_S + taken_s
        due = schedule.after_primary(place, place + 1, place * PERIOD_S, now_s, is_idle=now_s >= free_s)
        if due is not None:
            free_s = now_s + shadow_s
            schedule.time.ran(free_s, shadow_s)
            runs.append((place, due, now_s))
    return runs


def test_slack_keeps_the_rate_and_never_reaches_into_the_next_frame() -> None:
    """At 20 Hz and 2 Hz at most: 100 runs in 50 s, one less for every interval that began in vain."""
    random = Random(1)
    primary_s = [random.choice((0.01, 0.045)) for _ in range(1000)]
    schedule: ShadowSchedule[int] = ShadowSchedule("slack", max_rate_hz=2.0, seed=1)
    runs = drive(schedule, primary_s, shadow_s=0.02)
    starts = [start for _, _, start in runs]
    assert 70 <= len(runs) <= 101
    assert min(b - a for a, b in zip(starts, starts[1:], strict=False)) >= 0.98 / 2.0
    late = [place for place, _, start in runs if start + 0.02 > (place + 1) * PERIOD_S]
    assert len(late) <= 3, "only those that found out what a run takes"
    assert {due.item for _, due, _ in runs} & {n for n, taken in enumerate(primary_s) if taken > 0.04}, (
        "frames without time of their own are compared as well"
    )


def test_a_shadow_slower_than_the_frames_is_tried_now_and_then_only() -> None:
    """100 s: what a run takes is found out in 3 runs; then one in 15 s asks whether that has changed."""
    schedule: ShadowSchedule[int] = ShadowSchedule("slack", max_rate_hz=2.0, seed=1)
    runs = drive(schedule, [0.01] * 2000, shadow_s=1.0)
    assert 3 <= len(runs) <= 3 + 7


def test_a_shadow_whose_time_is_known_from_the_load_disturbs_no_frame() -> None:
    """Slower than the frames, it is tried every 15 s; fast enough, it ends before each next frame."""
    for shadow_s, most_late in ((1.0, 7), (0.02, 0)):
        schedule: ShadowSchedule[int] = ShadowSchedule("slack", max_rate_hz=2.0, seed=1)
        for _ in range(3):
            schedule.time.durations.add(shadow_s)
        runs = drive(schedule, [0.01] * 2000, shadow_s)
        late = [place for place, _, start in runs if start + shadow_s > (place + 1) * PERIOD_S]
        assert len(late) <= most_late
        assert runs


def test_without_a_known_rate_nothing_is_drawn() -> None:
    schedule: ShadowSchedule[int] = ShadowSchedule("slack", max_rate_hz=2.0, seed=1)
    assert schedule.after_primary(0, 1, 0.0, 0.01, is_idle=True) is None
    assert schedule.not_chosen == 1


def test_the_deadline_ends_the_time_before_the_next_frame_does() -> None:
    """After 10 ms of the primary 40 ms are left to the next frame, 15 ms to a deadline of 25 ms."""
    schedule: ShadowSchedule[int] = ShadowSchedule("slack", deadline_s=0.025, seed=1)
    drive(schedule, [0.01] * 20, shadow_s=0.02)
    assert schedule.time.left_s(19 * PERIOD_S + 0.01) == pytest.approx(0.015)


@given(st.integers(0, 1000), st.lists(st.booleans(), max_size=300))
def test_weights_are_kept_and_frames_stay_in_order(seed: int, adds: list[bool]) -> None:
    """Whatever is added, merged and taken: the weights sum up to the frames, none comes twice."""
    held: HeldFrames[int] = HeldFrames(Random(seed))
    taken: list[Due[int]] = []
    for place, is_add in enumerate(adds):
        if is_add:
            held.add(place)
        elif len(held):
            taken.append(held.take())
        assert len(held) <= MOST_HELD
    while len(held):
        taken.append(held.take())
    items = [due.item for due in taken]
    assert items == sorted(set(items))
    assert sum(due.weight for due in taken) == sum(adds)
    assert len(taken) + held.merged == sum(adds)


def test_every_frame_of_a_long_time_without_slack_is_kept_equally_often() -> None:
    """Each frame's expected weight is 1: over 4,000 repetitions a mean within five standard errors of it."""
    frames, repetitions = 12, 4000
    sums = [0.0] * frames
    for seed in range(repetitions):
        held: HeldFrames[int] = HeldFrames(Random(seed))
        for place in range(frames):
            held.add(place)
        while len(held):
            due = held.take()
            sums[due.item] += due.weight
    assert [total / repetitions for total in sums] == pytest.approx([1.0] * frames, abs=0.15)


@given(st.integers(1, 40), st.integers(0, 100))
def test_one_frame_of_every_round_is_drawn(steps: int, seed: int) -> None:
    draw = Draw(Random(seed))
    taken = [draw.takes(steps) for _ in range(steps * 5)]
    assert [sum(taken[at : at + steps]) for at in range(0, len(taken), steps)] == [1] * 5


def test_alternating_gives_every_frame_and_changes_the_order() -> None:
    schedule: ShadowSchedule[int] = ShadowSchedule("alternating")
    assert [schedule.shadow_first() for _ in range(5)] == [False, True, False, True, False]
    assert schedule.after_primary(7, 1, 0.0, 0.01, is_idle=True) == Due(7, 1.0)


@pytest.mark.parametrize(
    ("name", "taken", "not_chosen", "busy"),
    [("off", 0, 6, 0), ("every_nth", 2, 4, 0), ("alternating", 6, 0, 0)],
)
def test_frames_left_out_are_counted(name: ScheduleName, taken: int, not_chosen: int, busy: int) -> None:
    schedule: ShadowSchedule[int] = ShadowSchedule(name, is_nth=lambda stamp_ns: stamp_ns % 3 == 0)
    dues = [schedule.after_primary(n, n, n * 0.05, n * 0.05, is_idle=True) for n in range(6)]
    assert sum(due is not None for due in dues) == taken
    assert (schedule.not_chosen, schedule.busy) == (not_chosen, busy)


def test_a_shadow_at_work_misses_its_turn() -> None:
    schedule: ShadowSchedule[int] = ShadowSchedule("every_nth")
    assert schedule.after_primary(1, 1, 0.0, 0.01, is_idle=False) is None
    assert schedule.busy == 1
