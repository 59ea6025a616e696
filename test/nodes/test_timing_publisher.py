# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several frames a timing message: none is lost, and none waits longer than the period and a look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray

from ad_compressed_perception.core.timing import FrameCounters, FrameTiming, Outcome
from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.monitor.accounts import AnsweredBy
from ad_compressed_perception.nodes.qos import TIMING_QOS
from ad_compressed_perception.nodes.timing_publisher import TimingPublisher
from support.ros import Recorder

pytestmark = pytest.mark.ros
TOPIC = "/node/timing"
TEXTS = {
    "model": "m", "variant": "v", "backend": "b", "requested_provider": "cpu", "provider": "cpu",
    "precision": "fp32",
}  # fmt: skip


@pytest.fixture
def recorder(ros_context: Any) -> Iterator[Recorder]:
    recorder = Recorder(ros_context)
    yield recorder
    recorder.close()


class Source:
    """A node's frames, numbered by their stamps."""

    def __init__(self, recorder: Recorder, period_s: float) -> None:
        self.recorder = recorder
        self.publisher = TimingPublisher(recorder.node, "planning", period_s, topic=TOPIC, name="/node")
        self.publisher.texts = TEXTS
        self.counters = FrameCounters()
        recorder.listen(TOPIC, DiagnosticArray, TIMING_QOS)
        recorder.wait_for(lambda: recorder.node.count_subscribers(TOPIC))
        recorder.wait_for(lambda: self.publisher._publisher.get_subscription_count())

    def add(self, outcome: Outcome = "processed") -> None:
        self.counters.received += 1
        self.counters.complete(outcome)
        timing = FrameTiming(self.counters.received, outcome, {"infer": 1.0}, 1.0)
        self.publisher.add(timing, FrameCounters(self.counters.received, dict(self.counters.counts)))

    def frames(self) -> list[list[int]]:
        """Return the stamps of the messages that came."""
        return [
            [report.timing.stamp_ns for report in reports_of(message)]
            for message in self.recorder.received[TOPIC]
        ]


def test_a_frame_that_nobody_answered_says_so_in_one_message_with_others(recorder: Recorder) -> None:
    """Failed before: its level was primary."""
    source = Source(recorder, 3600.0)
    for outcome in ("processed", "dropped_busy", "processed", "dropped_stale"):
        source.add(outcome)
    source.publisher.flush()
    recorder.wait_for(source.frames)
    assert source.frames() == [[1, 2, 3, 4]]
    reports = reports_of(recorder.received[TOPIC][0])
    assert [report.level for report in reports] == ["primary", "none", "primary", "none"]
    # The monitor knows by it whose the frame would have been.
    assert all(AnsweredBy.of(report).is_primary for report in reports)


def test_frames_of_a_period_come_in_one_message_with_their_own_counters(recorder: Recorder) -> None:
    """Period of an hour: nothing is published until flush; then all three in one message."""
    source = Source(recorder, 3600.0)
    for _ in range(3):
        source.add()
    source.publisher.publish_due()
    assert not recorder.wait_for(lambda: [source.frames()])[0]
    source.publisher.flush()
    recorder.wait_for(source.frames)
    assert source.frames() == [[1, 2, 3]]
    reports = reports_of(recorder.received[TOPIC][0])
    assert [report.received for report in reports] == [1, 2, 3]
    assert [report.counts["processed"] for report in reports] == [1, 2, 3]
    assert reports[0].waited_ms >= reports[2].waited_ms >= 0.0
    source.publisher.flush()
    source.add()
    source.publisher.destroy()  # closes with what waits
    recorder.wait_for(lambda: len(source.frames()) == 2)
    assert source.frames() == [[1, 2, 3], [4]]


def test_a_failed_frame_is_published_at_once_with_those_that_wait(recorder: Recorder) -> None:
    source = Source(recorder, 3600.0)
    source.add()
    source.add("failed")
    recorder.wait_for(source.frames)
    assert source.frames() == [[1, 2]]


def test_a_frame_that_nobody_follows_is_published_when_it_is_due(recorder: Recorder) -> None:
    """The node looks ten times a second; else the last frame of a slow camera would wait for the next."""
    source = Source(recorder, 0.2)
    source.add()
    recorder.wait_for(source.frames, source.publisher.publish_due)
    assert source.frames() == [[1]]
    assert reports_of(recorder.received[TOPIC][0])[0].waited_ms >= 200.0


def test_without_a_period_every_frame_is_a_message(recorder: Recorder) -> None:
    source = Source(recorder, 0.0)
    for _ in range(3):
        source.add()
    recorder.wait_for(lambda: len(source.frames()) == 3)
    assert source.frames() == [[1], [2], [3]]
