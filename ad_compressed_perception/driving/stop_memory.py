# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What one picture cannot tell: that the car has stood at the stop sign and may go on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class StopRules:
    """When a stop is held and when it is over.

    Attributes:
        standing_mps: slower than this is standing.
        stand_s: how long one stands at a stop sign.
        hold_within_m: the brake is held while what one stops for is nearer than this; farther away the
            plan may close up.
        roll_mps: slower than this there the car is brought to stand: a network's speed of nearly nothing
            would let it roll over the line.
        release_m, release_s: a release lasts for so much way, and no longer than so much time.
        release_clear_m: how far the road is taken to be clear while released; the speed follows by the
            rules of speed_profile.py.
        idle_s: standing this long without being asked to stop is taken for an error of the plan.
    """

    standing_mps: float = 0.3
    stand_s: float = 1.0
    hold_within_m: float = 3.0
    roll_mps: float = 0.8
    release_m: float = 7.0
    release_s: float = 10.0
    release_clear_m: float = 6.0
    idle_s: float = 20.0


class StopDecision(Enum):
    """What to do with the plan's speed."""

    FOLLOW = "follow"
    HOLD = "hold"
    RELEASE = "release"


class StopMemory:
    """Counts how long the car has been standing, and lets it go on where that is allowed.

    A stop sign (stop and yield probability above one half) is released after one has stood. A red light or
    an obstacle (yield probability at most one half) is never released, and ends a release that is under
    way: somebody steps on the road while the car moves off.
    """

    def __init__(self, rules: StopRules | None = None) -> None:
        """Begin on the move, with nothing released."""
        self.rules = rules or StopRules()
        self._stood_s = 0.0
        self._idle_s = 0.0
        self._release_m = 0.0
        self._release_s = 0.0

    def step(
        self,
        dt_s: float,
        speed_mps: float,
        *,
        stop_probability: float,
        yield_probability: float,
        clear_distance_m: float,
    ) -> StopDecision:
        """Return what to do for the next dt_s.

        Args:
            dt_s: time since the last step.
            speed_mps: speed driven.
            stop_probability: of the newest plan; NaN (a planner of steering alone) is always followed.
            yield_probability: of the newest plan.
            clear_distance_m: of the newest plan.
        """
        if math.isnan(stop_probability):
            return StopDecision.FOLLOW
        must_stop = stop_probability > 0.5
        may_go_on = must_stop and yield_probability > 0.5
        is_near = clear_distance_m < self.rules.release_clear_m
        if self._release_m > 0.0 and self._release_s > 0.0:
            if not (must_stop and is_near and not may_go_on):
                self._release_m -= speed_mps * dt_s
                self._release_s -= dt_s
                return StopDecision.RELEASE
            self._release_m = 0.0
        is_held = (
            must_stop and clear_distance_m < self.rules.hold_within_m and speed_mps < self.rules.roll_mps
        )
        held = StopDecision.HOLD if is_held else StopDecision.FOLLOW
        if speed_mps >= self.rules.standing_mps:
            self._stood_s = self._idle_s = 0.0
            return held
        self._stood_s = self._stood_s + dt_s if may_go_on else 0.0
        self._idle_s = 0.0 if must_stop else self._idle_s + dt_s
        if self._stood_s >= self.rules.stand_s or self._idle_s >= self.rules.idle_s:
            self._stood_s = self._idle_s = 0.0
            self._release_m, self._release_s = self.rules.release_m, self.rules.release_s
            return StopDecision.RELEASE
        return held
