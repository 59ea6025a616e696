# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One worker thread that receives frames itself, a latest-frame slot, and frame counters; no ROS."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock, Thread, current_thread
from time import monotonic, perf_counter, sleep
from types import MappingProxyType
from typing import Any

from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.timing import COMPUTE_STAGES, FrameCounters, FrameTiming, Outcome
from ad_compressed_perception.nodes.frame_slot import (
    FrameSlot,
    FrameSource,
    LatestFrameSlot,
    OfferedFrames,
)

_LOGGER = logging.getLogger(__name__)
_PAUSE_S = 0.02
ABANDONED = "abandoned after "
"""How the reason of a frame begins whose thread was given up: nothing else says what became of it."""
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
        camera: its name in the node; empty where the node has one camera.
    """

    message: Any
    stamp_ns: int
    transport_age_ms: float
    arrived_s: float = field(default_factory=perf_counter)
    camera: str = ""


@dataclass(frozen=True)
class Processed:
    """What processing a frame gives.

    Attributes:
        stages_ms: milliseconds of the stages after queue_wait.
        answered_by: see FrameTiming.
        failure: why the frame has no result of its own; the outcome is then failed.
    """

    stages_ms: dict[str, float]
    answered_by: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""


OnFrameDone = Callable[[FrameTiming, FrameCounters], None]
Process = Callable[[Arrival], Processed]
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
    """Runs ``process`` on the next arrival in a thread of its own and counts every frame exactly once."""

    def __init__(
        self,
        process: Process,
        on_frame_done: OnFrameDone,
        source: FrameSource | None = None,
        slot: FrameSlot[Arrival] | None = None,
    ) -> None:
        """Prepare; start() begins.

        Args:
            process: processes one frame; what it raises makes the frame failed. It asks claim() before it
                publishes a result.
            on_frame_done: called with every frame's outcome and the counters after it, in the worker's
                thread or, for displaced and abandoned frames, in the one that calls offer() or abandon().
            source: offers frames, in the worker's thread while no frame is in work; by default only other
                threads do.
            slot: holds the frames that wait; by default the latest one.
        """
        self._source: FrameSource = OfferedFrames() if source is None else source
        self._process, self._on_frame_done = process, on_frame_done
        self._slot: FrameSlot[Arrival] = LatestFrameSlot() if slot is None else slot
        self._counters: dict[str, FrameCounters] = {}  # by camera
        self._lock = Lock()
        self._in_work: Arrival | None = None
        self._is_claimed = False
        self._since_s = 0.0
        self._finished = 0
        self._thread = self._new_thread()
        self.max_age_ms = 0.0
        self.prefers: Prefers | None = None

    def _new_thread(self, first: Arrival | None = None) -> Thread:
        thread = Thread(name="adcp-worker", daemon=True, target=lambda: self._run(thread, first))
        return thread

    def start(self) -> None:
        """Start processing frames."""
        self._thread.start()

    def offer(self, arrival: Arrival) -> None:
        """Count a frame as received and make it the next one; the one it displaces is dropped_busy.

        With ``prefers`` set, the waiting frame may stay instead, and the new one is dropped_busy.
        """
        with self._lock:
            self._counters.setdefault(arrival.camera, FrameCounters()).received += 1
        displaced = self._slot.put(arrival, self.prefers)
        if displaced is not None:
            reason = "an earlier one ranks higher" if displaced is arrival else "a newer frame came first"
            self._complete(displaced, "dropped_busy", {}, reason)
        if current_thread() is not self._thread:
            self._source.wake()

    def stop(self, limit_s: float = STOP_LIMIT_S) -> bool:
        """Finish the frame being processed, drop the waiting one, end the thread.

        Returns:
            False where the thread did not end within ``limit_s`` seconds and was abandoned.
        """
        while (left := self._slot.close()) is not None:
            self._complete(left, "dropped_busy", {}, "the node was deactivated")
        self._source.wake()
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
            self._complete(arrival, "failed", {}, f"{ABANDONED}{after_s:.1f} s")
        return True

    def resume(self) -> None:
        """Go on in a new thread after abandon()."""
        self._thread = self._new_thread()
        self._thread.start()

    def claim(self, arrival: Arrival) -> bool:
        """Take the right to publish a frame's result, just before that; False: another thread has the frame.

        A frame that was given up must not be published when its model returns at last.
        """
        with self._lock:
            if self._in_work is not arrival:
                return False
            self._is_claimed = True
            return True

    def take_over(self, limit_s: float) -> bool:
        """Give a frame that has been in work for ``limit_s`` seconds and is not claimed to a new thread.

        The thread before is abandoned; what it returns is ignored. The frame stays the same one, and is
        counted once.
        """
        with self._lock:
            arrival = self._in_work
            if arrival is None or self._is_claimed or monotonic() - self._since_s < limit_s:
                return False
            again = replace(arrival)
            self._in_work, self._since_s = again, monotonic()
            self._thread = self._new_thread(again)
            self._thread.start()
        return True

    def extend(self, arrival: Arrival, seconds: float) -> None:
        """Count so many seconds less of the time that a frame has been in work."""
        with self._lock:
            if self._in_work is arrival:
                self._since_s += seconds

    @property
    def in_work_since_s(self) -> float | None:
        """When the frame in work was begun, monotonic seconds; None without one and once it is claimed."""
        with self._lock:
            return None if self._in_work is None or self._is_claimed else self._since_s

    def progress(self) -> Progress:
        """Return the present state for a watchdog."""
        with self._lock:
            has_frame = any(each.pending > 0 for each in self._counters.values())
            return Progress(self._finished, has_frame, self._thread.is_alive())

    def counters(self, camera: str | None = None) -> FrameCounters:
        """Return a copy of the counters of a camera; None: of all together."""
        total = FrameCounters()
        with self._lock:
            for name, each in self._counters.items():
                if camera is None or name == camera:
                    total.received += each.received
                    for outcome, count in each.counts.items():
                        total.counts[outcome] += count
        return total

    def _next(self) -> Arrival | None:
        """Wait for a frame and take the next one; None once the slot is closed."""
        while self._slot.is_open:
            try:
                self._source.receive()
                if (arrival := self._slot.take()) is not None:
                    return arrival
                self._source.wait()
            except Exception:
                # The next frame must be received, and a failure that stays must not occupy the processor.
                _LOGGER.exception("receiving frames failed")
                sleep(_PAUSE_S)
        return None

    def _run(self, me: Thread, first: Arrival | None) -> None:
        if first is not None:
            self._finish(first, is_taken_over=True)
        while self._thread is me and (arrival := self._next()) is not None:
            with self._lock:
                current = self._thread is me
                if current:
                    self._in_work, self._is_claimed, self._since_s = arrival, False, monotonic()
            if not current:
                self._complete(arrival, "dropped_busy", {}, "the node was deactivated")
                break
            self._finish(arrival)

    def _finish(self, arrival: Arrival, *, is_taken_over: bool = False) -> None:
        try:
            self._handle(arrival, is_taken_over)
        except BaseException:
            # Only `on_frame_done` can raise here: the frame is counted, the next one must be processed.
            _LOGGER.exception("reporting frame %d failed", arrival.stamp_ns)

    def _handle(self, arrival: Arrival, is_taken_over: bool) -> None:
        queue_wait_ms = (perf_counter() - arrival.arrived_s) * 1e3
        stages_ms = {"queue_wait": queue_wait_ms}
        age_ms = arrival.transport_age_ms + queue_wait_ms
        outcome: Outcome = "processed"
        reason = ""
        answered_by: Mapping[str, str] = {}
        # A frame that another thread had taken was young enough then; it must not go without an answer.
        if 0.0 < self.max_age_ms < age_ms and not is_taken_over:
            outcome, reason = "dropped_stale", f"{age_ms:.0f} ms old, max_age_ms is {self.max_age_ms:g}"
        else:
            try:
                processed = self._process(arrival)
                stages_ms, answered_by = stages_ms | processed.stages_ms, processed.answered_by
                if processed.failure:
                    outcome, reason = "failed", processed.failure
            except BaseException as error:
                # Whatever a runtime raises, SystemExit too: the next frame must be processed.
                outcome, reason = "failed", describe_error(error)
        with self._lock:
            if self._in_work is not arrival:  # abandoned, and counted as failed
                return
            self._in_work = None
            self._finished += 1
        self._complete(arrival, outcome, stages_ms, reason, answered_by)

    def _complete(
        self,
        arrival: Arrival,
        outcome: Outcome,
        stages_ms: dict[str, float],
        reason: str = "",
        answered_by: Mapping[str, str] = MappingProxyType({}),
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
            of_camera = self._counters[arrival.camera]
            of_camera.complete(outcome)
            counters = of_camera.copy()
        timing = FrameTiming(
            arrival.stamp_ns, outcome, stages_ms, end_to_end_ms, reason, answered_by, arrival.camera
        )
        self._on_frame_done(timing, counters)
