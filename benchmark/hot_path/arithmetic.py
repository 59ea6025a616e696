# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latencies of frames by their stamps, percentiles that count lost frames, ratios; no ROS, no clock.

A frame without an answer has the latency infinity: a target that answers only some frames, or none, never
has good percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Key = tuple[int, int]
"""Round and number of the frame in its block: the same image, a few seconds apart, for every target."""


@dataclass(frozen=True)
class Account:
    """What became of the frames of a block.

    Attributes:
        latency_ms: of every offered frame, in order; infinity where an answer is missing.
        foreign: answers with a stamp that was not offered.
        repeated: answers to a frame that had one of the same task.
    """

    latency_ms: list[float]
    foreign: int = 0
    repeated: int = 0


def pair_by_stamp(sent_s: Mapping[int, float], answers: Mapping[str, Sequence[tuple[int, float]]]) -> Account:
    """Return the time from publishing a frame to the last of its answers.

    Args:
        sent_s: stamp to the time before the publish call, in the order of sending.
        answers: task to (stamp, time of reception); every task has to answer every frame.
    """
    by_task: list[dict[int, float]] = []
    foreign = repeated = 0
    for received in answers.values():
        first: dict[int, float] = {}
        for stamp, at_s in received:
            if stamp not in sent_s:
                foreign += 1
            elif stamp in first:
                repeated += 1
            else:
                first[stamp] = at_s
        by_task.append(first)
    latencies = []
    for stamp, began_s in sent_s.items():
        ends = [first.get(stamp, math.inf) for first in by_task]
        latencies.append((max(ends) - began_s) * 1e3 if ends else math.inf)
    return Account(latencies, foreign, repeated)


def percentile(values: Sequence[float], rank: float) -> float:
    """Return a percentile, linear between ranks as numpy's; infinity where it touches a lost frame.

    NaN without a value. numpy itself would return NaN between a finite value and infinity.
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    place = rank / 100.0 * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    share = place - math.floor(place)
    if share == 0.0 or below == above:
        return below
    return math.inf if math.isinf(above) else below + (above - below) * share


@dataclass(frozen=True)
class Figures:
    """Percentiles over all offered frames, the lost ones as infinity.

    Attributes:
        offered: frames published.
        answered: frames with all answers.
        p50, p95, p99: milliseconds.
    """

    offered: int
    answered: int
    p50: float
    p95: float
    p99: float

    @property
    def lost(self) -> int:
        """Frames without all answers."""
        return self.offered - self.answered

    @property
    def status(self) -> str:
        """Whether the figures mean something: "ok", "no frame", "no answer" or how many are lost."""
        if not self.offered:
            return "no frame"
        if not self.answered:
            return "no answer"
        return f"{self.lost} of {self.offered} lost" if self.lost else "ok"


def figures(latency_ms: Sequence[float]) -> Figures:
    """Return the figures of latencies in which a lost frame is infinity."""
    answered = sum(math.isfinite(each) for each in latency_ms)
    p50, p95, p99 = (percentile(latency_ms, rank) for rank in (50.0, 95.0, 99.0))
    return Figures(len(latency_ms), answered, p50, p95, p99)


def summed(*parts: Mapping[Key, float]) -> dict[Key, float]:
    """Return the sums of latencies of the same frame, for frames that every part answered.

    Frames that a part lost are left out: as infinite references they would improve the ratio of others.
    """
    keys = [key for key in parts[0] if all(key in part for part in parts)] if parts else []
    sums = {key: math.fsum(part[key] for part in parts) for key in keys}
    return {key: value for key, value in sums.items() if math.isfinite(value)}


@dataclass(frozen=True)
class Ratio:
    """A target over its reference at two percentiles; NaN where nothing is known, infinity over lost frames.

    Attributes:
        p50, p99: pooled over all rounds.
        p50_low, p50_high: lowest and highest of the single rounds' p50 ratios: the noise.
    """

    p50: float = math.nan
    p99: float = math.nan
    p50_low: float = math.nan
    p50_high: float = math.nan


MOST_LOST_SHARE = 0.02
"""Share of frames without a reference above which the others do not represent them."""


def ratio(target: Mapping[Key, float], reference: Mapping[Key, float]) -> Ratio:
    """Compare latencies with those of a reference on the same frames.

    Returns:
        NaN in all where the target answered nothing, or the reference lacks more than MOST_LOST_SHARE of
        the target's frames: then nothing was compared.
    """
    known = {key: reference[key] for key in target if math.isfinite(reference.get(key, math.inf))}
    answered = any(math.isfinite(value) for value in target.values())
    if not answered or len(known) < (1.0 - MOST_LOST_SHARE) * len(target):
        return Ratio()
    kept = {key: target[key] for key in known}
    rounds = sorted({key[0] for key in kept})
    each = [
        _over(
            percentile([value for key, value in kept.items() if key[0] == number], 50.0),
            percentile([value for key, value in known.items() if key[0] == number], 50.0),
        )
        for number in rounds
    ]
    pooled, base = list(kept.values()), list(known.values())
    return Ratio(
        *(_over(percentile(pooled, rank), percentile(base, rank)) for rank in (50.0, 99.0)),
        min(each),
        max(each),
    )


def _over(value: float, reference: float) -> float:
    return value / reference if reference > 0.0 else math.nan


def cores(before_s: Sequence[float], after_s: Sequence[float], wall_s: float) -> float:
    """Return the CPU time of processes as a number of cores; NaN where one ended or no time passed."""
    if len(before_s) != len(after_s) or not before_s or wall_s <= 0.0:
        return math.nan
    used = [after - before for before, after in zip(before_s, after_s, strict=True)]
    return math.nan if min(used) < 0.0 else math.fsum(used) / wall_s
