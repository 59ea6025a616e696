# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames a shadow model gets, and when; no clock is read: times are arguments, monotonic seconds.

``alternating``: every frame; primary first on every other one, shadow first on the rest. It is the only
schedule in which the primary waits: neither model runs while the other does, so that their times can be
compared.
``every_nth``: one of so many frames, right after the primary's result was published.
``slack``: frames drawn at random, run when the time until the next frame suffices. The draw asks for no time,
so that it favors no easy frames; a drawn frame is held until there is time. See ``metrics.slack_estimate``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, Literal, TypeVar

ItemT = TypeVar("ItemT")
ScheduleName = Literal["off", "alternating", "every_nth", "slack"]

MOST_HELD = 4
"""Drawn frames that wait for time; each keeps its decoded image."""
_REMEMBERED = 64
_FEWEST_KNOWN = 3
_FEWEST_PERIODS = 8
# Of the median of few runs, of which one may have met with a busy computer; of the high one of many.
_FIRST_MARGIN = 0.5
_MARGIN = 0.05
# Without a run for so long one is tried: what it takes may have changed. One of 300 frames at 20 Hz.
_PROBE_AFTER_S = 15.0


@dataclass(frozen=True)
class Due(Generic[ItemT]):
    """A frame to run now.

    Attributes:
        item: the frame.
        weight: frames drawn that it stands for.
    """

    item: ItemT
    weight: float


class Quantile:
    """A high order statistic of the last values: about one of 30 is larger."""

    def __init__(self) -> None:
        """Begin without values."""
        self._values: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, value: float) -> None:
        """Add a value."""
        self._values.append(value)

    def high(self) -> float | None:
        """Return 1.05 times the second largest, below 32 values 1.5 times the median; None with too few."""
        values = sorted(self._values)
        if len(values) < _FEWEST_KNOWN:
            return None
        if len(values) < _REMEMBERED // 2:
            return values[len(values) // 2] * (1.0 + _FIRST_MARGIN)
        return values[-2] * (1.0 + _MARGIN)

    def low_and_middle(self) -> tuple[float, float]:
        """Return a low order statistic, as high() is a high one, and the median; infinity with too few."""
        values = sorted(self._values)
        if len(values) < _FEWEST_PERIODS:
            return math.inf, math.inf
        return values[1], values[len(values) // 2]


class TimeLeft:
    """Predicts whether a shadow's run ends before the primary is needed again."""

    def __init__(self, deadline_s: float) -> None:
        """Let a frame's time end ``deadline_s`` after its arrival, too; 0: with the next arrival alone."""
        self._deadline_s = deadline_s
        self._periods, self.durations = Quantile(), Quantile()
        self._arrived_s, self._last_run_s = -math.inf, -math.inf

    def arrived(self, arrived_s: float) -> None:
        """Note the arrival of a frame that the primary answers."""
        step_s = arrived_s - self._arrived_s
        if step_s == math.inf:  # the first one
            self._last_run_s = max(self._last_run_s, arrived_s)
        if 0.0 < step_s < math.inf:
            self._periods.add(step_s)
        self._arrived_s = arrived_s

    def ran(self, now_s: float, duration_s: float) -> None:
        """Note a run that ended."""
        self._last_run_s = now_s
        self.durations.add(duration_s)

    @property
    def period_s(self) -> float:
        """Median time between two frames; infinity where unknown."""
        return self._periods.low_and_middle()[1]

    def left_s(self, now_s: float) -> float:
        """Return the seconds left; negative in a frame that took too long, and while rates are unknown."""
        low_s, _ = self._periods.low_and_middle()
        end_s = self._arrived_s + low_s if math.isfinite(low_s) else -math.inf
        if self._deadline_s > 0.0:
            end_s = min(end_s, self._arrived_s + self._deadline_s)
        return end_s - now_s

    def suffices(self, now_s: float) -> bool:
        """Whether a run that begins now ends in time; also for a run that finds out what one takes."""
        left_s = self.left_s(now_s)
        needed_s = self.durations.high()
        if needed_s is None or now_s - self._last_run_s > _PROBE_AFTER_S:
            return left_s > 0.0
        return left_s > needed_s


class HeldFrames(Generic[ItemT]):
    """Drawn frames that wait, oldest first, at most ``MOST_HELD``, with their weights."""

    def __init__(self, random: Random) -> None:
        """Begin empty."""
        self._random = random
        self._held: list[Due[ItemT]] = []
        self.merged = 0
        """Frames that gave their weight to a neighbor."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._held)

    def add(self, item: ItemT) -> None:
        """Hold a frame; where there are too many, the two neighbors of least weight become one of them."""
        held = self._held
        held.append(Due(item, 1.0))
        if len(held) <= MOST_HELD:
            return
        sums = [first.weight + second.weight for first, second in zip(held, held[1:], strict=False)]
        place = sums.index(min(sums))
        keeps_first = self._random.random() * sums[place] < held[place].weight
        kept = held[place] if keeps_first else held[place + 1]
        held[place : place + 2] = [Due(kept.item, sums[place])]
        self.merged += 1

    def take(self) -> Due[ItemT]:
        """Take the oldest one."""
        return self._held.pop(0)

    def clear(self) -> int:
        """Drop all; return how many."""
        dropped = len(self._held)
        self._held.clear()
        return dropped


class Draw:
    """Draws one frame of every ``steps``, at a random place among them."""

    def __init__(self, random: Random) -> None:
        """Draw by this generator."""
        self._random = random
        self._place, self._chosen = 0, 0
        self._steps = 0

    def takes(self, steps: int) -> bool:
        """Whether the next frame is drawn; a new ``steps`` holds from the next round on."""
        if self._place >= self._steps:
            self._place, self._steps = 0, max(1, steps)
            self._chosen = self._random.randrange(self._steps)
        self._place += 1
        return self._place - 1 == self._chosen


class ShadowSchedule(Generic[ItemT]):
    """Chooses frames for a shadow, and counts those that it leaves out.

    One thread calls ``shadow_first`` and ``after_primary``, the shadow's thread ``ran``.

    Attributes:
        name: of the schedule.
        not_chosen: frames that were not the shadow's turn.
        busy: frames of its turn that came while it was still at work.
        held: drawn frames that wait for time.
    """

    def __init__(
        self,
        name: ScheduleName,
        *,
        is_nth: Callable[[int], bool] = lambda stamp_ns: True,
        max_rate_hz: float = 2.0,
        deadline_s: float = 0.0,
        seed: int | None = None,
    ) -> None:
        """Prepare.

        Args:
            name: of the schedule.
            is_nth: whether a frame of this stamp is one of every Nth.
            max_rate_hz: of runs by ``slack``.
            deadline_s: see TimeLeft.
            seed: of the draws; None: another one each time.
        """
        random = Random(seed)  # noqa: S311  (a sample, no secret)
        self.name, self._is_nth, self._max_rate_hz = name, is_nth, max_rate_hz
        self.time = TimeLeft(deadline_s)
        self._draw = Draw(random)
        self.held: HeldFrames[ItemT] = HeldFrames(random)
        self.not_chosen = self.busy = 0
        self._next_s = -math.inf
        self._is_first = False

    def shadow_first(self) -> bool:
        """Whether the shadow runs before the primary on the frame that comes now; called once a frame."""
        if self.name != "alternating":
            return False
        self._is_first = not self._is_first
        return not self._is_first

    def after_primary(
        self, item: ItemT, stamp_ns: int, arrived_s: float, now_s: float, *, is_idle: bool
    ) -> Due[ItemT] | None:
        """Return the frame that the shadow runs now, which may be an earlier one.

        Args:
            item: the frame whose result was published.
            stamp_ns: its source stamp.
            arrived_s: when it arrived.
            now_s: the time.
            is_idle: the shadow has nothing in work.
        """
        if self.name == "slack":
            return self._by_slack(item, arrived_s, now_s, is_idle)
        if self.name == "off" or (self.name == "every_nth" and not self._is_nth(stamp_ns)):
            self.not_chosen += 1
            return None
        if not is_idle:
            self.busy += 1
            return None
        return Due(item, 1.0)

    def _by_slack(self, item: ItemT, arrived_s: float, now_s: float, is_idle: bool) -> Due[ItemT] | None:
        self.time.arrived(arrived_s)
        period_s = self.time.period_s
        # Before the rate is known nothing is drawn: a frame would stand for an unknown number of others.
        if math.isfinite(period_s) and self._draw.takes(
            math.ceil(1.0 / (self._max_rate_hz * period_s) - 1e-6)
        ):
            self.held.add(item)
        else:
            self.not_chosen += 1
        if not (len(self.held) and is_idle and now_s >= self._next_s and self.time.suffices(now_s)):
            return None
        # A little less than the interval, as a run begins with a frame and frames come unevenly.
        self._next_s = now_s + 0.98 / self._max_rate_hz
        return self.held.take()
