# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Node reports to diagnostic_msgs and back: the messages of the ``~/timing`` topic."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.timing import OUTCOMES, STAGES, FrameTiming, NodeReport, Outcome

_NANOSECONDS = 1_000_000_000
_MOST_FRAMES = 2**53
_TEXTS = ("task", "model", "variant", "backend", "requested_provider", "provider", "precision")


def stamp_to_ns(stamp: Time) -> int:
    """Return a ROS time in nanoseconds."""
    return int(stamp.sec) * _NANOSECONDS + int(stamp.nanosec)


def ns_to_stamp(stamp_ns: int) -> Time:
    """Return nanoseconds as a ROS time; the nearest one where its 32-bit seconds do not reach."""
    stamp_ns = min(max(stamp_ns, -(2**31) * _NANOSECONDS), 2**31 * _NANOSECONDS - 1)
    return Time(sec=stamp_ns // _NANOSECONDS, nanosec=stamp_ns % _NANOSECONDS)


def to_message(report: NodeReport) -> DiagnosticArray:
    """Return a report as one status; the header's stamp is the frame's source stamp."""
    timing = report.timing
    level = DiagnosticStatus.ERROR if timing.outcome == "failed" else DiagnosticStatus.OK
    status = DiagnosticStatus(
        level=level,
        name=report.node,
        hardware_id=f"{report.model}/{report.variant}",
        message=timing.outcome if not timing.reason else f"{timing.outcome}: {timing.reason}",
    )
    pairs: dict[str, str] = {key: getattr(report, key) for key in _TEXTS}
    pairs |= {"outcome": timing.outcome, "reason": timing.reason, "received": str(report.received)}
    pairs |= {outcome: str(report.counts[outcome]) for outcome in OUTCOMES}
    pairs |= {f"{stage}_ms": repr(float(ms)) for stage, ms in timing.stages_ms.items()}
    pairs["end_to_end_ms"] = repr(float(timing.end_to_end_ms))
    status.values = [KeyValue(key=key, value=value) for key, value in pairs.items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = ns_to_stamp(timing.stamp_ns)
    return message


def from_message(message: DiagnosticArray) -> NodeReport:
    """Return the report of a message; raise ResultError when it is none, or its counts are impossible."""
    try:
        status = message.status[0]
        values = {pair.key: pair.value for pair in status.values}
        stages_ms = {stage: float(values[f"{stage}_ms"]) for stage in STAGES if f"{stage}_ms" in values}
        outcome: Outcome = next(name for name in OUTCOMES if name == values["outcome"])
        timing = FrameTiming(
            stamp_to_ns(message.header.stamp),
            outcome,
            stages_ms,
            float(values.get("end_to_end_ms", math.nan)),
            values.get("reason", ""),
        )
        texts = {key: values[key] for key in _TEXTS}
        counts = {name: int(values[name]) for name in OUTCOMES}
        received = int(values["received"])
        if min(counts.values()) < 0 or not sum(counts.values()) <= received < _MOST_FRAMES:
            raise ValueError(f"{received} frames received, but {counts}")
        return NodeReport(
            node=status.name,
            timing=timing,
            received=received,
            counts=counts,
            **texts,
        )
    except (IndexError, KeyError, ValueError, StopIteration) as error:
        raise ResultError(f"not a timing message: {type(error).__name__} {error}") from error


def reports_of(message: DiagnosticArray) -> list[NodeReport]:
    """Return all reports of a message; raise ResultError when one is none, or its counts are impossible."""
    return [from_message(message)]
