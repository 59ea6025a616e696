# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What one image cannot tell: where the sign was that is out of sight, and that the car has stood there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class StopRules:
    """When a stop is remembered, when it is held and when it is over.

    Attributes:
        standing_mps: slower than this is standing.
        stand_s: how long one stands at a stop sign.
        stand_within_m: farther from its line one stands in the queue before it, and will stand again.
        hold_within_m: the brake is held while what one stops for is nearer than this; farther away the
            plan may close up.
        roll_mps: slower than this there the car is brought to stand: a network's speed of nearly nothing
            would let it roll over the line.
        close_m: nearer than this the way is barred even where the plan sees no need to stop: a car in a queue
            is as often seen standing as moving.
        recede_mps: what one has to stop for, and must not pass, goes away no faster than this, whatever plans
            say: a network that overrates the last meters would creep into a standing car.
        blind_m: nearer than this a stop sign may be out of the image, and the stop that was seen for
            seen_s before is kept by odometry.
        seen_s: how long a stop sign has to be seen to be remembered.
        release_m, release_s: a release lasts for so much way, and no longer than so much time.
        release_clear_m: how far the road is taken to be clear while released; the speed follows by the
            rules of speed_profile.py.
        idle_s: standing this long without being asked to stop is taken for an error of the plan: longer than
            a light is red for those ahead.
    """

    standing_mps: float = 0.3
    stand_s: float = 1.0
    stand_within_m: float = 5.0
    hold_within_m: float = 3.0
    roll_mps: float = 1.5
    close_m: float = 4.0
    recede_mps: float = 1.0
    blind_m: float = 8.0
    seen_s: float = 0.3
    release_m: float = 7.0
    release_s: float = 10.0
    release_clear_m: float = 6.0
    idle_s: float = 40.0


class StopAction(Enum):
    """What to do with the plan's speed."""

    FOLLOW = "follow"
    APPROACH = "approach"
    HOLD = "hold"
    RELEASE = "release"


@dataclass(frozen=True)
class StopView:
    """What the newest plan says of stopping.

    Attributes:
        stop_probability: that there is something ahead to stop for; NaN: the planner gives none.
        proceed_after_stop_probability: that one may go on after having stood.
        clear_distance_m: from the bumper now, the way since the image taken off.
    """

    stop_probability: float
    proceed_after_stop_probability: float
    clear_distance_m: float

    @property
    def must_stop(self) -> bool:
        """There is something to stop for."""
        return self.stop_probability > 0.5

    @property
    def may_go_on(self) -> bool:
        """What there is to stop for is a stop sign: one may go on after having stood."""
        return self.must_stop and self.proceed_after_stop_probability > 0.5


class StopStateMachine:
    """Counts how long the car has been standing, and lets it go on where that is allowed.

    A stop sign (stop and yield probability above one half) is released after one has stood. A red light or
    an obstacle (yield probability at most one half) is never released, and ends a release that is under
    way: somebody steps on the road while the car moves off.
    """

    def __init__(self, rules: StopRules | None = None) -> None:
        """Begin on the move, with nothing remembered and nothing released."""
        self.rules = rules or StopRules()
        self.clear_distance_m = math.inf
        """As the plan says, or as remembered where that is less; of the last step."""
        self._sign = _Sign(self.rules)
        self._barrier = _Barrier(self.rules)
        self._release = _Release(self.rules)
        self._stood_s = 0.0
        self._idle_s = 0.0
        self._overrules = False

    def step(self, dt_s: float, speed_mps: float, view: StopView) -> StopAction:
        """Return what to do for the next dt_s.

        Args:
            dt_s: time since the last step.
            speed_mps: driven since then.
            view: of the newest plan; one without a stop probability is always followed.
        """
        self.clear_distance_m = view.clear_distance_m
        if math.isnan(view.stop_probability):
            return StopAction.FOLLOW
        is_barred = not view.may_go_on and (view.must_stop or view.clear_distance_m < self.rules.close_m)
        is_near = view.clear_distance_m < self.rules.release_clear_m
        ends = is_barred and is_near and (view.must_stop or not self._overrules)
        if self._release.goes_on(dt_s, speed_mps, ends):
            return StopAction.RELEASE
        sign_m = self._sign.note(dt_s, speed_mps, view)
        barrier_m = self._barrier.note(dt_s, speed_mps, view.clear_distance_m, is_barred)
        is_blind = sign_m < self.rules.blind_m
        self.clear_distance_m = min(view.clear_distance_m, barrier_m, sign_m if is_blind else math.inf)
        follow = StopAction.FOLLOW
        if is_blind or barrier_m < view.clear_distance_m:
            follow = StopAction.APPROACH
        must_stop = view.must_stop or is_blind
        is_close = (must_stop or is_barred) and self.clear_distance_m < self.rules.hold_within_m
        held = StopAction.HOLD if is_close and speed_mps < self.rules.roll_mps else follow
        if speed_mps >= self.rules.standing_mps:
            self._stood_s = self._idle_s = 0.0
            return held
        # A sign in sight is where it is seen; the memory may hold the car before it for the line.
        line_m = view.clear_distance_m if view.may_go_on else self.clear_distance_m
        at_sign = view.may_go_on or (is_blind and not is_barred)
        stands_at_it = at_sign and line_m < self.rules.stand_within_m
        self._stood_s = self._stood_s + dt_s if stands_at_it else 0.0
        self._idle_s = 0.0 if must_stop else self._idle_s + dt_s
        self._overrules = self._idle_s >= self.rules.idle_s
        if self._stood_s >= self.rules.stand_s or self._overrules:
            self._stood_s = self._idle_s = 0.0
            self._sign, self._barrier = _Sign(self.rules), _Barrier(self.rules)
            self._release.begin()
            return StopAction.RELEASE
        return held


class _Sign:
    """Where a stop sign's stop is: carried along by odometry when the sign is out of the image."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._distance_m = math.inf
        self._seen_s = 0.0

    def note(self, dt_s: float, speed_mps: float, view: StopView) -> float:
        """Return the distance of the stop, inf where none is remembered."""
        rules = self._rules
        self._distance_m -= speed_mps * dt_s
        if view.may_go_on:
            self._seen_s += dt_s
            if self._seen_s >= rules.seen_s:
                # In the blind range plans give the distance badly, or that of something behind the stop: not
                # so to who has stood and looked, in a queue that was taken for the stop.
                has_looked = speed_mps < rules.standing_mps and self._seen_s >= rules.stand_s
                is_blind = self._distance_m < rules.blind_m and not has_looked
                seen = view.clear_distance_m
                self._distance_m = min(self._distance_m, seen) if is_blind else seen
        else:
            self._seen_s = 0.0
            if not view.must_stop and self._distance_m > rules.blind_m:
                self._distance_m = math.inf
        if self._distance_m < -rules.hold_within_m:
            self._distance_m = math.inf
        return self._distance_m


class _Barrier:
    """What must not be passed: it recedes no faster than it could, whatever the newest plan says."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._distance_m = math.inf

    def note(self, dt_s: float, speed_mps: float, clear_distance_m: float, is_barred: bool) -> float:
        """Return its distance, inf where the way is not barred."""
        self._distance_m += (self._rules.recede_mps - speed_mps) * dt_s
        self._distance_m = min(self._distance_m, clear_distance_m) if is_barred else math.inf
        return self._distance_m


class _Release:
    """Leave to go on for a while: so much way and so much time."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._left_m = 0.0
        self._left_s = 0.0

    def begin(self) -> None:
        """Give leave."""
        self._left_m, self._left_s = self._rules.release_m, self._rules.release_s

    def goes_on(self, dt_s: float, speed_mps: float, ends: bool) -> bool:
        """Return whether there is leave for the next step; where it ends, none is left."""
        if self._left_m <= 0.0 or self._left_s <= 0.0:
            return False
        if ends:
            self._left_m = 0.0
            return False
        self._left_m -= speed_mps * dt_s
        self._left_s -= dt_s
        return True
