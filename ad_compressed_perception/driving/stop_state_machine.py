# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""State of a stop that a single image does not show: a sign out of view, and how long the car has stood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class StopRules:
    """Parameters of the stop state machine: when a stop is kept, held and released.

    Attributes:
        standing_mps: below this speed the car counts as standing.
        stand_s: required standing time at a stop sign.
        stand_within_m: standing counts only this near to the stop line; farther away the car stands in the
            queue before it, and has to stop again.
        hold_within_m: the brake is held while the obstacle or line is nearer than this; farther away the
            plan may close the gap.
        roll_mps: within hold_within_m a car slower than this is stopped: a planned speed of nearly zero
            would let it roll over the line.
        close_m: an obstacle nearer than this blocks the way even where the plan detects no need to stop: a
            car in a queue is predicted as standing only about half of the time.
        recede_mps: upper limit of the speed at which a blocking obstacle moves away, whatever the plans
            predict: a network that overestimates the last meters would creep into a standing car.
        sign_out_of_view_m: nearer than this a stop sign may be out of the image; a stop detected for
            seen_s before that is propagated by odometry.
        seen_s: how long a stop sign has to be detected to be kept.
        release_m, release_s: distance and time after which a release ends, whichever comes first.
        release_clear_m: clear distance assumed during a release; the speed follows from it by
            speed_profile.py.
        idle_s: standing this long without a predicted stop is taken as an error of the plan; longer than a
            red phase for the cars ahead.
    """

    standing_mps: float = 0.3
    stand_s: float = 1.0
    stand_within_m: float = 5.0
    hold_within_m: float = 3.0
    roll_mps: float = 1.5
    close_m: float = 4.0
    recede_mps: float = 1.0
    sign_out_of_view_m: float = 8.0
    seen_s: float = 0.3
    release_m: float = 7.0
    release_s: float = 10.0
    release_clear_m: float = 6.0
    idle_s: float = 40.0


class StopAction(Enum):
    """How the speed of the plan is used."""

    FOLLOW = "follow"
    APPROACH = "approach"
    HOLD = "hold"
    RELEASE = "release"


@dataclass(frozen=True)
class StopObservation:
    """The newest plan's prediction of a stop.

    Attributes:
        stop_probability: that the car has to stop for something ahead; NaN: not predicted.
        proceed_after_stop_probability: that it may proceed after having stopped.
        clear_distance_m: from the bumper, the distance driven since the image subtracted.
    """

    stop_probability: float
    proceed_after_stop_probability: float
    clear_distance_m: float

    @property
    def must_stop(self) -> bool:
        """Whether a stop is predicted."""
        return self.stop_probability > 0.5

    @property
    def may_proceed(self) -> bool:
        """Whether the predicted stop is a stop sign: the car may proceed after having stopped."""
        return self.must_stop and self.proceed_after_stop_probability > 0.5


class StopStateMachine:
    """Measures how long the car has been standing, and releases it where it may proceed.

    A stop sign (stop and proceed probability above one half) is released after the required standing time.
    A red light or an obstacle (proceed probability at most one half) is never released, and ends an active
    release, as when a pedestrian steps on the road while the car pulls away.
    """

    def __init__(self, rules: StopRules | None = None) -> None:
        """Start moving, with no stop kept and no release active."""
        self.rules = rules or StopRules()
        self.clear_distance_m = math.inf
        """Of the last step: the plan's value, or the one propagated by odometry where that is less."""
        self._stop_sign = _StopSign(self.rules)
        self._hold_zone = _HoldZone(self.rules)
        self._release = _Release(self.rules)
        self._stood_s = 0.0
        self._idle_s = 0.0
        self._is_overridden = False

    def step(self, dt_s: float, speed_mps: float, observation: StopObservation) -> StopAction:
        """Return the action for the next dt_s.

        Args:
            dt_s: time since the last step.
            speed_mps: vehicle speed since then.
            observation: from the newest plan; one without a stop probability is always followed.
        """
        self.clear_distance_m = observation.clear_distance_m
        if math.isnan(observation.stop_probability):
            return StopAction.FOLLOW
        is_blocked = not observation.may_proceed and (
            observation.must_stop or observation.clear_distance_m < self.rules.close_m
        )
        is_near = observation.clear_distance_m < self.rules.release_clear_m
        ends = is_blocked and is_near and (observation.must_stop or not self._is_overridden)
        if self._release.advance(dt_s, speed_mps, ends):
            return StopAction.RELEASE
        sign_m = self._stop_sign.update(dt_s, speed_mps, observation)
        hold_zone_m = self._hold_zone.update(dt_s, speed_mps, observation.clear_distance_m, is_blocked)
        is_out_of_view = sign_m < self.rules.sign_out_of_view_m
        self.clear_distance_m = min(
            observation.clear_distance_m, hold_zone_m, sign_m if is_out_of_view else math.inf
        )
        follow = StopAction.FOLLOW
        if is_out_of_view or hold_zone_m < observation.clear_distance_m:
            follow = StopAction.APPROACH
        must_stop = observation.must_stop or is_out_of_view
        is_close = (must_stop or is_blocked) and self.clear_distance_m < self.rules.hold_within_m
        held = StopAction.HOLD if is_close and speed_mps < self.rules.roll_mps else follow
        if speed_mps >= self.rules.standing_mps:
            self._stood_s = self._idle_s = 0.0
            return held
        # A sign in view is where it is detected; the propagated distance may hold the car before it.
        line_m = observation.clear_distance_m if observation.may_proceed else self.clear_distance_m
        at_sign = observation.may_proceed or (is_out_of_view and not is_blocked)
        stands_at_it = at_sign and line_m < self.rules.stand_within_m
        self._stood_s = self._stood_s + dt_s if stands_at_it else 0.0
        self._idle_s = 0.0 if must_stop else self._idle_s + dt_s
        self._is_overridden = self._idle_s >= self.rules.idle_s
        if self._stood_s >= self.rules.stand_s or self._is_overridden:
            self._stood_s = self._idle_s = 0.0
            self._stop_sign, self._hold_zone = _StopSign(self.rules), _HoldZone(self.rules)
            self._release.start()
            return StopAction.RELEASE
        return held


class _StopSign:
    """Distance of a stop sign's line, propagated by odometry while the sign is out of the image."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._distance_m = math.inf
        self._seen_s = 0.0

    def update(self, dt_s: float, speed_mps: float, observation: StopObservation) -> float:
        """Return the distance of the line, inf where no stop is kept."""
        rules = self._rules
        self._distance_m -= speed_mps * dt_s
        if observation.may_proceed:
            self._seen_s += dt_s
            if self._seen_s >= rules.seen_s:
                # Where the sign is out of view the predicted distance is unreliable, or that of something
                # behind the line. It is used again once the car has stood in view of the sign: in a queue.
                has_stood = speed_mps < rules.standing_mps and self._seen_s >= rules.stand_s
                is_out_of_view = self._distance_m < rules.sign_out_of_view_m and not has_stood
                seen = observation.clear_distance_m
                self._distance_m = min(self._distance_m, seen) if is_out_of_view else seen
        else:
            self._seen_s = 0.0
            if not observation.must_stop and self._distance_m > rules.sign_out_of_view_m:
                self._distance_m = math.inf
        if self._distance_m < -rules.hold_within_m:
            self._distance_m = math.inf
        return self._distance_m


class _HoldZone:
    """Distance of a blocking obstacle; recedes at recede_mps at most, whatever the plan predicts."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._distance_m = math.inf

    def update(self, dt_s: float, speed_mps: float, clear_distance_m: float, is_blocked: bool) -> float:
        """Return its distance, inf where the way is not blocked."""
        self._distance_m += (self._rules.recede_mps - speed_mps) * dt_s
        self._distance_m = min(self._distance_m, clear_distance_m) if is_blocked else math.inf
        return self._distance_m


class _Release:
    """Permission to proceed, limited in distance and time."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._remaining_m = 0.0
        self._remaining_s = 0.0

    def start(self) -> None:
        """Start a release."""
        self._remaining_m, self._remaining_s = self._rules.release_m, self._rules.release_s

    def advance(self, dt_s: float, speed_mps: float, ends: bool) -> bool:
        """Return whether the release is active in the next step; ``ends`` terminates it."""
        if self._remaining_m <= 0.0 or self._remaining_s <= 0.0:
            return False
        if ends:
            self._remaining_m = 0.0
            return False
        self._remaining_m -= speed_mps * dt_s
        self._remaining_s -= dt_s
        return True
