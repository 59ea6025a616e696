# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which model is trusted with the frames: primary, standby, hold, stop. Time is an argument (monotonic s).

Answering a frame by another model needs no change of level, so that no frame waits for one; the level says
who answers as a rule, and changes at most once in a hysteresis time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

FaultKind = Literal[
    "exception",
    "invalid_output",
    "timeout",
    "implausible",
    "constant",
    "missing",
    "deadline",
    "agreement",
    "drift",
    "heartbeat",
]
Override = Literal["auto", "primary", "standby", "hold", "stop"]
_WITHOUT_RESULT = ("exception", "invalid_output", "timeout", "missing", "deadline")
"""Faults that leave a frame without a result or with a late one, but with no wrong one."""
_ANSWER_COUNTS_S = 5.0
"""How long a camera that sends no more frames speaks for the model, while frames of others have no answer."""
_LONGEST_BACK_OFF = 32.0
_LASTS = 10.0


class LadderLevel(IntEnum):
    """Who answers as a rule, best first."""

    PRIMARY = 0
    STANDBY = 1
    HOLD = 2
    STOP = 3


@dataclass(frozen=True)
class LadderSettings:
    """Time constants.

    Attributes:
        hysteresis_s: shortest time between two changes of level.
        probation_frames: good frames in a row, beside the standby, before the primary is trusted again.
        hold_s: how long a result is held, before nothing is published.
    """

    hysteresis_s: float = 5.0
    probation_frames: int = 20
    hold_s: float = 0.0


@dataclass(frozen=True)
class Step:
    """What the ladder did.

    Attributes:
        now_s: when.
        stamp_ns: of the last frame before.
        event: level (it changed), fault (the primary is not trusted any more), probation_failed, override.
        before: level before.
        after: level after.
        reason: why.
    """

    now_s: float
    stamp_ns: int
    event: Literal["level", "fault", "probation_failed", "override"]
    before: LadderLevel
    after: LadderLevel
    reason: str


@dataclass
class Ladder:
    """Trusts the primary until a fault of it, and again after probation; one thread at a time.

    After a fault the standby answers at once; the level follows as soon as the hysteresis time since the
    change before has passed. The primary returns after as much time and its good frames; each failed
    probation, and each fault, drift or low agreement soon after a return, doubles the time until its next
    probation.

    Attributes:
        settings: time constants; may be exchanged.
        has_standby: whether there is one. Without it the primary keeps trying, whatever it did.
        level: present one.
        reason: of the present level.
        since_s: when it began.
        faults: of the primary, by kind.
        changes: of the level.
    """

    settings: LadderSettings = field(default_factory=LadderSettings)
    has_standby: bool = False
    level: LadderLevel = LadderLevel.PRIMARY
    reason: str = "begin"
    since_s: float = 0.0
    changes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    _changed_s: float = -float("inf")
    _override: Override = "auto"
    _conditions: dict[str, str] = field(default_factory=dict)
    _suspension: str = ""
    _answered_s: dict[str, float] = field(default_factory=dict)
    _unanswered: dict[str, tuple[float, str]] = field(default_factory=dict)
    _unanswered_s: float = 0.0
    _good: int = 0
    _is_alone: bool = False
    _comes_back: bool = False
    _back_off_s: float = 0.0
    _retry_s: float = 0.0
    _stamp_ns: int = 0
    _steps: list[Step] = field(default_factory=list)

    @property
    def override(self) -> Override:
        """The level that somebody chose; auto: none."""
        return self._override

    @property
    def trusts_primary(self) -> bool:
        """Whether frames go to the primary first."""
        if self._override == "auto":
            return not self.has_standby or not (self._suspension or self._conditions)
        return self._override == "primary" or (self._override == "standby" and not self.has_standby)

    @property
    def distrust(self) -> str:
        """Why others than the primary are to answer; empty where it is trusted and answers."""
        if self.trusts_primary and self.level is LadderLevel.PRIMARY:
            return ""
        conditions = [f"{kind}: {text}" for kind, text in self._conditions.items()]
        return "; ".join(conditions) or self._suspension or self.reason

    @property
    def may_help(self) -> bool:
        """Whether an untrusted primary may answer where the standby fails: it gave no wrong results."""
        kind = self._suspension.partition(":")[0]
        return self._override == "auto" and kind in _WITHOUT_RESULT and not self._conditions

    @property
    def answers(self) -> bool:
        """Whether a model's result may be published: not where somebody chose hold or stop."""
        return self._override in ("auto", "primary", "standby")

    def wants_probation(self, now_s: float) -> bool:
        """Whether the primary, which is not trusted, is to run beside the standby on this frame."""
        waits = self._override == "auto" and self.has_standby and bool(self._suspension)
        return waits and not self._conditions and now_s >= self._retry_s

    def fault(self, kind: FaultKind, text: str, now_s: float, stamp_ns: int = 0) -> None:
        """Note that the primary failed on a frame of which somebody else had to answer."""
        self.faults[kind] += 1
        self._stamp_ns = stamp_ns or self._stamp_ns
        if not self.has_standby or self._suspension:
            self._good = 0
            return
        self._suspension = f"{kind}: {text}"
        self._suspend(now_s, doubled=self._has_just_returned(now_s))
        self._note("fault", now_s, self._suspension)
        self.tick(now_s)

    def _has_just_returned(self, now_s: float) -> bool:
        soon = now_s - self.since_s < _LASTS * self.settings.hysteresis_s
        return soon and self.level is LadderLevel.PRIMARY and self.changes > 0

    def _suspend(self, now_s: float, *, doubled: bool) -> None:
        hysteresis_s = self.settings.hysteresis_s
        longest_s = _LONGEST_BACK_OFF * hysteresis_s
        self._back_off_s = min(2.0 * self._back_off_s, longest_s) if doubled else 0.0
        self._back_off_s = max(self._back_off_s, hysteresis_s)
        self._retry_s = now_s + (self._back_off_s if doubled else 0.0)
        self._good, self._is_alone = 0, False

    def condition(self, kind: FaultKind, text: str, now_s: float) -> None:
        """Note what holds until it is cleared by an empty text: a lost heartbeat, a drift."""
        if text and kind not in self._conditions:
            self.faults[kind] += 1
            # What is known of the primary's results ends where they are not looked at any more.
            self._comes_back = kind != "heartbeat" and self._has_just_returned(now_s)
            self._note("fault", now_s, f"{kind}: {text}")
        if text:
            self._conditions[kind] = text
        elif self._conditions.pop(kind, None) is not None and self.has_standby and not self._suspension:
            self._suspension = f"{kind} is over"  # the primary returns by its probation
            self._suspend(now_s, doubled=self._comes_back)
        self.tick(now_s)

    def answered(self, now_s: float, stamp_ns: int, camera: str = "") -> None:
        """Note that a model answered a frame of a camera."""
        self._answered_s[camera] = now_s
        self._unanswered.pop(camera, None)
        self._stamp_ns = stamp_ns
        self.tick(now_s)

    def unanswered(self, text: str, now_s: float, stamp_ns: int, camera: str = "") -> None:
        """Note a frame of a camera that no model answered."""
        self._answered_s.pop(camera, None)
        self._unanswered_s = now_s
        since_s, _ = self._unanswered.get(camera, (now_s, ""))
        self._unanswered[camera], self._stamp_ns = (since_s, text), stamp_ns
        self.tick(now_s)

    @property
    def _nothing_answered(self) -> tuple[float, str] | None:
        """Since when no camera's last frame has an answer, and why; None: one has, or none has come.

        A camera that is silent since says nothing of the model.
        """
        oldest_s = self._unanswered_s - _ANSWER_COUNTS_S
        if not self._unanswered or any(answered_s >= oldest_s for answered_s in self._answered_s.values()):
            return None
        return max(self._unanswered.values())

    def probation(self, fault: str, now_s: float, *, alone: bool = False) -> None:
        """Note a frame that the primary, which is not trusted, ran on.

        Args:
            fault: empty where the frame was good.
            now_s: the time.
            alone: there is no standby any more, so that frames without an answer are no reason to wait.
        """
        if not self._suspension:
            return
        if fault:
            self._suspension = f"probation: {fault}"
            self._suspend(now_s, doubled=True)
            self._note("probation_failed", now_s, f"{fault}; next attempt in {self._back_off_s:g} s")
            return
        self._good, self._is_alone = self._good + 1, alone
        self.tick(now_s)

    def new_primary(self, now_s: float) -> None:
        """Note another primary: what the one before did is not its fault, but it has to pass a probation."""
        self._good, self._back_off_s, self._retry_s = 0, 0.0, now_s
        self._is_alone = self._comes_back = False
        if self._override == "standby" and self.has_standby and not self._suspension:
            self._suspension = "another model was loaded while the standby answered"

    def set_override(self, override: Override, now_s: float) -> None:
        """Let somebody choose the level; it changes at once."""
        if override == self._override:
            return
        self._override = override
        self._note("override", now_s, f"guard_level {override}")
        self._changed_s = -float("inf")
        self.tick(now_s)

    def tick(self, now_s: float) -> None:
        """Change the level where it is due; to be called at every frame and a few times a second."""
        if now_s < self._changed_s + self.settings.hysteresis_s:
            return
        is_waiting = (
            self.level is not LadderLevel.PRIMARY if self._is_alone else self.level is LadderLevel.STANDBY
        )
        if self._passed and is_waiting:
            reason = f"probation passed: {self._good} good frames"
            self._suspension, self._good, self._is_alone = "", 0, False
            self._unanswered.clear()
            self._change(LadderLevel.PRIMARY, reason, now_s)
            return
        due, reason = self._due(now_s)
        if due is not self.level:
            self._change(due, reason, now_s)

    @property
    def _passed(self) -> bool:
        enough = bool(self._suspension) and self._good >= self.settings.probation_frames
        is_answered = self._is_alone or self._nothing_answered is None
        return enough and is_answered and self._override == "auto" and not self._conditions

    def _due(self, now_s: float) -> tuple[LadderLevel, str]:
        if self._override != "auto":
            return LadderLevel[self._override.upper()], f"guard_level {self._override}"
        if (nothing := self._nothing_answered) is not None:
            since_s, text = nothing
            is_held = now_s - since_s < self.settings.hold_s
            return (LadderLevel.HOLD if is_held else LadderLevel.STOP), text
        if self.has_standby and self._conditions:
            return LadderLevel.STANDBY, "; ".join(
                f"{kind}: {text}" for kind, text in self._conditions.items()
            )
        if self.has_standby and self._suspension:
            return LadderLevel.STANDBY, self._suspension
        return LadderLevel.PRIMARY, "the primary answers"

    def _change(self, level: LadderLevel, reason: str, now_s: float) -> None:
        before, self.level = self.level, level
        self.reason, self.since_s, self._changed_s = reason, now_s, now_s
        self.changes += 1
        self._steps.append(Step(now_s, self._stamp_ns, "level", before, level, reason))

    def _note(self, event: Literal["fault", "probation_failed", "override"], now_s: float, text: str) -> None:
        self._steps.append(Step(now_s, self._stamp_ns, event, self.level, self.level, text))

    def take_steps(self) -> list[Step]:
        """Return the steps since the previous call."""
        steps, self._steps = self._steps, []
        return steps
