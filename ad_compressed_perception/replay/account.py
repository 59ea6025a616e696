# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The account at the end of a replay: every frame from the recording's index to a node's result.

Index against read, read against sent, sent against received, received against done. What does not close, and
what makes the figures worthless, is a problem; a report with problems carries no verdict "accepted".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ad_compressed_perception.data.bad_frames import BadFrameLimit, count_reasons
from ad_compressed_perception.replay.frames import BagSlice
from ad_compressed_perception.replay.interleaving import OfferCounts
from ad_compressed_perception.replay.ledger import Ledger
from ad_compressed_perception.replay.plan import BASELINE, ReplayPlan
from ad_compressed_perception.report.frame_counters import uncounted_frames
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.pairs import ComparisonReport
from ad_compressed_perception.report.schemas.variant import VariantReport

_MANY_FRAMES = 10
"""From so many equal images on, a recording is taken for a broken one."""
_NO_ANSWER = "no answer: lost on its way, or not finished in time"


@dataclass
class Account:
    """What the replay counted itself.

    Attributes:
        plan: the nodes.
        frames: the frames read.
        offers: frames offered and not offered.
        limit: how many frames a node may fail on.
        ledgers: (task, name) to what was sent and came back.
        strangers: who else published on the replay's topics, in sentences.
        is_complete: whether the replay went to its end.
    """

    plan: ReplayPlan
    frames: BagSlice
    offers: OfferCounts
    limit: BadFrameLimit
    ledgers: Mapping[tuple[str, str], Ledger]
    strangers: list[str] = field(default_factory=list)
    is_complete: bool = True

    def close(self, report: Report) -> None:
        """Write the counts into the report and compare them.

        Adds to ``report.problems``; with one, verdicts "accepted" are taken out of the report.
        """
        self._count_source(report)
        report.problems += self._source_problems(report)
        for node in self.plan.nodes:
            variant = report.tasks[node.task].variants[node.name]
            ledger = self.ledgers.get((node.task, node.name), Ledger())
            self._count_variant(variant, ledger)
            report.problems += self._variant_problems(f"{node.task}/{node.name}", variant)
        for task, one in report.tasks.items():
            for name, comparison in one.comparison.items():
                report.problems += self._pair_problems(task, name, comparison)
        # A stranger's timings or results could even carry the stamps that the replay sent.
        report.problems += self.strangers
        if report.problems:
            _take_out_acceptance(report)

    # Source ---------------------------------------------------------------------------------------

    def _count_source(self, report: Report) -> None:
        source, frames = report.source, self.frames
        source.claimed = frames.bag.claimed_count(frames.topic)
        source.index = frames.bag.count(frames.topic)
        source.read = frames.read
        source.left_out = frames.left_out
        source.unreadable = count_reasons(frames.unreadable)

    def _source_problems(self, report: Report) -> Iterator[str]:
        source = report.source
        yield from (
            f"{self.frames.bag.path}: {text}." for text in self.frames.bag.problems(self.frames.topic)
        )
        index = source.index or 0
        if self.is_complete and source.read + source.left_out != index:
            yield (
                f"The index counts {index} messages on {source.topic}: {source.read} were read and "
                f"{source.left_out} left out, {index - source.read - source.left_out} are missing."
            )
        if self.frames.is_one_image and self.offers.offered >= _MANY_FRAMES:
            yield (
                f"All {self.offers.offered} frames on {source.topic} hold the same image, as of a covered "
                "camera: that results agree on it says nothing."
            )
        bad = len(self.frames.unreadable)
        counted = self.offers.offered + self.offers.not_offered + bad
        if self.is_complete and counted != source.read:
            yield f"{source.read} messages were read, but {counted} were sent, left out or unreadable."
        if bad > self.limit.of(source.read):
            yield (
                f"{bad} of {source.read} messages on {source.topic} are no images, max_bad_frames "
                f"{self.limit.text} allows {self.limit.of(source.read)}."
            )

    # Nodes ----------------------------------------------------------------------------------------

    def _count_variant(self, variant: VariantReport, ledger: Ledger) -> None:
        """Replace the node's own counters, which include others' frames, by those of the frames sent."""
        outcomes = ledger.outcomes
        variant.sent = len(ledger.sent)
        variant.received = ledger.received
        variant.processed = outcomes["processed"]
        variant.dropped_stale = outcomes["dropped_stale"]
        variant.dropped_busy = outcomes["dropped_busy"]
        variant.failed = outcomes["failed"]
        variant.pending = variant.received - len(ledger.done)
        variant.lost_at_restart = 0
        variant.reports_lost = 0
        variant.foreign = ledger.foreign
        reasons = [
            f"{timing.outcome}: {self._plain(timing.reason)}"
            for timing in ledger.done.values()
            if timing.outcome != "processed"
        ]
        reasons += [_NO_ANSWER] * (len(ledger.sent) - len(ledger.done))
        variant.reasons = count_reasons(reasons)

    def _plain(self, reason: str) -> str:
        """Return a reason with the recording's topic in the place of a node's own."""
        for node in self.plan.nodes:
            suffix = "/compressed" if self.frames.is_compressed else ""
            reason = reason.replace(f"{node.image_topic}{suffix}", self.frames.topic)
        return self.plan.without_namespace(" ".join(reason.split()))

    def _variant_problems(self, name: str, variant: VariantReport) -> Iterator[str]:
        sent, allowed = variant.sent, self.limit.of(variant.sent)
        not_done = sent - variant.processed
        if variant.received != sent:
            yield f"{name}: {sent} frames were sent, {variant.received} reached the node."
        if uncounted_frames(variant) or variant.pending:
            yield (
                f"{name}: {variant.received} frames reached the node, "
                f"{variant.pending + uncounted_frames(variant)} of them without an outcome."
            )
        if sent and not variant.processed:
            yield f"{name}: none of {sent} frames was processed, the node gave nothing."
        elif not_done > allowed:
            yield (
                f"{name}: {not_done} of {sent} frames were not processed, max_bad_frames {self.limit.text} "
                f"allows {allowed}."
            )
        yield from answer_problems(name, variant)
        if variant.foreign:
            yield (
                f"{name}: {variant.foreign} timings or results belong to frames that this replay did not "
                "send; they are not in the figures, but such frames took the node's time."
            )

    def _pair_problems(self, task: str, name: str, comparison: ComparisonReport) -> Iterator[str]:
        whose = task.partition(".")[0]  # of a head: what was sent to its node
        ledgers = [self.ledgers.get((whose, each), Ledger()) for each in (BASELINE, name)]
        both = set.intersection(
            *(
                {stamp for stamp, timing in ledger.done.items() if timing.outcome == "processed"}
                for ledger in ledgers
            )
        )
        missing = len(both) - comparison.pairs
        if self.is_complete and both and (not comparison.pairs or missing > self.limit.of(len(both))):
            yield (
                f"{task}/{name}: {len(both)} frames were processed by it and by the baseline, "
                f"{comparison.pairs} of them could be compared."
            )


def answer_problems(name: str, variant: VariantReport) -> Iterator[str]:
    """Say which frames others than the variant answered; they are in none of its figures."""
    results = sum(each.processed for each in variant.accounts)
    for each in variant.accounts:
        if not each.is_current:
            who = "an earlier frame's result" if each.level == "hold" else f"{each.model}/{each.variant}"
            yield (
                f"{name}: {each.processed} of {results} results are not of the variant, but of the level "
                f"{each.level} ({who}); they are in none of its figures."
            )


def _take_out_acceptance(report: Report) -> None:
    """Remove verdicts "accepted": beside worthless figures they would be read as their summary."""
    removed = False
    for one in report.tasks.values():
        for variant in one.variants.values():
            if variant.verdict is not None and variant.verdict.status == "accepted":
                variant.verdict = None
                removed = True
    if removed:
        report.notes.append("The verdicts of earlier compressions are left out: this replay has problems.")
