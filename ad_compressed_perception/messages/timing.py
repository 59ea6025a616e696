# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Node reports to diagnostic_msgs and back: the messages of the ``~/timing`` topic."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.timing import LEVELS, OUTCOMES, STAGES, FrameTiming, NodeReport, Outcome

_NANOSECONDS = 1_000_000_000
_MOST_FRAMES = 2**53
_LONGEST_WAIT_MS = 60_000.0
_TEXTS = ("task", "model", "variant", "backend", "requested_provider", "provider", "precision")


def stamp_to_ns(stamp: Time) -> int:
    """Return a ROS time in nanoseconds."""
    return int(stamp.sec) * _NANOSECONDS + int(stamp.nanosec)


def ns_to_stamp(stamp_ns: int) -> Time:
    """Return nanoseconds as a ROS time; the nearest one where its 32-bit seconds do not reach."""
    stamp_ns = min(max(stamp_ns, -(2**31) * _NANOSECONDS), 2**31 * _NANOSECONDS - 1)
    return Time(sec=stamp_ns // _NANOSECONDS, nanosec=stamp_ns % _NANOSECONDS)


def to_message(*reports: NodeReport) -> DiagnosticArray:
    """Return reports of one node as a message, in their order; the header's stamp is the last frame's.

    All are of one model. The last status holds the node's identity and all counters; the earlier ones hold
    what differs from frame to frame, the counters as one text, and the level where it is another one.
    """
    short = [_short(report, reports[-1].level) for report in reports[:-1]]
    message = DiagnosticArray(status=[*short, _full(reports[-1])])
    message.header.stamp = ns_to_stamp(reports[-1].timing.stamp_ns)
    return message


def _full(report: NodeReport) -> DiagnosticStatus:
    pairs: dict[str, str] = {key: getattr(report, key) for key in _TEXTS}
    timing = report.timing
    pairs |= {"outcome": timing.outcome, "reason": timing.reason, "received": str(report.received)}
    pairs |= {outcome: str(report.counts[outcome]) for outcome in OUTCOMES}
    pairs |= {"level": report.level}
    return _status(report, pairs | _times(report))


def _short(report: NodeReport, level: str) -> DiagnosticStatus:
    counts = " ".join(map(str, (report.received, *(report.counts[outcome] for outcome in OUTCOMES))))
    pairs = {"stamp_ns": str(report.timing.stamp_ns), "counts": counts}
    pairs |= {} if report.level == level else {"level": report.level}
    return _status(report, pairs | _times(report))


def _times(report: NodeReport) -> dict[str, str]:
    timing = report.timing
    pairs = {f"{stage}_ms": repr(float(ms)) for stage, ms in timing.stages_ms.items()}
    pairs["end_to_end_ms"] = repr(float(timing.end_to_end_ms))
    if report.waited_ms:
        pairs["waited_ms"] = repr(float(report.waited_ms))
    if report.clock_step_ms:
        pairs["clock_step_ms"] = repr(float(report.clock_step_ms))
    return pairs


def _status(report: NodeReport, pairs: dict[str, str]) -> DiagnosticStatus:
    timing = report.timing
    return DiagnosticStatus(
        level=DiagnosticStatus.ERROR if timing.outcome == "failed" else DiagnosticStatus.OK,
        name=report.node,
        hardware_id=f"{report.model}/{report.variant}",
        message=timing.outcome if not timing.reason else f"{timing.outcome}: {timing.reason}",
        values=[KeyValue(key=key, value=value) for key, value in pairs.items()],
    )


def reports_of(message: DiagnosticArray) -> list[NodeReport]:
    """Return all reports of a message, oldest first; also of messages with one status, as recorded earlier.

    Raises:
        ResultError: one of them is none, or its counts are impossible.
    """
    try:
        last = message.status[-1]
        identity = {pair.key: pair.value for pair in last.values}
        shared: dict[str, str] = {"node": last.name} | {key: identity[key] for key in _TEXTS}
        shared |= {"level": identity.get("level", "primary")}  # earlier recordings have none
        stamp_ns = stamp_to_ns(message.header.stamp)
        return [_report(status, shared, None) for status in message.status[:-1]] + [
            _report(last, shared, stamp_ns)
        ]
    except (IndexError, KeyError, ValueError, StopIteration) as error:
        raise ResultError(f"not a timing message: {type(error).__name__} {error}") from error


def from_message(message: DiagnosticArray) -> NodeReport:
    """Return the newest report of a message; raise ResultError as reports_of."""
    return reports_of(message)[-1]


def _report(status: DiagnosticStatus, shared: dict[str, str], stamp_ns: int | None) -> NodeReport:
    """Return the report of a status; a stamp is given for the last one, whose stamp is the header's."""
    values = {pair.key: pair.value for pair in status.values}
    if stamp_ns is None:
        stamp_ns = int(values["stamp_ns"])
        received, *numbers = map(int, values["counts"].split())
        counts: dict[Outcome, int] = dict(zip(OUTCOMES, numbers, strict=True))
        named, _, reason = status.message.partition(": ")
    else:
        received, counts = int(values["received"]), {name: int(values[name]) for name in OUTCOMES}
        named, reason = values["outcome"], values.get("reason", "")
    outcome: Outcome = next(name for name in OUTCOMES if name == named)
    if min(counts.values()) < 0 or not sum(counts.values()) <= received < _MOST_FRAMES:
        raise ValueError(f"{received} frames received, but {counts}")
    waited_ms = float(values.get("waited_ms", 0.0))
    if not 0.0 <= waited_ms <= _LONGEST_WAIT_MS or not -(2**63) <= stamp_ns < 2**63:
        raise ValueError(f"frame {stamp_ns} waited {waited_ms} ms")
    step_ms = float(values.get("clock_step_ms", 0.0))
    shared = shared | {"level": values.get("level", shared["level"])}
    if not math.isfinite(step_ms) or shared["level"] not in LEVELS:
        raise ValueError(f"level {shared['level']!r}, clock set by {step_ms} ms")
    stages_ms = {stage: float(values[f"{stage}_ms"]) for stage in STAGES if f"{stage}_ms" in values}
    timing = FrameTiming(stamp_ns, outcome, stages_ms, float(values.get("end_to_end_ms", math.nan)), reason)
    return NodeReport(
        timing=timing, received=received, counts=counts, waited_ms=waited_ms, clock_step_ms=step_ms, **shared
    )
