# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""When a worker hangs, is replaced, and the process ends; gaps of stamps; loads that never end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.nodes.stamp_gaps import StampGaps
from ad_compressed_perception.nodes.watchdog import LONGEST_STEP_S, MAX_REPLACEMENTS, Action, Watchdog
from ad_compressed_perception.nodes.worker import Arrival, FrameWorker, Processed, Progress
from ad_compressed_perception.serving.loading import Loading

HANGING = Progress(finished=7, has_frame=True, is_alive=True)
IDLE = Progress(finished=7, has_frame=False, is_alive=True)
PERIOD_NS = 33_333_333


def run(
    watchdog: Watchdog, progress: Progress, start_s: float, seconds: float, **limits: float
) -> list[Action]:
    """Look at an unchanged worker ten times a second; replacements take place at once."""
    done = []
    for step in range(round(seconds * 10)):
        now_s = start_s + step / 10
        action = watchdog.look(progress, now_s, limits.get("error_s", 1.0), limits.get("exit_s", 0.0))
        if action is Action.REPLACE:
            watchdog.replaced(now_s)
        if action is not Action.NONE:
            done.append(action)
        if action is Action.EXIT:
            break
    return done


def test_only_a_worker_with_a_frame_hangs() -> None:
    """A camera that is off and a recording that pauses are no hang, however long."""
    assert run(Watchdog(), IDLE, 0.0, 3600.0) == []


def test_a_hung_worker_is_replaced_a_few_times_and_then_given_up() -> None:
    watchdog = Watchdog()
    assert run(watchdog, HANGING, 0.0, 60.0) == [Action.REPLACE] * MAX_REPLACEMENTS
    assert watchdog.given_up
    assert watchdog.is_hung
    # A frame that is finished after all ends it.
    watchdog.look(Progress(8, True, True), 61.0, 1.0, 0.0)
    assert not watchdog.is_hung


def test_the_process_ends_after_a_replacement_hung_too_and_never_before() -> None:
    assert run(Watchdog(), HANGING, 0.0, 60.0, exit_s=1.5) == [Action.REPLACE, Action.EXIT]
    # Shorter than the time to ERROR: it is the time to the replacement, too.
    assert run(Watchdog(), HANGING, 0.0, 60.0, error_s=30.0, exit_s=1.5) == [Action.REPLACE, Action.EXIT]
    many = [Action.REPLACE] * MAX_REPLACEMENTS
    assert run(Watchdog(), HANGING, 0.0, 60.0, exit_s=50.0) == [*many, Action.EXIT]


def test_a_dead_thread_is_replaced_at_the_next_look() -> None:
    assert Watchdog().look(Progress(0, False, False), 0.0, 5.0, 0.0) is Action.REPLACE


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pause_s=st.floats(0.0, 1e6))
def test_a_stopped_process_is_no_hang(pause_s: float) -> None:
    """After SIGSTOP all threads go on at once, and the frame in work looks old."""
    watchdog = Watchdog()
    watchdog.look(HANGING, 0.0, 1.0, 0.0)
    assert watchdog.look(HANGING, pause_s, 1.0, 0.0) is Action.NONE
    assert watchdog.hung_s <= LONGEST_STEP_S


class HangingOnce:
    """Processes frames; the first one waits for ``leave`` and then claims, too late."""

    def __init__(self) -> None:
        self.entered, self.leave, self.done = Event(), Event(), Event()
        self.outcomes: dict[int, str] = {}
        self.claims: list[bool] = []
        self.worker = FrameWorker(self._process, self._on_frame_done)
        self._is_first = True

    def _process(self, arrival: Arrival) -> Processed:
        was_first, self._is_first = self._is_first, False
        if was_first:
            self.entered.set()
            assert self.leave.wait(30)
        self.claims.append(self.worker.claim(arrival))
        if was_first:
            self.done.set()
        return Processed({"infer": 1.0})

    def _on_frame_done(self, timing: FrameTiming, counters: FrameCounters) -> None:
        self.outcomes[timing.stamp_ns] = f"{timing.outcome} {timing.reason}"


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_abandoned_thread_changes_nothing_any_more_and_publishes_nothing() -> None:
    bench = HangingOnce()
    worker = bench.worker
    worker.start()
    worker.offer(Arrival(None, 1, 0.0))
    assert bench.entered.wait(30)
    worker.offer(Arrival(None, 2, 0.0))
    assert worker.abandon()
    assert bench.outcomes[1].startswith("failed abandoned after")
    worker.resume()
    wait_until(lambda: len(bench.outcomes) == 2)
    bench.leave.set()
    assert bench.done.wait(30)
    assert worker.stop()
    assert bench.claims == [True, False]
    assert bench.outcomes[1].startswith("failed abandoned after")
    assert bench.outcomes[2] == "processed "
    assert worker.counters().counts == {"processed": 1, "dropped_stale": 0, "dropped_busy": 0, "failed": 1}


def test_a_frame_that_hangs_is_taken_over_by_a_new_thread_and_counted_once() -> None:
    bench = HangingOnce()
    worker = bench.worker
    worker.start()
    assert not worker.take_over(0.0)  # nothing is in work
    worker.offer(Arrival(None, 1, 0.0))
    assert bench.entered.wait(30)
    assert not worker.take_over(3600.0)
    assert worker.take_over(0.0)
    wait_until(lambda: bench.outcomes)
    bench.leave.set()
    assert bench.done.wait(30)
    worker.offer(Arrival(None, 2, 0.0))
    wait_until(lambda: len(bench.outcomes) == 2)
    assert worker.stop()
    assert bench.claims == [True, False, True]
    assert worker.counters().counts == {"processed": 2, "dropped_stale": 0, "dropped_busy": 0, "failed": 0}


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_no_error_ends_the_thread(error: BaseException) -> None:
    """Failed before: SystemExit in a runtime ended the thread, and frames waited forever."""
    reasons: list[str] = []
    done = Event()

    def process(arrival: Arrival) -> Processed:
        if arrival.stamp_ns == 1:
            raise error
        return Processed({})

    def on_frame_done(timing: object, counters: object) -> None:
        reasons.append(timing.reason)  # type: ignore[attr-defined]
        done.set()

    worker = FrameWorker(process, on_frame_done)
    worker.start()
    for stamp in (1, 2):
        done.clear()
        worker.offer(Arrival(None, stamp, 0.0))
        assert done.wait(30)
    assert worker.stop()
    assert reasons[0].startswith(type(error).__name__)
    assert reasons[1] == ""


def test_a_load_that_takes_too_long_is_discarded_when_it_ends() -> None:
    leave, discarded = Event(), Event()
    results: list[str] = []

    def load() -> str:
        assert leave.wait(30)
        return "model"

    loading: Loading[str] = Loading(load, lambda result: (results.append(result), discarded.set()))
    with pytest.raises(AdcpError, match="load_timeout_s is 0.05"):
        loading.wait(0.05)
    leave.set()
    assert discarded.wait(30)
    assert results == ["model"]


def test_a_load_hands_on_what_it_raises() -> None:
    def load() -> str:
        raise SystemExit(3)

    loading: Loading[str] = Loading(load, lambda result: None)
    with pytest.raises(SystemExit):
        loading.wait(30.0)


# Gaps of stamps ---------------------------------------------------------------------------------


def stamps(count: int, lost: float, jitter: float, seed: int) -> tuple[list[int], int]:
    """Return the stamps that arrive, with jitter in periods, and how many were lost between them."""
    chance = random.Random(seed)
    kept = [0, *(n for n in range(1, count) if chance.random() >= lost)]
    start_ns = 1_700_000_000 * 10**9
    arrived = [start_ns + round((n + chance.uniform(-jitter, jitter)) * PERIOD_NS) for n in kept]
    return arrived, kept[-1] + 1 - len(kept)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lost=st.floats(0.0, 0.6), seed=st.integers(0, 10**6))
def test_the_estimate_of_lost_frames_is_near_their_number(lost: float, seed: int) -> None:
    gaps = StampGaps()
    arrived, missing = stamps(2000, lost, 0.1, seed)
    for stamp in arrived:
        gaps.add(stamp)
    # The first 20 frames only give the period; the estimate of it may be off now and then.
    assert abs(gaps.missing - missing) <= 0.1 * missing + 40


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(jitter=st.floats(0.0, 0.2), seed=st.integers(0, 10**6))
def test_jitter_alone_is_no_loss(jitter: float, seed: int) -> None:
    gaps = StampGaps()
    for stamp in stamps(500, 0.0, jitter, seed)[0]:
        gaps.add(stamp)
    assert gaps.missing <= 5
    assert gaps.share < 0.05


def test_duplicates_loops_and_pauses_are_no_losses() -> None:
    """A recording in a loop, every frame twice, and a minute's pause between two parts."""
    gaps = StampGaps()
    first = [n * PERIOD_NS for n in range(1, 101)]
    second = [first[-1] + 60 * 10**9 + n * PERIOD_NS for n in range(100)]
    for stamp in [*first, *second] * 3:
        gaps.add(stamp)
        gaps.add(stamp)
    assert gaps.missing == 0
    assert gaps.share == 0.0
    gaps.add(0)  # never set
    assert gaps.missing == 0


def test_waiting_for_a_load_can_be_canceled() -> None:
    begin = time.monotonic()
    loading: Loading[str] = Loading(lambda: str(Event().wait(5.0)), lambda result: None)
    with pytest.raises(AdcpError, match="canceled"):
        loading.wait(60.0, lambda: True)
    assert time.monotonic() - begin < 5.0
