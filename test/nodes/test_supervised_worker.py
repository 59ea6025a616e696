# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A worker whose runtime hangs: what happens to its model, its frames and its replacements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.monitor.frame_health import Level
from ad_compressed_perception.nodes.supervised_worker import SupervisedWorker
from ad_compressed_perception.nodes.watchdog import Action
from ad_compressed_perception.nodes.worker import Arrival, Processed
from ad_compressed_perception.serving.served_model import ModelIdentity, ServedModel

PATIENCE_S = 30.0


class Model:
    """Stands for a pipeline: hangs while ``hang`` is set, and remembers whether it was closed in use."""

    def __init__(self, hang: Event) -> None:
        self.hang, self.in_use, self.closed, self.was_closed_in_use = hang, False, Event(), False

    def run(self, frame: object) -> tuple[None, dict[str, float]]:
        self.in_use = True
        while self.hang.is_set():
            time.sleep(0.01)
        self.in_use = False
        return None, {"infer": 1.0}

    def close(self) -> None:
        self.was_closed_in_use |= self.in_use
        self.closed.set()


class Bench:
    """A supervised worker, its models, its log and its counters."""

    def __init__(self, load: Callable[[int], None] = lambda number: None) -> None:
        self.hang, self.models, self.log, self.counters = Event(), list[Model](), list[str](), FrameCounters()
        self.now_s = 0.0

        def open_model() -> Any:
            load(len(self.models))
            self.models.append(Model(self.hang))
            return ServedModel(self.models[-1], ModelIdentity())  # type: ignore[arg-type]

        def process(arrival: Arrival) -> Processed:
            model = self.supervised.models.primary
            assert model is not None
            return Processed(model.run(arrival.message)[1])

        def on_frame_done(timing: FrameTiming, counters: FrameCounters) -> None:
            self.counters = counters

        self.supervised = SupervisedWorker(
            open_model, lambda model: None, process, on_frame_done, self.log.append
        )
        self.supervised.open(0.5, lambda: False)
        self.worker = self.supervised.start()

    def begin_to_hang(self) -> None:
        """Offer a frame and wait until it is in work."""
        self.hang.set()
        self.worker.offer(Arrival(None, 1, 0.0))
        end = time.monotonic() + PATIENCE_S
        while not self.models[-1].in_use:
            assert time.monotonic() < end
            time.sleep(0.005)

    def problems(self) -> list[tuple[Level, str]]:
        return self.supervised.problems(self.now_s, 1.0)

    def watch_until(self, condition: Callable[[], object], exit_s: float = 0.0) -> list[Action]:
        """Look at the worker, a tenth of a second apart by its clock, until the condition is true."""
        end, actions = time.monotonic() + PATIENCE_S, []
        while not condition():
            assert time.monotonic() < end, self.log
            actions.append(self.supervised.watch(self.now_s, 1.0, exit_s))
            self.now_s += 0.1
            time.sleep(0.005)
            if actions[-1] is Action.EXIT:
                break
        return actions


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    """Return a list for benches; their threads end after the test."""
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.hang.clear()
        bench.supervised.stop()


def test_a_hung_model_is_closed_by_its_own_thread_only(benches: list[Bench]) -> None:
    bench = Bench()
    benches.append(bench)
    bench.begin_to_hang()
    bench.watch_until(lambda: bench.supervised.replacements)
    assert len(bench.models) == 2
    assert not bench.models[0].closed.is_set()
    assert (Level.WARN, bench.log[-1]) in bench.problems()
    bench.hang.clear()
    assert bench.models[0].closed.wait(PATIENCE_S)
    assert not bench.models[0].was_closed_in_use
    bench.worker.offer(Arrival(None, 2, 0.0))
    bench.watch_until(lambda: bench.counters.counts["processed"])
    assert bench.counters.counts["failed"] == 1
    bench.supervised.stop()
    bench.supervised.close()
    assert bench.models[1].closed.is_set()


@pytest.mark.parametrize("exit_s", [0.0, 2.0])
def test_replacements_that_cannot_be_loaded_are_the_last_step(benches: list[Bench], exit_s: float) -> None:
    """A load that hangs is given up after its time-out; then the process ends, or the node stays ERROR."""
    leave = Event()

    def load(number: int) -> None:
        if number:
            assert leave.wait(PATIENCE_S)

    bench = Bench(load)
    benches.append(bench)
    bench.begin_to_hang()  # and no other frame comes: without a worker the node must not seem idle
    done = bench.watch_until(
        lambda: any("so did its replacements" in line for _, line in bench.problems()), exit_s
    )
    assert (done[-1] is Action.EXIT) == bool(exit_s)
    assert any("not loaded after" in line for line in bench.log)
    leave.set()
    late = time.monotonic() + PATIENCE_S
    # Discarded when they come at last.
    while not (bench.models[1:] and all(model.closed.is_set() for model in bench.models[1:])):
        assert time.monotonic() < late
        time.sleep(0.01)


def test_closing_is_bounded_too_and_its_error_is_a_line(benches: list[Bench]) -> None:
    """A runtime may hang or raise while it frees a model, and the node's executor must go on."""
    bench, leave = Bench(), Event()
    benches.append(bench)
    bench.supervised.stop()
    bench.models[0].close = lambda: leave.wait(PATIENCE_S) and None  # type: ignore[method-assign]
    begin = time.monotonic()
    bench.supervised.close()
    assert time.monotonic() - begin < PATIENCE_S
    assert "abandoned" in bench.log[-1]
    leave.set()

    def fail() -> None:
        raise RuntimeError("the device is gone")

    bench.supervised.open(PATIENCE_S, lambda: False).close = fail  # type: ignore[method-assign]
    bench.supervised.close()
    assert bench.log[-1] == "closing the model failed: RuntimeError: the device is gone"


def test_stop_is_bounded_and_the_next_start_needs_a_new_model(benches: list[Bench]) -> None:
    bench = Bench()
    benches.append(bench)
    bench.begin_to_hang()
    begin = time.monotonic()
    bench.supervised.stop()
    assert time.monotonic() - begin < PATIENCE_S
    assert bench.counters.received == sum(bench.counters.counts.values()) == 1
    bench.supervised.close()
    assert not bench.models[0].closed.is_set()  # still in use
    with pytest.raises(AdcpError, match="no model"):
        bench.supervised.start()
    bench.hang.clear()
    assert bench.models[0].closed.wait(PATIENCE_S)
    assert not bench.models[0].was_closed_in_use


def other_model() -> tuple[Model, ServedModel]:
    model = Model(Event())
    return model, ServedModel(model, ModelIdentity(variant="other"))  # type: ignore[arg-type]


def test_a_model_that_was_exchanged_while_the_one_before_hung_is_not_given_up(benches: list[Bench]) -> None:
    """Failed before: the new model was taken for the hung one, and a rollback led back to that."""
    bench = Bench()
    benches.append(bench)
    bench.begin_to_hang()
    model, new = other_model()
    bench.supervised.models.exchange(new)

    bench.watch_until(lambda: bench.supervised.replacements)

    assert bench.supervised.models.primary is new
    assert bench.supervised.models.previous is None
    assert len(bench.models) == 1  # nothing was loaded
    assert not model.closed.is_set()
    bench.worker.offer(Arrival(None, 2, 0.0))
    bench.watch_until(lambda: bench.counters.counts["processed"])
    bench.hang.clear()
    assert bench.models[0].closed.wait(PATIENCE_S)
    assert not bench.models[0].was_closed_in_use


def test_a_replacement_does_not_take_the_place_of_a_model_that_came_first(benches: list[Bench]) -> None:
    """Failed before: the parameters named the model of the exchange, and the one before it ran."""
    leave = Event()

    def load(number: int) -> None:
        if number:
            assert leave.wait(PATIENCE_S)

    bench = Bench(load)
    benches.append(bench)
    bench.begin_to_hang()
    bench.watch_until(lambda: bench.supervised.loading is not None)
    model, new = other_model()
    bench.supervised.models.exchange(new)

    leave.set()
    bench.watch_until(lambda: bench.supervised.replacements)

    assert bench.supervised.models.primary is new
    assert not model.closed.is_set()
    assert bench.models[1].closed.wait(PATIENCE_S)


def test_a_rollback_while_a_replacement_is_loading_ends_the_wait(benches: list[Bench]) -> None:
    """Failed before: no frame was answered until the load ended; where it failed, the model was closed."""
    leave = Event()

    def load(number: int) -> None:
        if number:
            assert leave.wait(PATIENCE_S)
            raise AdcpError("the file is gone")

    bench = Bench(load)
    benches.append(bench)
    bench.begin_to_hang()
    bench.watch_until(lambda: bench.supervised.loading is not None)
    model, old = other_model()
    bench.supervised.models.previous = old
    assert bench.supervised.models.roll_back()

    bench.watch_until(lambda: bench.supervised.loading is None)

    bench.worker.offer(Arrival(None, 2, 0.0))
    bench.watch_until(lambda: bench.counters.counts["processed"])
    leave.set()
    assert bench.supervised.models.primary is old
    assert not model.closed.is_set()
