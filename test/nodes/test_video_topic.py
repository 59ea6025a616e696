# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node on a topic of H.264 packets: it decodes what it drops, and waits for a keyframe after a loss."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage

from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.messages.timing import reports_of
from support.models import write_segmenter
from support.ros import Recorder, node_process
from support.videos import packets_of

pytestmark = pytest.mark.ros
TIMING = "/segmentation/timing"


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def test_a_burst_is_decoded_in_order_and_a_lost_packet_is_waited_out(
    tmp_path: Path, recorder: Recorder
) -> None:
    packets = packets_of("h264", 40, gop=20)
    publisher = recorder.node.create_publisher(CompressedImage, "/image/compressed", QoSProfile(depth=50))
    recorder.listen(TIMING, DiagnosticArray, QoSProfile(depth=200))

    def publish(index: int) -> None:
        message = CompressedImage(format="h264", data=array("B", packets[index]))
        message.header.stamp.sec = 1 + index
        publisher.publish(message)

    def done() -> dict[int, FrameTiming]:
        timings = [one for batch in recorder.received[TIMING] for one in timings_of(batch)]
        return {timing.stamp_ns // 10**9 - 1: timing for timing in timings}

    arguments = ["-p", f"model:={write_segmenter(tmp_path / 'model')}", "-p", "transport:=compressed"]
    arguments += ["-p", "qos_reliability:=reliable", "-p", "qos_depth:=50", "-p", "timing_period_s:=0.0"]
    with node_process("segmentation_node", *arguments, log=tmp_path / "log") as node:
        recorder.wait_for(publisher.get_subscription_count)
        # By its answer the node's publisher of timings has found its subscription, too.
        recorder.call(GetState, "/segmentation/get_state", GetState.Request())
        for index in range(15):  # at once: most are displaced by newer ones
            publish(index)
        recorder.wait_for(lambda: len(done()) == 15)
        assert {timing.outcome for timing in done().values()} <= {"processed", "dropped_busy"}
        assert done()[14].outcome == "processed"
        for index in range(16, 22):  # one after the other; 15 is lost, 20 is a keyframe
            publish(index)
            recorder.wait_for(lambda index=index: index in done())
        assert [done()[index].outcome for index in range(16, 22)] == ["failed"] * 4 + ["processed"] * 2
        assert "packets before it were lost" in done()[16].reason
        assert "no keyframe yet since" in done()[17].reason
        assert done()[21].stages_ms["decode"] > 0
        assert "Traceback" not in node.log


def timings_of(batch: DiagnosticArray) -> list[FrameTiming]:
    return [report.timing for report in reports_of(batch)]
