# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frame counters of a replay or a live comparison: where every frame went, in words and in report.md."""

from __future__ import annotations

from collections.abc import Iterator

from ad_compressed_perception.report.kit.figures import NONE
from ad_compressed_perception.report.kit.table import records
from ad_compressed_perception.report.kit.text import bullets, plain
from ad_compressed_perception.report.schemas.comparison import Report, Source
from ad_compressed_perception.report.schemas.variant import VariantReport


def uncounted_frames(variant: VariantReport) -> int:
    """Return how many received frames no counter accounts for; 0 when all are accounted for."""
    counted = variant.processed + variant.dropped_stale + variant.dropped_busy + variant.failed
    return variant.received - counted - variant.pending - variant.lost_at_restart


def frame_counts_text(variant: VariantReport) -> str:
    """Return a variant's frame counters as a sum, and whether they account for every frame."""
    parts = {
        "processed": variant.processed,
        "stale": variant.dropped_stale,
        "busy": variant.dropped_busy,
        "failed": variant.failed,
        "pending": variant.pending,
        "lost at restart": variant.lost_at_restart,
    }
    always = ("processed", "stale", "busy", "failed")
    terms = " + ".join(f"{count} {name}" for name, count in parts.items() if count or name in always)
    end = (
        "all accounted for"
        if uncounted_frames(variant) == 0
        else f"**{uncounted_frames(variant)} unexplained**"
    )
    return f"{variant.received} received = {terms}: {end}"


def reason_lines(report: Report) -> list[str]:
    """Return each reason why frames were not read or not processed once, with its count and where."""
    places: dict[str, dict[str, int]] = {}
    for reason, count in report.source.unreadable.items():
        places.setdefault(reason, {})["recording"] = count
    for task, name, variant in variants_of(report):
        for reason, count in variant.reasons.items():
            places.setdefault(reason, {})[f"{task}/{name}"] = count
    lines = []
    for reason, counts in places.items():
        where = ", ".join(f"{name} {count}" for name, count in counts.items())
        lines.append(f"{sum(counts.values())} x {reason} ({where})")
    return lines


def source_counts_text(source: Source) -> str:
    """Return the frames of a replay from the recording's index to the nodes as a sentence."""
    claimed = "" if source.claimed in (None, source.index) else f" ({source.claimed} by metadata.yaml)"
    unreadable = sum(source.unreadable.values())
    left_out = f", {source.left_out} left out" if source.left_out else ""
    return (
        f"{source.index} messages in the index{claimed}: {source.read} read{left_out}; of these "
        f"{source.frames} sent, {source.not_offered} not offered, {unreadable} unreadable"
    )


def counter_section(report: Report) -> Iterator[str]:
    """Yield where the frames of each node went."""
    is_replay = report.source.index is not None
    rows = [
        {
            "task": plain(task),
            "variant": plain(name),
            "sent": str(variant.sent) if is_replay else NONE,
            "frames": frame_counts_text(variant),
            "frame timeouts": str(variant.frame_timeouts),
            "timings lost": str(variant.reports_lost),
            "of other publishers": str(variant.foreign) if is_replay else NONE,
        }
        for task, name, variant in variants_of(report)
    ]
    yield "## Frame counters"
    if is_replay:
        yield f"{source_counts_text(report.source)}."
    yield records(rows)
    if not report.problems:
        reasons = reason_lines(report)
        if reasons:
            yield bullets(reasons)


def variants_of(report: Report) -> Iterator[tuple[str, str, VariantReport]]:
    """Yield task, name and variant, the baseline of each task first; the node of several heads once."""
    seen: set[str] = set()
    for task, one in report.tasks.items():
        for name in sorted(one.variants, key=lambda name: name != one.baseline):
            if one.variants[name].node not in seen:
                yield task, name, one.variants[name]
        seen |= {variant.node for variant in one.variants.values() if variant.node}
