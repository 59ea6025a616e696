# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks the primary's frames and counts who answered; called by several threads.

Whom to trust is decided once for all cameras, for they have one model. What compares a frame with the one
before keeps a history of each camera, by its name: a jump between two cameras is no fault.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from threading import RLock
from types import MappingProxyType
from typing import Literal

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.serving.headwise import HeadwiseContinuity, HeadwisePlausibility
from ad_compressed_perception.serving.ladder import (
    FaultKind,
    Ladder,
    LadderLevel,
    LadderSettings,
    Override,
    Step,
)
from ad_compressed_perception.serving.miss_rate import MissRate

AnswerLevel = Literal["primary", "standby", "hold"]
Answering = Literal["primary", "standby", "hold", "none"]
_MOST_TIMES = 50


@dataclass(frozen=True)
class GuardSettings:
    """What the guard goes by.

    Attributes:
        ladder: time constants.
        deadline_ms: from stamp (from arrival, where that age is unknown) to the published result; 0: none.
        max_miss_rate: largest share of the primary's frames beyond the deadline; 1: any.
        min_agreement: least agreement of the primary with the shadow; 0: any.
        camera_deadlines_ms: deadlines of single cameras.
    """

    ladder: LadderSettings = field(default_factory=LadderSettings)
    deadline_ms: float = 0.0
    max_miss_rate: float = 1.0
    min_agreement: float = 0.0
    camera_deadlines_ms: Mapping[str, float] = field(default_factory=dict)

    def deadline_of(self, camera: str) -> float:
        """Return the deadline of a camera's results, ms; 0: none."""
        return self.camera_deadlines_ms.get(camera, self.deadline_ms)


class _CameraHistory:
    """What is known of the frames of one camera: they follow one another, those of two cameras do not.

    Attributes:
        last: who answered the last frame; none before the first one and where nothing was published.
        last_s: when that was.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        """Begin without frames; see Plausibility."""
        self.plausibility, self.continuity = HeadwisePlausibility(expected), HeadwiseContinuity()
        self.misses = MissRate()
        self.last: Answering = "none"
        self.last_s = -float("inf")


class Guard:
    """The ladder and what moves it. Times are monotonic seconds, given by the caller.

    Attributes:
        answers: frames by who answered them.
        confirmed: implausible results of the primary that the standby's result of the same frame confirmed.
        last: who answered the last frame; none before the first one and where nothing was published.
        last_s: when that was.
    """

    def __init__(self, settings: GuardSettings | None = None) -> None:
        """Begin with the primary."""
        self._lock = RLock()
        self._ladder = Ladder()
        self._expected: Mapping[str, float] = MappingProxyType({})
        self._cameras: dict[str, _CameraHistory] = {}
        self._times_ms: dict[str, list[float]] = {"primary": [], "standby": []}
        self.settings = settings or GuardSettings()
        self.configure(self.settings)
        self.answers: Counter[Answering] = Counter()
        self.confirmed = 0
        self.last: Answering = "none"
        self.last_s = -float("inf")

    def configure(self, settings: GuardSettings) -> None:
        """Go by other settings from now on."""
        with self._lock:
            self._ladder.settings = settings.ladder
            self.settings = settings

    def begin(
        self, now_s: float, *, has_standby: bool, expected: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """Begin anew at an activation: with the primary, no history and no counts; an override stays.

        Args:
            now_s: the time.
            has_standby: whether one is configured.
            expected: see Plausibility.
        """
        with self._lock:
            override = self._ladder.override
            self._ladder = Ladder(self.settings.ladder, has_standby, since_s=now_s)
            self._ladder.set_override(override, now_s)
            self._expected, self._cameras = expected, {}
            self.answers.clear()
            self.confirmed, self.last, self.last_s = 0, "none", -float("inf")

    # What the ladder says -------------------------------------------------------------------------

    @property
    def has_standby(self) -> bool:
        """Whether a standby is configured."""
        return self._ladder.has_standby

    @property
    def is_on(self) -> bool:
        """Whether anything can take the place of a primary that fails."""
        return self._ladder.has_standby or self.settings.ladder.hold_s > 0.0

    @property
    def trusts_primary(self) -> bool:
        """See Ladder."""
        return self._ladder.trusts_primary

    @property
    def distrust(self) -> str:
        """See Ladder."""
        return self._ladder.distrust

    @property
    def may_help(self) -> bool:
        """See Ladder."""
        return self._ladder.may_help

    @property
    def publishes(self) -> bool:
        """Whether a model's result may be published; see Ladder.answers."""
        return self._ladder.answers

    @property
    def level(self) -> LadderLevel:
        """Who answers as a rule."""
        return self._ladder.level

    @property
    def override(self) -> Override:
        """The level that somebody chose."""
        return self._ladder.override

    @property
    def reason(self) -> str:
        """Of the level."""
        return self._ladder.reason

    @property
    def since_s(self) -> float:
        """When the level began."""
        return self._ladder.since_s

    def wants_probation(self, now_s: float) -> bool:
        """See Ladder."""
        return self._ladder.wants_probation(now_s)

    def counters(self) -> dict[str, int]:
        """Return frames by who answered, faults by kind, changes of level and switches of paths."""
        with self._lock:
            frames = {f"frames_{key}": self.answers[key] for key in ("primary", "standby", "hold", "none")}
            faults = {f"faults_{kind}": count for kind, count in sorted(self._ladder.faults.items())}
            return {
                **frames,
                **faults,
                "changes_of_level": self._ladder.changes,
                "implausible_confirmed": self.confirmed,
                "paths_joined": sum(each.continuity.switches for each in self._cameras.values()),
            }

    def last_of(self, camera: str) -> tuple[Answering, float]:
        """Return who answered the last frame of a camera, and when: see last and last_s."""
        with self._lock:
            history = self._of(camera)
            return history.last, history.last_s

    def _of(self, camera: str) -> _CameraHistory:
        history = self._cameras.get(camera)
        if history is None:
            history = self._cameras[camera] = _CameraHistory(self._expected)
        return history

    # What moves it --------------------------------------------------------------------------------

    def fault(self, kind: FaultKind, text: str, now_s: float, stamp_ns: int = 0) -> None:
        """See Ladder."""
        with self._lock:
            self._ladder.fault(kind, text, now_s, stamp_ns)

    def condition(self, kind: FaultKind, text: str, now_s: float) -> None:
        """See Ladder."""
        with self._lock:
            self._ladder.condition(kind, text, now_s)

    def note_agreement(self, score: float, now_s: float) -> None:
        """Note how far the primary's last results equal the shadow's, 0 to 1; NaN: there is no shadow."""
        least = self.settings.min_agreement
        self.condition("agreement", f"{score:.3f}, limit {least:g}" if score < least else "", now_s)

    def probation(self, fault: str, now_s: float, *, alone: bool = False) -> None:
        """See Ladder."""
        with self._lock:
            self._ladder.probation(fault, now_s, alone=alone)

    def new_primary(self, now_s: float) -> None:
        """See Ladder."""
        with self._lock:
            for history in self._cameras.values():
                history.misses.clear()
            self._times_ms["primary"].clear()
            self._ladder.condition("agreement", "", now_s)  # it was that of the primary before
            self._ladder.new_primary(now_s)

    def new_standby(self) -> None:
        """Forget how long the standby before took, which may have been another model."""
        with self._lock:
            self._times_ms["standby"].clear()

    def set_override(self, override: Override, now_s: float) -> None:
        """See Ladder."""
        with self._lock:
            self._ladder.set_override(override, now_s)

    def tick(self, now_s: float) -> list[Step]:
        """Change the level where it is due; return the steps since the previous call."""
        with self._lock:
            self._ladder.tick(now_s)
            return self._ladder.take_steps()

    # Frames ---------------------------------------------------------------------------------------

    def judge(self, result: Result, stamp_ns: int, *, whole: bool = False, camera: str = "") -> str:
        """Return what is doubtful of the primary's result; see Plausibility."""
        with self._lock:
            return self._of(camera).plausibility.judge(result, stamp_ns, whole=whole)

    def compare(self, primary: Result, standby: Result, camera: str = "") -> str:
        """Return how the primary's result contradicts the standby's of the same frame; empty: it does not."""
        with self._lock:
            return self._of(camera).plausibility.compare(primary, standby)

    def differs(self, one: Result, other: Result, camera: str = "") -> str:
        """Return how two results of a frame differ by more than a doubtful change; empty: they do not."""
        with self._lock:
            return self._of(camera).plausibility.differs(one, other)

    def contradicts(self, primary: Result, standby: Result, camera: str = "") -> str:
        """Return how the standby contradicts a doubtful result of the primary; see Plausibility."""
        with self._lock:
            return self._of(camera).plausibility.contradicts(primary, standby)

    def join(self, result: Result, stamp_ns: int, source: object, camera: str = "") -> Result:
        """See Continuity."""
        with self._lock:
            return self._of(camera).continuity.join(result, stamp_ns, source)

    def answered(
        self,
        result: Result,
        level: AnswerLevel,
        source: object,
        now_s: float,
        stamp_ns: int,
        camera: str = "",
    ) -> None:
        """Note a published result."""
        with self._lock:
            self._note_last(level, now_s, camera)
            if level != "hold":
                self._of(camera).plausibility.accept(result, stamp_ns, source)
                self._ladder.answered(now_s, stamp_ns, camera)

    def unanswered(self, text: str, now_s: float, stamp_ns: int, *, held: bool, camera: str = "") -> None:
        """Note a frame that no model answered; a held result is counted when it is published."""
        with self._lock:
            self._ladder.unanswered(text, now_s, stamp_ns, camera)
            if not held:
                self._note_last("none", now_s, camera)

    def _note_last(self, who: Answering, now_s: float, camera: str) -> None:
        self.answers[who] += 1
        self.last, self.last_s = who, now_s
        history = self._of(camera)
        history.last, history.last_s = who, now_s

    def note_times(
        self, level: AnswerLevel, run_ms: float, end_to_end_ms: float, now_s: float, camera: str = ""
    ) -> None:
        """Note how long the answering model ran, and when its result was published; see GuardSettings.

        Too many misses are a fault of the primary only where the standby is faster.
        """
        with self._lock:
            if level == "hold":
                return
            self.note_run(level, run_ms)
            deadline_ms, misses = self.settings.deadline_of(camera), self._of(camera).misses
            if level != "primary" or not deadline_ms or math.isnan(end_to_end_ms):
                return
            misses.add(missed=end_to_end_ms > deadline_ms)
            if misses.at_least > self.settings.max_miss_rate and self.is_standby_faster:
                share = misses.share
                misses.clear()
                self._ladder.fault(
                    "deadline", f"{share:.0%} of the last frames missed {deadline_ms:g} ms", now_s
                )

    def note_run(self, level: AnswerLevel, run_ms: float) -> None:
        """Note how long a model ran on a frame."""
        times = self._times_ms[level]
        times.append(run_ms)
        del times[:-_MOST_TIMES]

    def run_ms(self, level: AnswerLevel) -> float:
        """Return the median time that a model runs on a frame; NaN where it never did."""
        times = self._times_ms.get(level)
        return median(times) if times else float("nan")

    @property
    def is_standby_faster(self) -> bool:
        """Whether a change to the standby gains time."""
        return self.run_ms("standby") < self.run_ms("primary")
