# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""False alarms on normal driving, and which wrong results are not published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ad_compressed_perception.serving.result_changes import FLOORS, changes, summarize
from benchmark.guard.played import Car, Played, blocks

_LEARNED = 130
_EVERY = 7


def false_alarms(variant: Sequence[Played], baseline: Sequence[Played], hours: float) -> dict[str, object]:
    """Return the alarms of normal driving: of the drive once, and of hours of its blocks in random order."""
    once, long = Car(), Car()
    for one, other in zip(variant, baseline, strict=True):
        once.drive(one, other, one.stamp_ns)
    count = 0
    for number, stamp_ns in blocks(len(variant), hours, 0):
        long.drive(variant[number], baseline[number], stamp_ns)
        count += 1
    return {
        "frames": len(variant),
        "faults": once.faults(),
        "answered by the standby": once.guard.answers["standby"],
        f"frames of {hours:g} h": count,
        f"faults in {hours:g} h": long.faults(),
        "share answered by the standby": f"{long.guard.answers['standby'] / max(count, 1):.4%}",
    }


def wrong_results(variant: Sequence[Played], baseline: Sequence[Played]) -> dict[str, object]:
    """Return how many results of another scene are not published, and how many are called a fault.

    Every seventh frame the variant gives what it gave half the drive away. A result that differs from the
    right one by no more than what the guard takes for normal anyway (FLOORS) is not counted as wrong.
    """
    car, wrong, kept, faults = Car(), 0, 0, 0
    for number, (one, other, given, is_wrong) in enumerate(_with_wrong(variant, baseline)):
        before = car.faults()
        level = car.drive(given, other, one.stamp_ns)
        if is_wrong and number >= _LEARNED:
            wrong += 1
            kept += level != "primary"
            faults += car.faults() > before
    return {
        "wrong results": wrong,
        "not published": f"{kept / max(wrong, 1):.0%}",
        "called a fault": f"{faults / max(wrong, 1):.0%}",
    }


def _with_wrong(
    variant: Sequence[Played], baseline: Sequence[Played]
) -> Iterator[tuple[Played, Played, Played, bool]]:
    for number, (one, other) in enumerate(zip(variant, baseline, strict=True)):
        given = one
        if number % _EVERY == 0 and number >= _LEARNED:
            given = variant[(number + len(variant) // 2) % len(variant)]
        yield one, other, given, given is not one and _differs(one, given)


def _differs(one: Played, other: Played) -> bool:
    first, second = summarize(one.result), summarize(other.result)
    assert first is not None and second is not None
    return any(value > FLOORS[name] for name, value in changes(first, second).items())
