# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One worker thread behind a latest-frame slot, and frame counters; no ROS."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock, Thread
from time import monotonic, perf_counter
from typing import Any

from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.timing import COMPUTE_STAGES, FrameCounters, FrameTiming, Outcome
from ad_compressed_perception.nodes.frame_slot import LatestFrameSlot

_LOGGER = logging.getLogger(__name__)
STOP_LIMIT_S = 2.0
"""How long stop() waits for the frame being processed."""


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
Prefers = Callable[[Arrival, Arrival], bool]
"""Whether the waiting frame is to be kept rather than the one that arrives."""


@dataclass(frozen=True)
class Progress:
    """What a watchdog needs to know of a worker.

    Attributes:
        finished: frames that the worker's thread ended with any outcome; frames displaced in the slot and
            abandoned ones are not among them.
        has_frame: a frame is being processed or waits.
        is_alive: there is a thread, and it runs.
    """

    finished: int
    has_frame: bool
    is_alive: bool


class FrameWorker:
    """Runs ``process`` on the latest arrival in a thread of its own and counts every frame exactly once."""

    def __init__(
        self, process: Process, on_frame_done: OnFrameDone, release: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare; start() begins.

        Args:
            process: processes one frame and returns the milliseconds of its stages after queue_wait; what
                it raises makes the frame failed.
            on_frame_done: called with every frame's outcome and the counters after it, in the worker's
                thread or, for displaced and abandoned frames, in the one that calls offer() or abandon().
            release: called by an abandoned thread at its end, since nobody else knows when what
                ``process`` uses is free.
        """
        self._on_frame_done = on_frame_done
        self._slot: LatestFrameSlot[Arrival] = LatestFrameSlot()
        self._counters = FrameCounters()
        self._lock = Lock()
        self._in_work: Arrival | None = None
        self._since_s = 0.0
        self._finished = 0
        self._thread = self._new_thread(process, release)
        self.max_age_ms = 0.0
        self.prefers: Prefers | None = None

    def _new_thread(self, process: Process, release: Callable[[], None]) -> Thread:
        thread = Thread(name="adcp-worker", daemon=True, target=lambda: self._run(thread, process, release))
        return thread

    def start(self) -> None:
        """Start processing frames."""
        self._thread.start()

    def offer(self, arrival: Arrival) -> None:
        """Count a frame as received and make it the next one; the one it displaces is dropped_busy.

        With ``prefers`` set, the waiting frame may stay instead, and the new one is dropped_busy.
        """
        with self._lock:
            self._counters.received += 1
        displaced = self._slot.put(arrival, self.prefers)
        if displaced is not None:
            reason = "an earlier one ranks higher" if displaced is arrival else "a newer frame came first"
            self._complete(displaced, "dropped_busy", {}, reason)

    def stop(self, limit_s: float = STOP_LIMIT_S) -> bool:
        """Finish the frame being processed, drop the waiting one, end the thread.

        Returns:
            False where the thread did not end within ``limit_s`` seconds and was abandoned.
        """
        left = self._slot.close()
        if left is not None:
            self._complete(left, "dropped_busy", {}, "the node was deactivated")
        if self._thread.is_alive():
            self._thread.join(limit_s)
        return not (self._thread.is_alive() and self.abandon())

    def abandon(self) -> bool:
        """Give up the thread where it still runs; its frame counts as failed, what it returns is ignored.

        Frames that arrive meanwhile wait as before, until resume() or stop().

        Returns:
            Whether it was given up; False where it finished its frame meanwhile.
        """
        with self._lock:
            thread, arrival = self._thread, self._in_work
            if thread.is_alive() and arrival is None and self._slot.is_open:
                return False
            self._thread, self._in_work = Thread(), None
            after_s = monotonic() - self._since_s
        if arrival is not None:
            self._complete(arrival, "failed", {}, f"abandoned after {after_s:.1f} s")
        return True

    def resume(self, process: Process, release: Callable[[], None]) -> None:
        """Go on in a new thread after abandon()."""
        self._thread = self._new_thread(process, release)
        self._thread.start()

    def progress(self) -> Progress:
        """Return the present state for a watchdog."""
        with self._lock:
            return Progress(self._finished, self._counters.pending > 0, self._thread.is_alive())

    def counters(self) -> FrameCounters:
        """Return a copy of the counters."""
        with self._lock:
            return FrameCounters(self._counters.received, dict(self._counters.counts))

    def _run(self, me: Thread, process: Process, release: Callable[[], None]) -> None:
        while self._thread is me and (arrival := self._slot.take()) is not None:
            with self._lock:
                current = self._thread is me
                if current:
                    self._in_work, self._since_s = arrival, monotonic()
            if not current:
                self._complete(arrival, "dropped_busy", {}, "the node was deactivated")
                break
            try:
                self._handle(arrival, process)
            except BaseException:
                # Only `on_frame_done` can raise here: the frame is counted, the next one must be processed.
                _LOGGER.exception("reporting frame %d failed", arrival.stamp_ns)
        if self._thread is not me:
            release()

    def _handle(self, arrival: Arrival, process: Process) -> None:
        queue_wait_ms = (perf_counter() - arrival.arrived_s) * 1e3
        stages_ms = {"queue_wait": queue_wait_ms}
        age_ms = arrival.transport_age_ms + queue_wait_ms
        outcome: Outcome = "processed"
        reason = ""
        if 0.0 < self.max_age_ms < age_ms:
            outcome, reason = "dropped_stale", f"{age_ms:.0f} ms old, max_age_ms is {self.max_age_ms:g}"
        else:
            try:
                stages_ms |= process(arrival)
            except BaseException as error:
                # Whatever a runtime raises, SystemExit too: the next frame must be processed.
                outcome, reason = "failed", describe_error(error)
        with self._lock:
            if self._in_work is not arrival:  # abandoned, and counted as failed
                return
            self._in_work = None
            self._finished += 1
        self._complete(arrival, outcome, stages_ms, reason)

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
