# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Alarms with hysteresis. No clock is read: time is an argument, monotonic seconds that never decrease.

A level must hold for ``raise_after_s`` before an alarm rises to it. It falls when its figure has been better
than the tighter limits (``Check.hold``) for ``clear_after_s``. A figure without data keeps its alarm for as
long as that, and then ends it as unknown, for which the alarm about missing results stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ad_compressed_perception.monitor.checks import Check
from ad_compressed_perception.monitor.frame_health import Level

Key = tuple[str, str, str]
"""Task, variant and figure."""

_ANNOUNCE_S = 10.0


@dataclass
class ActiveAlarm:
    """State of one figure's alarm.

    Attributes:
        key: task, variant, figure.
        level: it has; OK where there is none.
        since_s: when it left OK, monotonic seconds.
        check: the last check of the figure; that which raised it where there is no data since.
        has_data: whether the figure could be checked at the last update.
    """

    key: Key
    level: Level = Level.OK
    since_s: float = 0.0
    check: Check | None = None
    has_data: bool = False
    # The level that is waited for, and since when.
    _pending: Level = field(default=Level.OK, repr=False)
    _pending_s: float = field(default=0.0, repr=False)
    _announced: Level = field(default=Level.OK, repr=False)
    _announced_s: float = field(default=-1e9, repr=False)

    def update(self, check: Check | None, now_s: float, raise_after_s: float, clear_after_s: float) -> None:
        """Take the figure's check; None where there is no data."""
        self.has_data = check is not None
        self.check = check or self.check
        next_level = self._next_level(check)
        if next_level == self.level:
            self._pending = next_level
            return
        # A change in the same direction goes on waiting; the least of it is what held all the time.
        rises, rose = next_level > self.level, self._pending > self.level
        if self._pending == self.level or rises != rose:
            self._pending, self._pending_s = next_level, now_s
        else:
            self._pending = min(self._pending, next_level) if rises else max(self._pending, next_level)
        if now_s - self._pending_s >= (raise_after_s if rises else clear_after_s):
            if self.level is Level.OK:
                self.since_s = self._pending_s
            self.level = self._pending

    def _next_level(self, check: Check | None) -> Level:
        if check is None:
            return Level.OK
        return max(check.level, min(check.hold, self.level))

    def news(self, now_s: float) -> bool:
        """Whether a log line is due: the level is another one than in the last line, at most one in 10 s."""
        if self.level == self._announced or now_s - self._announced_s < _ANNOUNCE_S:
            return False
        if self.level is Level.OK and self.has_data and self.check and self.check.level > Level.OK:
            return False  # beyond its limit again: the line would say that it ended and name a bad figure
        self._announced, self._announced_s = self.level, now_s
        return True


class Alarms:
    """The alarms of all figures."""

    def __init__(self, raise_after_s: float = 2.0, clear_after_s: float = 5.0) -> None:
        """Raise an alarm after ``raise_after_s`` seconds beyond a limit; end it after ``clear_after_s``."""
        self._raise_after_s, self._clear_after_s = raise_after_s, clear_after_s
        self._states: dict[Key, ActiveAlarm] = {}

    def update(self, checks: Iterable[tuple[str, str, Check]], now_s: float) -> None:
        """Take all checks of a moment, each with task and variant; a figure not among them has no data."""
        found = {(task, variant, check.figure): check for task, variant, check in checks}
        for key in found:
            self._states.setdefault(key, ActiveAlarm(key))
        for key, state in self._states.items():
            state.update(found.get(key), now_s, self._raise_after_s, self._clear_after_s)

    @property
    def active(self) -> list[ActiveAlarm]:
        """Alarms at WARN or ERROR, the worst and oldest first."""
        raised = [state for state in self._states.values() if state.level > Level.OK]
        return sorted(raised, key=lambda state: (-state.level, state.since_s, state.key))

    def news(self, now_s: float) -> list[ActiveAlarm]:
        """Return the alarms that began, changed or ended, each at most once in 10 s; for the log."""
        return [state for state in self._states.values() if state.news(now_s)]
