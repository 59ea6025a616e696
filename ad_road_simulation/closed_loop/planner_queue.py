# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Simulated latency of a planner: a camera at a fixed rate, a queue of one image, one worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.path_tracker import Pose

PERIOD_S = 0.1
"""Of the camera: 10 Hz."""
_SOON_S = 1e-6


@dataclass(frozen=True)
class CameraSample:
    """An image at the time of capture, not yet processed.

    Attributes:
        time_s: time of capture.
        pose: of base_link at that time.
        speed_mps: vehicle speed at that time.
        observation: input of the planner.
    """

    time_s: float
    pose: Pose
    speed_mps: float
    observation: Any


@dataclass(frozen=True)
class Planned:
    """A plan and the image it was computed from."""

    sample: CameraSample
    trajectory: Trajectory


@dataclass
class QueueCounters:
    """Counts of images: taken = planned + dropped + failed + those in progress at the end."""

    taken: int = 0
    planned: int = 0
    dropped: int = 0
    failed: int = 0


class PlannerQueue:
    """Runs a planner in simulated time as a node runs it in real time.

    While the planner is busy, the newest image waits in a queue of one and replaces the image that waited
    there, which is dropped. The plan of an image that is started at t is ready at t + latency.
    """

    def __init__(
        self,
        plan: Callable[[CameraSample], Trajectory],
        latency_s: Callable[[], float],
        further_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Start idle; the first image is due immediately.

        Args:
            plan: computes a plan; raises ResultError where the model's output is invalid.
            latency_s: returns the latency of the next plan in seconds.
            further_s: returns what the last plan took besides, in seconds.
        """
        self._plan = plan
        self._latency_s, self._further_s = latency_s, further_s
        self._next_sample_s = 0.0
        self._waiting: CameraSample | None = None
        self._is_busy = False
        self._free_at_s = 0.0
        self._result: Planned | None = None
        self.counters = QueueCounters()

    def step(self, now_s: float, take: Callable[[], CameraSample]) -> Planned | None:
        """Advance the time to ``now_s``; return the newest plan that has become ready, if any.

        Args:
            now_s: simulation time.
            take: captures an image; called when the camera is due.
        """
        ready = self._complete(now_s)
        if now_s >= self._next_sample_s - _SOON_S:
            self._next_sample_s += PERIOD_S
            self.counters.taken += 1
            sample = take()
            if self._is_busy:
                self.counters.dropped += self._waiting is not None
                self._waiting = sample
            else:
                self._begin(sample, now_s)
            ready = self._complete(now_s) or ready
        return ready

    def _complete(self, now_s: float) -> Planned | None:
        """Return the plan that is finished by now, if any, and start the waiting image."""
        ready = None
        while self._is_busy and self._free_at_s <= now_s + _SOON_S:
            self._is_busy = False
            ready = self._result or ready
            if self._waiting is not None:
                sample, self._waiting = self._waiting, None
                self._begin(sample, self._free_at_s)
        return ready

    def _begin(self, sample: CameraSample, at_s: float) -> None:
        self._is_busy = True
        self._free_at_s = at_s + self._latency_s()
        try:
            self._result = Planned(sample, self._plan(sample))
            self.counters.planned += 1
        except ResultError:
            self._result = None
            self.counters.failed += 1
        self._free_at_s += self._further_s()
