# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Throughput and latency of sessions, interleaved: some compute several frames at the same time.

Latency is measured in two ways. Alone: one frame at a time, from its beginning to its result. Under load:
frames are submitted as fast as they are taken, as by a camera that is faster than the model, and each one's
latency begins when it is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from threading import Semaphore
from time import perf_counter

import numpy as np

from ad_compressed_perception.analysis.paired_rounds import interleaved_order, paired_ratio
from ad_compressed_perception.backends.base import Outputs, Session
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.metrics.interval import Interval

LEAST_ROUNDS = 5
LIMIT_S = 120.0
"""How long a frame may take before the measurement gives up."""


@dataclass
class Flow:
    """Series of one session; each list has an entry for each round.

    Attributes:
        latency_ms: of a frame alone, median of the round.
        loaded_ms: of a frame under load, median of the round.
        throughput_hz: frames a second under load.
    """

    latency_ms: list[float] = field(default_factory=list)
    loaded_ms: list[float] = field(default_factory=list)
    throughput_hz: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        """Return the median of each series over the rounds."""
        return {name: float(np.median(values)) for name, values in vars(self).items()}


@dataclass(frozen=True)
class FlowRatio:
    """One session against another one: above 1 is more, and for latencies longer."""

    latency: Interval
    loaded: Interval
    throughput: Interval


def measure_flows(
    sessions: Mapping[str, Session],
    feeds: Mapping[str, Sequence[Feeds]],
    *,
    rounds: int = 10,
    frames: int = 6,
    seconds: float = math.inf,
    advance: Advance = no_advance,
) -> dict[str, Flow]:
    """Measure sessions interleaved: in each round every session, in changing order.

    Args:
        sessions: by any name.
        feeds: frames of each session, used cyclically.
        rounds: how often each session is measured; one more before them is not counted.
        frames: of each round and way of measuring, at least 2.
        seconds: time after which no further round begins, once there are LEAST_ROUNDS.
        advance: called with the finished rounds and all of them.

    Raises:
        BackendError: a session failed on a frame.
    """
    names = list(sessions)
    flows = {name: Flow() for name in names}
    end_s = perf_counter() + seconds
    for number in range(-1, rounds):
        if number >= LEAST_ROUNDS and perf_counter() > end_s:
            break
        for index in interleaved_order(len(names), max(number, 0) % (2 * len(names))):
            name = names[index]
            flow = flows[name] if number >= 0 else Flow()
            _measure(sessions[name], feeds[name], frames, flow)
        if number >= 0:
            advance(number + 1, rounds)
    return flows


def _measure(session: Session, feeds: Sequence[Feeds], frames: int, flow: Flow) -> None:
    alone = []
    for place in range(frames):
        start = perf_counter()
        session.infer(feeds[place % len(feeds)])
        alone.append(perf_counter() - start)
    flow.latency_ms.append(float(np.median(alone)) * 1e3)
    # Some more frames before and after those that count: filling and emptying the stages does not.
    count = frames + 2 * session.depth
    taken, done = [0.0] * count, [0.0] * count
    finished, results = Semaphore(0), list[Future[Outputs]]()

    def stamp(place: int, future: Future[Outputs]) -> None:
        done[place] = perf_counter()
        finished.release()

    for place in range(count):
        start = perf_counter()
        result = session.submit(feeds[place % len(feeds)])
        # Without stages the frame is done here; with them it has only been taken, perhaps after waiting.
        taken[place] = start if session.depth == 1 else perf_counter()
        result.add_done_callback(partial(stamp, place))
        results.append(result)
    for result in results:
        if not finished.acquire(timeout=LIMIT_S):
            raise BackendError(f"a frame was not finished after {LIMIT_S:.0f} s")
        result.result(LIMIT_S)
    first, last = session.depth, session.depth + frames
    loaded = [done[place] - taken[place] for place in range(first, last)]
    flow.loaded_ms.append(float(np.median(loaded)) * 1e3)
    flow.throughput_hz.append(frames / (done[last - 1] - done[first - 1]))


def flow_ratio(flow: Flow, reference: Flow) -> FlowRatio:
    """Return the ratios of two sessions of the same measurement, medians over the rounds."""
    return FlowRatio(
        paired_ratio(flow.latency_ms, reference.latency_ms),
        paired_ratio(flow.loaded_ms, reference.loaded_ms),
        paired_ratio(flow.throughput_hz, reference.throughput_hz),
    )
