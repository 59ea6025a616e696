# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drift of a stream of frames, in a thread of its own: no frame waits for its statistics."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.drift.frame_statistics import CHANGE, FrameStatistics, StatisticsReader
from ad_compressed_perception.drift.monitor import Alarm, DriftMonitor
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.drift.windows import Steps
from ad_compressed_perception.image.decode import Frame

_WAITING = 2
"""Frames that wait at most; they hold their pixels."""
_STOP_LIMIT_S = 2.0
_STEP = 1.5
"""By which factor the step between two frames may differ from the reference's."""
_OF_CHANGE = (CHANGE, "motion", "unmatched", "changed_labels", "curvature_change", "changed_top")
"""How the names of figures begin that compare a frame or result with the one before."""


@dataclass(frozen=True)
class DriftState:
    """What is known at a moment.

    Attributes:
        alarms: those that are raised.
        measured: frames compared since the reference came into use.
        skipped: frames left out, because the two before them were still waiting.
        looks: how often a window was compared; none where stamps stand still or frames come too seldom.
    """

    alarms: tuple[Alarm, ...] = ()
    measured: int = 0
    skipped: int = 0
    looks: int = 0


class DriftWatch:
    """Takes frames after their results are published, and compares them with a reference."""

    def __init__(self, on_error: Callable[[Exception], object]) -> None:
        """Prepare; use() begins.

        Args:
            on_error: called with what the statistics of a frame raise, in the thread; the frame is left out.
        """
        self._on_error = on_error
        self._condition = Condition()
        self._waiting: deque[tuple[Frame, Result | None, float]] = deque(maxlen=_WAITING)
        self._reader: StatisticsReader | None = None
        self._monitor: DriftMonitor | None = None
        self._thread: Thread | None = None
        self._state = DriftState()
        self._steps = Steps()
        self._period_s, self._last_s = 0.0, 0.0
        self._changes: tuple[tuple[str, ...], NDArray[np.bool_]] = ((), np.zeros(0, bool))

    @property
    def state(self) -> DriftState:
        """The present state; any thread may ask."""
        return self._state

    def use(self, reference: DriftReference, window_s: float, false_alarms_per_hour: float) -> None:
        """Compare the frames from now on with this reference, in new windows.

        Args:
            reference: of the model that answers.
            window_s: length of the windows, one of the reference's; 0: all of them.
            false_alarms_per_hour: see DriftMonitor.
        """
        monitor = DriftMonitor(reference, window_s, false_alarms_per_hour)
        with self._condition:
            self._waiting.clear()
            self._reader, self._monitor = StatisticsReader(tuple(reference.labels)), monitor
            self._period_s, self._steps = reference.period_s, Steps(reference.period_s)
            self._state = DriftState()
            if self._thread is None:
                thread = Thread(target=lambda: self._run(thread), name="adcp-drift", daemon=True)
                self._thread = thread
                thread.start()

    def stop(self) -> None:
        """End the thread and forget the reference and its alarms."""
        with self._condition:
            thread, self._thread, self._monitor = self._thread, None, None
            self._waiting.clear()
            self._state = DriftState()
            self._condition.notify_all()
        if thread is not None:
            thread.join(_STOP_LIMIT_S)

    def offer(self, frame: Frame, result: Result | None, stamp_s: float) -> None:
        """Hand over a frame; returns at once. ``result``: None where it is not of the reference's model.

        Where frames come faster than those of the reference, only so many are measured.
        """
        with self._condition:
            if self._monitor is None or not self._steps.take(stamp_s):
                return
            if len(self._waiting) == _WAITING:
                state = self._state
                self._state = replace(state, skipped=state.skipped + 1)
            self._waiting.append((frame, result, stamp_s))
            self._condition.notify()

    def _run(self, me: Thread) -> None:
        while True:
            with self._condition:
                while self._thread is me and not self._waiting:
                    self._condition.wait()
                if self._thread is not me:
                    return
                frame, result, stamp_s = self._waiting.popleft()
                reader, monitor = self._reader, self._monitor
            if reader is None or monitor is None:
                continue
            try:
                alarms = tuple(monitor.add(self._measure(reader, frame, result, stamp_s), stamp_s))
            except Exception as error:
                self._on_error(error)
                continue
            del frame, result
            with self._condition:
                if monitor is self._monitor:  # no other reference came into use meanwhile
                    state = self._state
                    self._state = DriftState(alarms, state.measured + 1, state.skipped, monitor.looks)

    def _measure(
        self, reader: StatisticsReader, frame: Frame, result: Result | None, stamp_s: float
    ) -> FrameStatistics:
        """Return a frame's statistics, without those of its change where the step to it is another one.

        The farther two frames lie apart, the more changes between them: a node that answers every third frame
        of the camera would look as if its results were unsteady.
        """
        found = reader.compute(frame, result)
        step_s, self._last_s = stamp_s - self._last_s, stamp_s
        if self._period_s / _STEP <= step_s <= self._period_s * _STEP:
            return found
        if self._changes[0] is not found.names:
            self._changes = found.names, np.array([name.startswith(_OF_CHANGE) for name in found.names])
        return replace(found, values=np.where(self._changes[1], np.float32(np.nan), found.values))
