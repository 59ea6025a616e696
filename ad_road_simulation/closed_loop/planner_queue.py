# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The time a planner takes: a camera at a fixed rate, a slot of one image, one worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.path_tracker import Pose

PERIOD_S = 0.1
"""The camera's: 10 Hz."""
_SOON_S = 1e-6


@dataclass(frozen=True)
class Shot:
    """An image, before anybody looked at it.

    Attributes:
        time_s: when it was taken.
        pose: of base_link then.
        speed_mps: driven then.
        view: what the planner is shown.
    """

    time_s: float
    pose: Pose
    speed_mps: float
    view: Any


@dataclass(frozen=True)
class Planned:
    """A plan and the image it was made from."""

    shot: Shot
    trajectory: Trajectory


@dataclass
class SlotAccount:
    """What became of the images: taken = planned + dropped + failed + those under way at the end."""

    taken: int = 0
    planned: int = 0
    dropped: int = 0
    failed: int = 0


class PlannerSlot:
    """Runs a planner in the simulation's time as a node runs it in the world's.

    While the planner works, the newest image waits in a slot of one and replaces the one that waited
    there, which is dropped. A plan made of the image that the planner began at t is there at t + latency.
    """

    def __init__(self, plan: Callable[[Shot], Trajectory], latency_s: Callable[[], float]) -> None:
        """Begin idle, the first image being due at once.

        Args:
            plan: makes a plan; ResultError where the model's answer means nothing.
            latency_s: seconds that the next plan takes.
        """
        self._plan = plan
        self._latency_s = latency_s
        self._next_shot_s = 0.0
        self._waiting: Shot | None = None
        self._is_busy = False
        self._free_at_s = 0.0
        self._result: Planned | None = None
        self.account = SlotAccount()

    def step(self, now_s: float, take: Callable[[], Shot]) -> Planned | None:
        """Let the time become ``now_s``; return the newest plan that has become ready, if any.

        Args:
            now_s: simulation time.
            take: takes an image now; called when the camera is due.
        """
        ready = self._settle(now_s)
        if now_s >= self._next_shot_s - _SOON_S:
            self._next_shot_s += PERIOD_S
            self.account.taken += 1
            shot = take()
            if self._is_busy:
                self.account.dropped += self._waiting is not None
                self._waiting = shot
            else:
                self._begin(shot, now_s)
            ready = self._settle(now_s) or ready
        return ready

    def _settle(self, now_s: float) -> Planned | None:
        """Finish what is finished by now, and begin with what has been waiting."""
        ready = None
        while self._is_busy and self._free_at_s <= now_s + _SOON_S:
            self._is_busy = False
            ready = self._result or ready
            if self._waiting is not None:
                shot, self._waiting = self._waiting, None
                self._begin(shot, self._free_at_s)
        return ready

    def _begin(self, shot: Shot, at_s: float) -> None:
        self._is_busy = True
        self._free_at_s = at_s + self._latency_s()
        try:
            self._result = Planned(shot, self._plan(shot))
            self.account.planned += 1
        except ResultError:
            self._result = None
            self.account.failed += 1
