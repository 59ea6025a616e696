# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames chosen by their stamps: the same ones in every node, whatever else arrived."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.nodes.frame_selection import FrameSelection, is_nth, prefers, rank
from ad_compressed_perception.nodes.frame_slot import LatestFrameSlot
from ad_compressed_perception.nodes.worker import Arrival, FrameWorker, Processed

START_NS = 1_479_425_491_191_381_351
RATES_HZ = st.sampled_from([7.5, 10.0, 12.5, 15.0, 20.0, 24.0, 29.97, 30.0, 60.0])
EVERY = st.integers(1, 20)


def stamps(rate_hz: float, count: int, phase_ns: int = 0) -> list[int]:
    return [START_NS + phase_ns + round(index * 1e9 / rate_hz) for index in range(count)]


@settings(max_examples=100)
@given(RATES_HZ, EVERY, st.integers(0, 10**9))
def test_of_n_neighbors_of_a_regular_camera_exactly_one_is_taken(
    rate_hz: float, every_nth: int, phase_ns: int
) -> None:
    taken = [is_nth(stamp, every_nth, rate_hz) for stamp in stamps(rate_hz, 10 * every_nth, phase_ns)]
    # A stamp is rounded to a nanosecond: at one number's edge it can fall to either side.
    windows = [sum(taken[index : index + every_nth]) for index in range(len(taken) - every_nth + 1)]
    assert windows.count(1) >= len(windows) - 4 * every_nth
    assert 8 <= sum(taken) <= 12


@settings(max_examples=60)
@given(RATES_HZ, EVERY, st.integers(0, 10**9), st.integers(0, 1000))
def test_nodes_that_got_other_frames_in_another_order_choose_the_same(
    rate_hz: float, every_nth: int, phase_ns: int, seed: int
) -> None:
    """Each node loses frames of its own, and the recording comes twice."""
    rng = random.Random(seed)
    every = stamps(rate_hz, 200, phase_ns)
    chosen = []
    arrived = []
    for _ in range(2):
        mine = [stamp for stamp in every * 2 if rng.random() > 0.3]
        rng.shuffle(mine)
        selection = FrameSelection(every_nth, rate_hz)
        chosen.append({stamp for stamp in mine if selection.takes(stamp)})
        arrived.append(set(mine))
        assert selection.not_selected == sum(not is_nth(stamp, every_nth, rate_hz) for stamp in mine)
    both = arrived[0] & arrived[1]
    assert chosen[0] & both == chosen[1] & both


@settings(max_examples=60)
@given(RATES_HZ, EVERY, st.integers(0, 1000))
def test_jitter_changes_how_regular_the_choice_is_and_hardly_how_many(
    rate_hz: float, every_nth: int, seed: int
) -> None:
    """Jitter of up to 40 % of the camera's period."""
    rng = random.Random(seed)
    period_ns = 1e9 / rate_hz
    jittered = [s + round(rng.uniform(-0.4, 0.4) * period_ns) for s in stamps(rate_hz, 60 * every_nth)]
    taken = [index for index, stamp in enumerate(jittered) if is_nth(stamp, every_nth, rate_hz)]
    assert 25 <= len(taken) <= 120
    assert max(b - a for a, b in zip(taken, taken[1:], strict=False)) <= 6 * every_nth


def test_frames_without_a_stamp_are_always_taken_and_never_preferred() -> None:
    assert is_nth(0, 100, 20.0)
    unstamped, stamped = SimpleNamespace(stamp_ns=0), SimpleNamespace(stamp_ns=START_NS)
    assert not prefers(unstamped, stamped)
    assert not prefers(stamped, unstamped)


@settings(max_examples=100)
@given(st.lists(st.integers(1, 2**62), min_size=1, max_size=30, unique=True), st.randoms())
def test_the_slot_holds_the_first_in_rank_of_all_that_came(found: list[int], rng: random.Random) -> None:
    """In any order; so the choice among many is the choice among a few of them, where it is one of these."""
    slot: LatestFrameSlot[SimpleNamespace] = LatestFrameSlot()
    rng.shuffle(found)
    discarded = [slot.put(SimpleNamespace(stamp_ns=stamp), prefers) for stamp in found]
    left = slot.take()
    assert left is not None
    assert left.stamp_ns == min(found, key=rank)
    gone = sorted(each.stamp_ns for each in discarded if each)
    assert gone == sorted(set(found) - {left.stamp_ns}), "all others come back, to be counted"


def simulated(durations_s: tuple[float, float], rule: Callable[..., bool] | None, rate_hz: float) -> float:
    """Return pairs / results of the slower node: two nodes of these durations a frame, one camera, 60 s."""
    answered = []
    for seed, duration_s in enumerate(durations_s):
        rng = random.Random(seed)
        slot: LatestFrameSlot[SimpleNamespace] = LatestFrameSlot()
        free_s, waits, found = 0.0, False, []
        for index, stamp in enumerate(stamps(rate_hz, round(60 * rate_hz))):
            now_s = index / rate_hz
            while waits and free_s <= now_s:
                item = slot.take()
                assert item is not None
                found.append(item.stamp_ns)
                free_s, waits = free_s + duration_s * rng.uniform(0.8, 1.2), False
            slot.put(SimpleNamespace(stamp_ns=stamp), rule)
            if free_s <= now_s:
                free_s = now_s
            waits = True
        answered.append(set(found))
    return len(answered[0] & answered[1]) / min(len(each) for each in answered)


@pytest.mark.parametrize("rate_hz", [10.0, 20.0, 30.0])
@pytest.mark.parametrize("durations_s", [(0.3, 0.25), (0.5, 0.5), (1.0, 0.4)])
def test_two_overloaded_nodes_answer_the_same_frames(
    durations_s: tuple[float, float], rate_hz: float
) -> None:
    """Seven of ten results form pairs, where the newest frame left a few by chance."""
    newest = simulated(durations_s, None, rate_hz)
    ranked = simulated(durations_s, prefers, rate_hz)
    assert ranked >= 0.7
    assert ranked > newest + 0.2


def test_a_busy_worker_keeps_the_frame_of_the_higher_rank_and_counts_the_others() -> None:
    """Failed before: whatever was newest was kept, and two busy nodes had other frames each."""
    busy, go_on, processed, done = Event(), Event(), [], []

    def process(arrival: Arrival) -> Processed:
        processed.append(arrival.stamp_ns)
        busy.set()
        assert go_on.wait(30.0)
        return Processed({"infer": 1.0})

    worker = FrameWorker(process, lambda timing, counters: done.append((timing, counters)))
    worker.prefers = prefers
    every = stamps(20.0, 8)
    worker.start()
    worker.offer(Arrival(None, every[0], 1.0))
    assert busy.wait(30.0)
    for stamp in every[1:]:
        worker.offer(Arrival(None, stamp, 1.0))
    go_on.set()
    while len(done) < len(every):
        time.sleep(0.01)
    assert worker.stop()
    assert processed == [every[0], min(every[1:], key=rank)]
    counters = worker.counters()
    assert (counters.received, counters.counts["processed"], counters.counts["dropped_busy"]) == (8, 2, 6)
    reasons = {timing.reason for timing, _ in done if timing.outcome == "dropped_busy"}
    assert reasons <= {"an earlier one ranks higher", "a newer frame came first"}
