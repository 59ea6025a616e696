# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of the last seconds against their limits. Pure functions of a report: no clock, no state.

Each check has two levels: the one that its figure has, and the one that it must fall below before an alarm
of it ends (``hold``), by limits that are tighter by half of the warn margin.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ad_compressed_perception.monitor.frame_health import IMPOSSIBLE_AGE_MS, Level
from ad_compressed_perception.report.schemas.pairs import ComparisonWindow, LimitsReport
from ad_compressed_perception.report.schemas.variant import VariantWindow


@dataclass(frozen=True)
class Check:
    """A figure, checked.

    Attributes:
        figure: its name, as in ``Alarm``.
        level: by the limits.
        hold: by the tighter limits.
        value: the figure; None where there is no data.
        threshold: the limit; None for none.
        text: figure and limit in words.
        window_s: of the figure; None for that of the limits.
        worst_stamp_ns: stamp of the frame that was worst.
    """

    figure: str
    level: Level
    hold: Level
    value: float | None
    threshold: float | None
    text: str
    worst_stamp_ns: int | None = None
    window_s: float | None = None


_SHORTEST_S = 2.0
"""Time from which a rate is computed."""

SEVERE = 3.0
"""Multiple of the allowed loss of agreement that is an ERROR whatever its interval."""


def _margins(warn_margin: float) -> tuple[float, float]:
    """Return the share of the way to a limit from which on a WARN begins, and that at which it ends."""
    return 1.0 - warn_margin, 1.0 - 1.5 * warn_margin


def check_agreement(
    windows: Collection[ComparisonWindow], limits: LimitsReport, warn_margin: float
) -> Check | None:
    """Check the score as the verdict does: ERROR where its whole interval is below the limit.

    ERROR also where it lost ``SEVERE`` times as much as it may: neighboring frames are so much alike that the
    interval of some seconds may span everything. WARN where the score is below the limit, or has lost nearly
    as much as it may. With fewer informative pairs than
    ``min_pairs`` in the shortest window the next one is checked; without a pair in the shortest one, none is.
    """
    if not any(window.pairs for window in list(windows)[:1]):
        return None
    enough = (window for window in windows if window.informative >= limits.min_pairs)
    window = next(enough, None)
    if window is None:
        return None
    least, score = limits.min_agreement, window.score
    if least is None or score is None:
        return None
    high = score if window.score_high is None else window.score_high
    begins, ends = _margins(warn_margin)
    allowed, lost = 1.0 - least, 1.0 - score
    level = Level.OK if lost <= begins * allowed else Level.WARN
    hold = Level.OK if lost <= ends * allowed else Level.WARN
    if high < least or lost > SEVERE * allowed:
        level = hold = Level.ERROR
    elif score < least:
        hold = Level.ERROR
    interval = "" if window.score_low is None else f" (95 % interval {window.score_low:.3f} to {high:.3f})"
    text = (
        f"agreement {score:.3f}{interval} over {window.pairs} pairs of the last {window.window_s:g} s, at "
        f"least {least:.3g} is required ({limits.sources.get('min_agreement', '')})"
    )
    return Check("agreement", level, hold, score, least, text, window.worst_stamp_ns, window.window_s)


def check_compared(window: ComparisonWindow, limits: LimitsReport, warn_margin: float) -> Check | None:
    """Check that there are pairs, and that they are not of a tiny share of the frames.

    ERROR where results or frames come and none of them forms a pair.
    """
    share = window.compared_share
    if window.pairs == 0 and (window.unpaired or window.frames):
        what = f"{window.unpaired} results without their partner" if window.unpaired else "none to compare"
        if window.no_evidence:
            what = f"{window.no_evidence} frames answered by a fallback or by the same model on both sides"
        text = f"no pair: {what}, {window.frames} frames"
        return Check("compared_share", Level.ERROR, Level.ERROR, 0.0, limits.min_compared_share, text)
    least = limits.min_compared_share
    if share is None or least is None or window.frames < limits.min_pairs:
        return None
    text = f"{window.pairs} of {window.frames} frames compared (min_compared_share {least:g})"
    level = Level.WARN if share < least else Level.OK
    hold = Level.WARN if share < min(1.0, least * (1.0 + warn_margin)) else Level.OK
    return Check("compared_share", level, hold, share, least, text)


def check_fallback(window: VariantWindow, limits: LimitsReport) -> Check | None:
    """Check who made the results: ERROR beyond the limit, WARN where any is of a fallback."""
    share, most = window.fallback_share, limits.max_fallback_share
    if share is None or most is None:
        return None
    level = Level.ERROR if share > most else Level.WARN if share > 0.0 else Level.OK
    counts = ", ".join(f"{count} by {level}" for level, count in window.by_level.items())
    which = f"{share:.0%} of {window.processed} results not by the primary"
    text = f"{which} (max_fallback_share {most:g}): {counts}"
    return Check("fallback_share", level, level, share, most, text)


def check_incomparable(window: ComparisonWindow, reason: str) -> Check:
    """Check that all pairs can be compared: the agreement is about the others only."""
    count = window.incomparable
    level = Level.ERROR if count else Level.OK
    text = f"{count} pairs could not be compared, the last one: {reason}" if count else "all pairs compared"
    return Check("incomparable", level, level, float(count), 0.0, text)


def _check_largest(figure: str, value: float, limit: float, text: str, warn_margin: float) -> Check:
    """Check a figure that is bad when large: ERROR beyond its limit, WARN near it."""
    begins, ends = _margins(warn_margin)
    raw = Level.ERROR if value > limit else Level.WARN if value > begins * limit else Level.OK
    hold = Level.ERROR if value > begins * limit else Level.WARN if value > ends * limit else Level.OK
    return Check(figure, raw, hold, value, limit, text)


def check_times(window: VariantWindow, limits: LimitsReport, warn_margin: float) -> Iterator[Check]:
    """Check the 99th percentile and the deadline, each over ``min_pairs`` results at least."""
    times = window.infer_ms if limits.timed == "inference" else window.end_to_end_ms
    if limits.max_p99_ms is not None and times.p99 is not None and times.count >= limits.min_pairs:
        what = "inference" if limits.timed == "inference" else "end to end"
        source = limits.sources.get("max_p99_ms", "")
        text = f"{what} p99 {times.p99:.1f} ms, at most {limits.max_p99_ms:g} ms are allowed ({source})"
        yield _check_largest("p99_ms", times.p99, limits.max_p99_ms, text, warn_margin)
    share, most = window.deadline_miss_share, limits.max_deadline_miss_share
    if (
        share is not None
        and most is not None
        and most < 1.0
        and window.end_to_end_ms.count >= limits.min_pairs
    ):
        text = f"{share:.0%} of the results after the deadline (max_deadline_miss_share {most:g})"
        yield _check_largest("deadline_miss_share", share, most, text, warn_margin)


def check_rate(window: VariantWindow, least_hz: float, warn_margin: float) -> Check | None:
    """Check the results a second: WARN below the least rate, ERROR below half of it; 0 requires none."""
    rate_hz = window.rate_hz
    if not least_hz or rate_hz is None or (window.span_s or 0.0) < _SHORTEST_S:
        return None
    text = f"{rate_hz:.1f} results a second (min_rate_hz {least_hz:g})"
    # It has to come back over the limit by half of the margin.
    level, hold = (
        Level.ERROR if value < least_hz / 2 else Level.WARN if value < least_hz else Level.OK
        for value in (rate_hz, rate_hz / (1.0 + 0.5 * warn_margin))
    )
    return Check("rate_hz", level, max(level, hold), rate_hz, least_hz, text)


def check_age(window: VariantWindow, most_ms: float, min_results: int) -> Check | None:
    """Check the median age of the results: WARN above the largest one, or below 0; 0 allows any.

    Ages beyond an hour are those of a recording's stamps; they are on ``/diagnostics`` only.
    """
    times = window.end_to_end_ms
    if not most_ms or times.p50 is None or times.count < min_results or abs(times.p50) > IMPOSSIBLE_AGE_MS:
        return None
    text = f"results of an age of {times.p50:.0f} ms in the median (max_age_warn_ms {most_ms:g})"
    if times.p50 < 0.0:
        text += ": the clock or the stamps are wrong"
    level = Level.OK if 0.0 <= times.p50 <= most_ms else Level.WARN
    return Check("age_ms", level, level, times.p50, most_ms, text)


def check_drops(window: VariantWindow, limits: LimitsReport, warn_margin: float) -> Check | None:
    """Check the share of frames without a result; without any result the check "results" is an ERROR."""
    share, most = window.drop_share, limits.max_dropped_share
    frames = window.processed + window.dropped_stale + window.dropped_busy + window.failed
    if share is None or most is None or frames < limits.min_pairs:
        return None
    parts = (("too old", window.dropped_stale), ("displaced", window.dropped_busy), ("failed", window.failed))
    why = ", ".join(f"{count} {word}" for word, count in parts if count)
    text = f"{share:.0%} of {frames} frames without a result (max_dropped_share {most:g}): {why}"
    level = Level.WARN if share > most else Level.OK
    hold = Level.WARN if share > (1.0 - warn_margin) * most else Level.OK
    return Check("drop_share", level, hold, share, most, text)
