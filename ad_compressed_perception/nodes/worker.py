# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One worker thread behind a latest-frame slot, and frame counters; no ROS."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock, Thread
from time import perf_counter
from typing import Any

from ad_compressed_perception.core.timing import COMPUTE_STAGES, FrameCounters, FrameTiming, Outcome
from ad_compressed_perception.nodes.frame_slot import LatestFrameSlot

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arrival:
    """A message that reached the node.

    Attributes:
        message: the image message.
        stamp_ns: its source stamp.
        transport_age_ms: see timing.STAGES; NaN where unknown.
        arrived_s: perf_counter at arrival.
    """

    message: Any
    stamp_ns: int
    transport_age_ms: float
    arrived_s: float = field(default_factory=perf_counter)


OnFrameDone = Callable[[FrameTiming, FrameCounters], None]
Process = Callable[[Arrival], dict[str, float]]


class FrameWorker:
    """Runs ``process`` on the latest arrival in a thread of its own and counts every frame exactly once."""

    def __init__(self, process: Process, on_frame_done: OnFrameDone) -> None:
        """Prepare; start() begins.

        Args:
            process: processes one frame and returns the milliseconds of its stages after queue_wait; what
                it raises makes the frame failed.
            on_frame_done: called with every frame's outcome and the counters after it, in the worker's
                thread or, for displaced frames, in the one that calls offer().
        """
        self._process = process
        self._on_frame_done = on_frame_done
        self._slot: LatestFrameSlot[Arrival] = LatestFrameSlot()
        self._counters = FrameCounters()
        self._lock = Lock()
        self._thread = Thread(target=self._run, name="frame-worker", daemon=True)
        self.max_age_ms = 0.0

    def start(self) -> None:
        """Start processing frames."""
        self._thread.start()

    def offer(self, arrival: Arrival) -> None:
        """Count a frame as received and make it the next one; the one it displaces is dropped_busy."""
        with self._lock:
            self._counters.received += 1
        displaced = self._slot.put(arrival)
        if displaced is not None:
            self._complete(displaced, "dropped_busy", {}, "a newer frame came first")

    def stop(self) -> None:
        """Finish the frame being processed, drop the waiting one, end the thread."""
        left = self._slot.close()
        if left is not None:
            self._complete(left, "dropped_busy", {}, "the node was deactivated")
        if self._thread.is_alive():
            self._thread.join()

    def counters(self) -> FrameCounters:
        """Return a copy of the counters."""
        with self._lock:
            return FrameCounters(self._counters.received, dict(self._counters.counts))

    def _run(self) -> None:
        while (arrival := self._slot.take()) is not None:
            try:
                self._handle(arrival)
            except Exception:
                # Only `on_frame_done` can raise here: the frame is counted, the next one must be processed.
                _LOGGER.exception("reporting frame %d failed", arrival.stamp_ns)

    def _handle(self, arrival: Arrival) -> None:
        queue_wait_ms = (perf_counter() - arrival.arrived_s) * 1e3
        stages_ms = {"queue_wait": queue_wait_ms}
        age_ms = arrival.transport_age_ms + queue_wait_ms
        if 0.0 < self.max_age_ms < age_ms:
            reason = f"{age_ms:.0f} ms old, max_age_ms is {self.max_age_ms:g}"
            self._complete(arrival, "dropped_stale", stages_ms, reason)
            return
        try:
            stages_ms |= self._process(arrival)
        except Exception as error:
            # A failed frame must not prevent the processing of the next one.
            self._complete(arrival, "failed", stages_ms, str(error) or type(error).__name__)
            return
        self._complete(arrival, "processed", stages_ms)

    def _complete(
        self, arrival: Arrival, outcome: Outcome, stages_ms: dict[str, float], reason: str = ""
    ) -> None:
        known_age = arrival.transport_age_ms == arrival.transport_age_ms
        if known_age:
            stages_ms = {"transport_age": arrival.transport_age_ms, **stages_ms}
        end_to_end_ms = float("nan")
        if outcome == "processed" and known_age:
            end_to_end_ms = arrival.transport_age_ms + sum(
                stages_ms.get(stage, 0.0) for stage in COMPUTE_STAGES
            )
        with self._lock:
            self._counters.complete(outcome)
            counters = FrameCounters(self._counters.received, dict(self._counters.counts))
        self._on_frame_done(
            FrameTiming(arrival.stamp_ns, outcome, stages_ms, end_to_end_ms, reason), counters
        )
