# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A timing message of several frames holds what a message for each of them would."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.timing import OUTCOMES, STAGES, FrameTiming, NodeReport
from ad_compressed_perception.messages.timing import reports_of, to_message

FINITE = st.floats(-1e6, 1e6)
TIMINGS = st.builds(
    FrameTiming,
    stamp_ns=st.integers(0, 2**31 * 10**9 - 1),
    outcome=st.sampled_from(OUTCOMES),
    stages_ms=st.dictionaries(st.sampled_from(STAGES), FINITE),
    end_to_end_ms=FINITE,
    reason=st.sampled_from(["", "truncated JPEG", "a: b: c", ": odd"]),
)
COUNTS = st.fixed_dictionaries(dict.fromkeys(OUTCOMES, st.integers(0, 10**9)))
IDENTITY = {
    "node": "/car/detection", "task": "detection", "model": "m", "variant": "int8", "backend": "onnxruntime",
    "requested_provider": "cpu", "provider": "CPUExecutionProvider", "precision": "int8",
}  # fmt: skip


def report_of(timing: FrameTiming, counts: dict, pending: int, waited_ms: float = 0.0) -> NodeReport:
    received = sum(counts.values()) + pending
    return NodeReport(timing=timing, received=received, counts=counts, waited_ms=waited_ms, **IDENTITY)


REPORTS = st.builds(report_of, TIMINGS, COUNTS, st.integers(0, 3), st.floats(0.0, 500.0))


@given(st.lists(REPORTS, min_size=1, max_size=6))
def test_a_batch_holds_every_report_to_the_last_digit(reports: list[NodeReport]) -> None:
    """In any order of counters: two threads of a node may complete frames at the same time."""
    message = to_message(*reports)
    assert message.header.stamp == Time(
        sec=reports[-1].timing.stamp_ns // 10**9, nanosec=reports[-1].timing.stamp_ns % 10**9
    )
    assert len(message.status) == len(reports)
    assert reports_of(deserialize_message(serialize_message(message), DiagnosticArray)) == reports


def test_the_identity_stands_once_in_a_message() -> None:
    one = report_of(FrameTiming(5, "processed", {"infer": 1.0}, 1.0), dict.fromkeys(OUTCOMES, 1), 0)
    keys = [{pair.key for pair in status.values} for status in to_message(one, one, one).status]
    assert [set(IDENTITY) - {"node"} <= each for each in keys] == [False, False, True]
    assert len(keys[0]) < len(keys[2]) / 3


def test_messages_as_they_were_recorded_before_are_read() -> None:
    """One status whose frame's stamp is the header's; written out here as an earlier version sent it."""
    pairs = {key: value for key, value in IDENTITY.items() if key != "node"}
    pairs |= {"outcome": "failed", "reason": "why", "received": "9", "processed": "5", "dropped_stale": "1"}
    pairs |= {"dropped_busy": "2", "failed": "1", "infer_ms": "2.5", "end_to_end_ms": "7.25"}
    values = [KeyValue(key=key, value=value) for key, value in pairs.items()]
    status = DiagnosticStatus(name="/car/detection", message="failed: why", values=values)
    message = DiagnosticArray(status=[status])
    message.header.stamp = Time(sec=3, nanosec=4)
    (report,) = reports_of(message)
    assert report == report_of(
        FrameTiming(3_000_000_004, "failed", {"infer": 2.5}, 7.25, "why"),
        {"processed": 5, "dropped_stale": 1, "dropped_busy": 2, "failed": 1},
        0,
    )


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        (0, "counts", "1 9 0 0 0"),  # more processed than received
        (0, "counts", "9 1 0 0"),
        (0, "stamp_ns", "soon"),
        (0, "waited_ms", "nan"),  # would make every later time of the monitor unknown
        (0, "waited_ms", "-1.0"),
        (1, "waited_ms", "inf"),
        (1, "processed", "99"),
    ],
)
def test_one_impossible_frame_refuses_its_message(place: int, key: str, value: str) -> None:
    timing = FrameTiming(5, "processed", {"infer": 1.0}, 1.0)
    one = report_of(timing, dict.fromkeys(OUTCOMES, 1), 0, 3.0)
    message = to_message(one, replace(one, received=5))
    assert len(reports_of(message)) == 2
    next(pair for pair in message.status[place].values if pair.key == key).value = value
    with pytest.raises(ResultError, match="not a timing message"):
        reports_of(message)
