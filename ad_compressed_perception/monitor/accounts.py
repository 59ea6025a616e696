# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who answered a node's frames, and an account of times for each of them."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from ad_compressed_perception.core.timing import COMPUTE_STAGES, NOBODY, STAGES, FrameTiming, NodeReport
from ad_compressed_perception.metrics.latency import DeadlineTracker
from ad_compressed_perception.metrics.run_distribution import RunDistribution
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.latency import AnswerAccount

PRIMARY, UNKNOWN = "primary", "unknown"
_MOST_ACCOUNTS = 16


@dataclass(frozen=True)
class AnsweredBy:
    """The model that made a result, and why it was asked.

    Attributes:
        level: primary; standby, in the place of a primary that did not answer; hold, for a result of an
            earlier frame; unknown.
    """

    model: str = ""
    variant: str = ""
    backend: str = ""
    provider: str = ""
    precision: str = ""
    level: str = UNKNOWN

    @classmethod
    def of(cls, report: NodeReport) -> AnsweredBy:
        """Return who answered a report's frame; of one that nobody answered the primary that it was for."""
        runtime = report.backend, report.provider, report.precision
        level = PRIMARY if report.level == NOBODY else report.level
        return cls(report.model, report.variant, *runtime, level)

    @property
    def is_primary(self) -> bool:
        """Whether a frame is one of the variant that the node is to run; unknown ones are taken for it."""
        return self.level in (PRIMARY, UNKNOWN)

    def is_same_model(self, other: AnsweredBy) -> bool:
        """Whether both are the same file in the same runtime: that they agree says nothing."""
        own = self.model, self.variant, self.backend, self.provider
        return bool(self.model) and own == (other.model, other.variant, other.backend, other.provider)

    def __str__(self) -> str:
        """Return the model in words."""
        return f"{self.model}/{self.variant} on {self.backend}" if self.model else UNKNOWN


def since_arrival_ms(timing: FrameTiming) -> float:
    """Return the time from a frame's arrival to its result, by the monotonic clock alone; NaN for none."""
    stages_ms = [timing.stages_ms[stage] for stage in COMPUTE_STAGES if stage in timing.stages_ms]
    return math.fsum(stages_ms) if stages_ms else math.nan


def is_late(timing: FrameTiming, deadline_ms: float | None) -> bool | None:
    """Return whether a result came after the deadline; None where its age is not known.

    A result that took longer than the deadline after its frame's arrival is late by whatever clock.
    """
    if deadline_ms is None:
        return False
    if since_arrival_ms(timing) > deadline_ms:
        return True
    return timing.end_to_end_ms > deadline_ms if 0.0 <= timing.end_to_end_ms < math.inf else None


class Account:
    """Times of the frames that one model answered at one level, over the whole run."""

    def __init__(self, deadline_ms: float | None) -> None:
        """Begin without a frame."""
        self._deadline_ms = deadline_ms
        self.stages = {stage: RunDistribution() for stage in STAGES}
        self.end_to_end = RunDistribution()
        self.since_arrival = RunDistribution()
        self.deadline = DeadlineTracker(deadline_ms)
        self.processed = self.begun = self.unknown_ages = self.negative_ages = 0
        self.first_stamp_ns = self.last_stamp_ns = 0
        self._timed_infer_ms = 0.0
        self._timed_end_to_end_ms = 0.0

    def add(self, timing: FrameTiming) -> None:
        """Add a processed frame."""
        self.first_stamp_ns = self.first_stamp_ns if self.processed else timing.stamp_ns
        self.last_stamp_ns = timing.stamp_ns
        self.processed += 1
        for stage, series in self.stages.items():
            series.add(timing.stages_ms.get(stage, math.nan))
        self.since_arrival.add(since_arrival_ms(timing))
        if not math.isfinite(timing.end_to_end_ms):
            self.unknown_ages += 1
        elif timing.end_to_end_ms < 0.0:
            self.negative_ages += 1
        else:
            self.end_to_end.add(timing.end_to_end_ms)
        late = is_late(timing, self._deadline_ms)
        if late is not None:
            self.deadline.note(late)
        infer_ms = timing.stages_ms.get("infer", math.nan)
        if math.isfinite(infer_ms) and math.isfinite(timing.end_to_end_ms):
            self._timed_infer_ms += infer_ms
            self._timed_end_to_end_ms += timing.end_to_end_ms

    @property
    def not_inference_share(self) -> float:
        """1 - sum of infer / sum of end-to-end; NaN without a frame or where the ages sum to zero or less."""
        if self._timed_end_to_end_ms <= 0.0:
            return math.nan
        return 1.0 - self._timed_infer_ms / self._timed_end_to_end_ms

    def report(self, who: AnsweredBy, *, is_current: bool) -> AnswerAccount:
        """Return the account as it stands in the report."""
        return copied(
            AnswerAccount,
            *(who, self),
            is_current=is_current,
            first_stamp_ns=self.first_stamp_ns if self.processed else None,
            last_stamp_ns=self.last_stamp_ns if self.processed else None,
            deadline_misses=self.deadline.misses,
            infer_ms=copied(Percentiles, self.stages["infer"].total()),
            end_to_end_ms=copied(Percentiles, self.end_to_end.total()),
        )


class Accounts:
    """The accounts of a node; at most 16 are kept, the one that has not answered for longest is left out.

    Attributes:
        current: who is the primary; None before a report.
        left_out: results of accounts that are not kept.
        by_level: results by level.
    """

    def __init__(self, deadline_ms: float | None) -> None:
        """Begin without a frame."""
        self._deadline_ms = deadline_ms
        self._accounts: OrderedDict[AnsweredBy, Account] = OrderedDict()
        self._order: list[AnsweredBy] = []
        self._answering: AnsweredBy | None = None
        self._none_yet = Account(deadline_ms)
        self.current: AnsweredBy | None = None
        self.left_out = 0
        self.by_level: dict[str, int] = {}

    def add(self, who: AnsweredBy, timing: FrameTiming) -> None:
        """Add a completed frame; one without a result only says who the primary is."""
        is_processed = timing.outcome == "processed"
        if who.is_primary:
            self.current = who
        account = self._account(who)
        if not is_processed:
            return
        account.begun += who != self._answering
        self._answering = who
        self.by_level[who.level] = self.by_level.get(who.level, 0) + 1
        account.add(timing)

    @property
    def primary(self) -> Account:
        """The account of the present primary."""
        return self._none_yet if self.current is None else self._account(self.current)

    @property
    def fallback_share(self) -> float:
        """Results that a primary did not make / results; NaN without a result."""
        results = sum(self.by_level.values())
        fallback = sum(count for level, count in self.by_level.items() if level not in (PRIMARY, UNKNOWN))
        return fallback / results if results else math.nan

    def reports(self) -> list[AnswerAccount]:
        """Return all accounts as they stand in the report, in order of appearance."""
        return [
            self._accounts[who].report(who, is_current=who == self.current)
            for who in self._order
            if self._accounts[who].processed
        ]

    def _account(self, who: AnsweredBy) -> Account:
        if who not in self._accounts:
            self._accounts[who] = Account(self._deadline_ms)
            self._order.append(who)
            if len(self._order) > _MOST_ACCOUNTS:
                oldest = next(each for each in self._accounts if each not in (who, self.current))
                self.left_out += self._accounts.pop(oldest).processed
                self._order.remove(oldest)
        self._accounts.move_to_end(who)
        return self._accounts[who]
