# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a node's last seconds say about it: rate, drops, ages; and a node that lives without results."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.timing import OUTCOMES, FrameTiming, Outcome
from ad_compressed_perception.monitor.frame_health import FrameHealth, HealthLimits, Level
from ad_compressed_perception.monitor.liveness import Liveness

LIMITS = HealthLimits(min_rate_hz=30.0, max_dropped_share=0.5, max_age_warn_ms=500.0)


def after(seconds: float, *, age_ms: float = 20.0, **a_second: int) -> FrameHealth:
    """Return the state after seconds with so many frames of each outcome a second, looked at each second."""
    health = FrameHealth()
    health.update(dict.fromkeys(OUTCOMES, 0), 0.0)
    for second in range(1, round(seconds) + 1):
        counts: dict[Outcome, int] = {outcome: a_second.get(outcome, 0) * second for outcome in OUTCOMES}
        health.add_frame(FrameTiming(1, "processed", {}, age_ms), float(second))
        health.update(counts, float(second))
    return health


@pytest.mark.parametrize(
    ("a_second", "age_ms", "level", "text"),
    [
        ({"processed": 30}, 20.0, Level.OK, ""),
        ({"processed": 20}, 20.0, Level.WARN, "20.0 results a second (min_rate_hz 30)"),
        ({"processed": 5}, 20.0, Level.ERROR, "5.0 results a second"),
        ({"processed": 30, "dropped_busy": 146}, 20.0, Level.WARN, "83% of the frames dropped"),
        ({"processed": 30, "dropped_busy": 30}, 20.0, Level.OK, ""),
        ({"dropped_stale": 30}, 20.0, Level.ERROR, "none of the last 150 frames gave a result: 150 too old"),
        ({"failed": 30}, 20.0, Level.ERROR, "150 failed"),
        ({"processed": 30}, 600.0, Level.WARN, "ages of 600 ms (max_age_warn_ms 500)"),
        ({"processed": 30}, 50 * 3.15e10, Level.WARN, "the clock or the stamps are wrong"),
        ({"processed": 30}, -50 * 3.15e10, Level.WARN, "the clock or the stamps are wrong"),
        ({"processed": 30}, math.nan, Level.OK, ""),
    ],
)
def test_limits_give_levels(a_second: dict[str, int], age_ms: float, level: Level, text: str) -> None:
    problems = after(10.0, age_ms=age_ms, **a_second).problems(LIMITS)
    assert max((one for one, _ in problems), default=Level.OK) == level
    assert text in "; ".join(line for _, line in problems)


def test_a_slow_first_frame_is_no_error() -> None:
    """The node ran for seconds without a camera; then frames came, and the first one was still in work."""
    health = after(10.0)
    busy: dict[Outcome, int] = {**dict.fromkeys(OUTCOMES, 0), "dropped_busy": 9}
    health.update(dict(busy), 11.0)
    assert [level for level, _ in health.problems(LIMITS)] == [Level.WARN, Level.ERROR]  # drops; the rate
    for second in (12, 13):
        busy["dropped_busy"] += 20
        health.update(dict(busy), float(second))
    assert (Level.ERROR, "none of the last 49 frames gave a result: 49 displaced by newer ones") in (
        health.problems(LIMITS)
    )


def test_the_past_is_forgotten_and_a_restart_begins_anew() -> None:
    health = after(10.0, failed=30)
    counts: dict[Outcome, int] = {**dict.fromkeys(OUTCOMES, 0), "failed": 300}
    for second in range(11, 20):
        counts["processed"] += 30
        health.update(dict(counts), float(second))
    assert health.problems(LIMITS) == []
    health.update({**dict.fromkeys(OUTCOMES, 0), "processed": 1}, 20.0)
    assert health.recent["processed"] == 0  # one status alone has no frames between
    assert math.isnan(health.rate_hz)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 50), st.floats(0.0, 3.0)), max_size=40))
def test_shares_and_rates_stay_in_range(steps: list[tuple[Outcome, int, float]]) -> None:
    health, counts, now_s = FrameHealth(), dict.fromkeys(OUTCOMES, 0), 0.0
    for outcome, more, later_s in steps:
        counts[outcome] += more
        now_s += later_s
        health.update(dict(counts), now_s)
    assert math.isnan(health.dropped_share) or 0.0 <= health.dropped_share <= 1.0
    assert math.isnan(health.rate_hz) or health.rate_hz >= 0.0
    assert all(count >= 0 for count in health.recent.values())


def test_drops_and_failures_show_a_process_that_lives_not_one_that_works() -> None:
    """Failed before: every report, that of a dropped frame too, kept the node fresh."""
    liveness = Liveness("/detection", 2.0, 0.0)
    liveness.seen(1.0, has_result=True)
    for tenth in range(11, 60):
        liveness.seen(tenth / 10, has_result=False)
    assert liveness.fault(2.9) == ""
    assert liveness.fault(5.9) == "/detection has given no result for 4.9 s, though frames arrive in it"
    liveness.seen(6.0, has_result=True)
    assert liveness.fault(6.1) == ""
