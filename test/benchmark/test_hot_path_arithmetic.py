# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the hot-path benchmark: nothing lost, silent or unpaired gives a good figure."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

REPOSITORY = Path(__file__).parents[2]
if not (REPOSITORY / "benchmark" / "hot_path").is_dir():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY))

from benchmark.hot_path import arithmetic  # noqa: E402
from benchmark.hot_path.stamps import stamp_of, with_stamp  # noqa: E402

LATENCIES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60)


@given(LATENCIES, st.floats(0.0, 100.0))
def test_percentiles_of_complete_latencies_are_those_of_numpy(values: list[float], rank: float) -> None:
    assert arithmetic.percentile(values, rank) == pytest.approx(np.percentile(values, rank), rel=1e-9)


@given(LATENCIES, st.integers(1, 20))
def test_losing_frames_never_improves_a_percentile(values: list[float], lost: int) -> None:
    """Without this a target that answers only its fast frames would win."""
    full = arithmetic.figures(values)
    less = arithmetic.figures([*sorted(values)[:-1], *[math.inf] * lost])
    assert (less.lost, less.answered) == (lost, len(values) - 1)
    assert less.p50 >= full.p50 and less.p95 >= full.p95 and less.p99 >= full.p99


def test_answers_are_paired_by_stamp_and_the_last_task_counts() -> None:
    """Frames 10, 20, 30 are sent; the tasks answer in any order, one answer is missing, two are strange."""
    account = arithmetic.pair_by_stamp(
        {10: 1.0, 20: 2.0, 30: 3.0},
        {
            "planning": [(20, 2.004), (10, 1.002), (30, 3.001), (30, 3.5)],
            "detection": [(10, 1.02), (20, 2.01), (99, 5.0)],
        },
    )
    assert account.latency_ms == pytest.approx([20.0, 10.0, math.inf])
    assert (account.foreign, account.repeated) == (1, 1)


def test_a_target_that_answers_nothing_says_so_and_has_no_ratio() -> None:
    silent = {(0, index): math.inf for index in range(50)}
    floor = {(0, index): 4.0 for index in range(50)}
    assert arithmetic.figures(list(silent.values())).status == "no answer"
    assert arithmetic.figures([]).status == "no frame"
    assert math.isnan(arithmetic.ratio(silent, floor).p50)
    assert math.isnan(arithmetic.ratio({}, floor).p50)
    no_tasks = arithmetic.pair_by_stamp({10: 1.0}, {})
    assert no_tasks.latency_ms == [math.inf], "no subscription is no answer"


@given(st.lists(st.floats(0.1, 100.0), min_size=4, max_size=40), st.floats(0.2, 20.0))
def test_a_ratio_compares_the_same_frames(reference: list[float], factor: float) -> None:
    """A target that takes `factor` times as long on every frame has this ratio in all figures."""
    keys = [(index % 2, index) for index in range(len(reference))]
    known = dict(zip(keys, reference, strict=True))
    found = arithmetic.ratio({key: value * factor for key, value in known.items()}, known)
    assert [found.p50, found.p99, found.p50_low, found.p50_high] == pytest.approx([factor] * 4)


def test_a_reference_that_lost_frames_does_not_flatter_the_target() -> None:
    """One lost reference of 100 is left out with its frame; three are too many to compare with the rest."""
    target = {(0, index): 2.0 for index in range(100)}
    for lost, expected in ((1, 2.0), (3, math.nan)):
        hop = {(0, index): math.inf if index < lost else 0.5 for index in range(100)}
        reference = arithmetic.summed({(0, index): 0.5 for index in range(100)}, hop)
        assert len(reference) == 100 - lost
        assert arithmetic.ratio(target, reference).p50 == pytest.approx(expected, nan_ok=True)


def test_lost_frames_of_the_target_are_in_its_ratio() -> None:
    """Two of 100 lost: its p99 is infinitely worse, not that of the answered ones."""
    target = {(0, index): math.inf if index < 2 else 2.0 for index in range(100)}
    found = arithmetic.ratio(target, {(0, index): 1.0 for index in range(100)})
    assert (found.p50, found.p99) == (2.0, math.inf)


def test_cpu_time_of_a_process_that_ended_is_unknown_not_less() -> None:
    assert arithmetic.cores([1.0, 2.0], [1.5, 2.5], 2.0) == 0.5
    assert math.isnan(arithmetic.cores([1.0, 2.0], [1.5], 2.0))
    assert math.isnan(arithmetic.cores([], [], 2.0))


@given(st.integers(0, 2**31 * 10**9 - 1), st.binary(min_size=12, max_size=40))
def test_a_stamp_survives_the_bytes_of_a_message(stamp_ns: int, cdr: bytes) -> None:
    stamped = with_stamp(cdr, stamp_ns)
    assert stamp_of(stamped) == stamp_ns
    assert stamped[:4] + stamped[12:] == cdr[:4] + cdr[12:]
