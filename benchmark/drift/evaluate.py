# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How soon an alarm comes after a change, which kind it has, and how often one comes without a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ad_compressed_perception.drift.frame_statistics import FrameStatistics
from ad_compressed_perception.drift.monitor import Alarm, DriftMonitor
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.drift.reference_builder import ReferenceBuilder

Stream = Sequence[tuple[float, FrameStatistics]]

_NO_MODEL = "0" * 64
_GAP_S = 100.0


@dataclass(frozen=True)
class Onset:
    """When an alarm came and what it was.

    Attributes:
        delay_s: from the change to the alarm; NaN where none came.
        kind: of the alarm when it came; empty where none came.
        last_kind: of the alarm at the end.
        moved: the figure that was farthest beyond its threshold.
    """

    delay_s: float
    kind: str = ""
    last_kind: str = ""
    moved: str = ""


def learn(streams: Sequence[Stream]) -> DriftReference:
    """Return the reference of several drives."""
    builder, offset_s = ReferenceBuilder(_NO_MODEL, "benchmark"), 0.0
    for stream in streams:
        for stamp_s, statistics in stream:
            builder.add(statistics, offset_s + stamp_s - stream[0][0])
        offset_s += stream[-1][0] - stream[0][0] + _GAP_S
    return builder.build()


def joined(streams: Sequence[Stream], period_s: float) -> list[tuple[float, FrameStatistics]]:
    """Return streams one after the other, as one drive."""
    result: list[tuple[float, FrameStatistics]] = []
    start_s = 0.0
    for stream in streams:
        result += [(start_s + stamp_s - stream[0][0], statistics) for stamp_s, statistics in stream]
        start_s = result[-1][0] + period_s
    return result


def onset(reference: DriftReference, before: Stream, after: Stream, per_hour: float) -> Onset:
    """Return how a change from one stream to another is alarmed."""
    monitor = DriftMonitor(reference, false_alarms_per_hour=per_hour)
    change_s = before[-1][0] - before[0][0]
    first: tuple[float, Alarm] | None = None
    alarms: list[Alarm] = []
    for stamp_s, statistics in joined([before, after], reference.period_s):
        alarms = monitor.add(statistics, stamp_s)
        if stamp_s <= change_s:
            if alarms:
                monitor = DriftMonitor(
                    reference, false_alarms_per_hour=per_hour
                )  # counted among the false alarms
        elif alarms and first is None:
            first = stamp_s - change_s, alarms[0]
    if first is None:
        return Onset(float("nan"))
    delay_s, alarm = first
    return Onset(delay_s, alarm.kind, alarms[0].kind if alarms else "", next(iter(alarm.moved)))


def false_alarms(
    reference: DriftReference,
    held_out: Sequence[Stream],
    hours: float,
    per_hour: float,
    block_s: float = 15.0,
) -> tuple[int, float]:
    """Return how many alarms begin in resampled drives, and their length in hours.

    Blocks of consecutive frames of the held-out drives are drawn with replacement and put one after the other
    (moving block bootstrap: Künsch 1989): correlation within a block stays as it was.
    """
    rng = np.random.default_rng(15)
    monitor = DriftMonitor(reference, false_alarms_per_hour=per_hour)
    count, now_s, was_raised = 0, 0.0, False
    while now_s < hours * 3600.0:
        stream = held_out[int(rng.integers(len(held_out)))]
        first, last = stream[0][0], stream[-1][0]
        start_s = rng.uniform(first, max(first, last - block_s))
        block = [(stamp, one) for stamp, one in stream if start_s <= stamp < start_s + block_s]
        if not block:
            continue
        for stamp_s, statistics in block:
            raised = bool(monitor.add(statistics, now_s + stamp_s - block[0][0]))
            count += raised and not was_raised
            was_raised = raised
        now_s += block[-1][0] - block[0][0] + reference.period_s
    return count, now_s / 3600.0
