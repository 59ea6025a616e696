# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node whose model takes earlier frames and the vehicle's speed: what is missing fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from sensor_msgs.msg import Image

from ad_compressed_perception.messages.timing import ns_to_stamp, reports_of
from support.ros import Recorder, as_ns, image_message, node_process
from support.several_heads import gray_image, write_inputs_planner

pytestmark = pytest.mark.ros
START_NS, PERIOD_NS = 1_000_000_000_000, 50_000_000


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


class Drive:
    """Sends frames one after the other, each once the one before was reported."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.camera = recorder.node.create_publisher(Image, "/image", 1)
        self.speed = recorder.node.create_publisher(Odometry, "/vehicle/odometry", 10)
        recorder.listen("/planning/timing", DiagnosticArray)
        recorder.listen("/planning/trajectory", PathMessage)

    def wait_until_received(self) -> None:
        """Send frames of long before until the node reports one: a frame of the test is sent only once."""
        stamp_ns = START_NS - 1000 * PERIOD_NS
        image = image_message(gray_image(0), stamp_ns)
        self.recorder.wait_for(lambda: stamp_ns in self.reports(), lambda: self.camera.publish(image))

    def reports(self) -> dict[int, tuple[str, str]]:
        """Return stamp to outcome and reason."""
        messages = self.recorder.received["/planning/timing"]
        found = [report.timing for message in messages for report in reports_of(message)]
        return {one.stamp_ns: (one.outcome, one.reason) for one in found}

    def reports_of(self, stamp_ns: int) -> list[tuple[str, str]]:
        """Return outcome and reason of every report of a stamp."""
        messages = self.recorder.received["/planning/timing"]
        found = [report.timing for message in messages for report in reports_of(message)]
        return [(one.outcome, one.reason) for one in found if one.stamp_ns == stamp_ns]

    def next_place(self) -> int:
        """Return the place after the last one reported."""
        return (max(self.reports()) - START_NS) // PERIOD_NS + 1

    def frame(self, place: int, speed_mps: float | None = None) -> tuple[str, str]:
        """Send the frame of a place, with odometry of its stamp, until it is reported."""
        stamp_ns = START_NS + place * PERIOD_NS
        if speed_mps is not None:
            message = Odometry()
            message.header.stamp = ns_to_stamp(stamp_ns - 1000)
            message.twist.twist.linear.x = speed_mps
            message.pose.pose.orientation.w = 1.0
            self.speed.publish(message)
        image = image_message(gray_image(place), stamp_ns)
        sent: list[int] = []

        def send() -> None:
            if not sent:
                self.camera.publish(image)
                sent.append(1)

        self.recorder.wait_for(lambda: stamp_ns in self.reports(), send)
        return self.reports()[stamp_ns]


def test_what_is_missing_fails_the_frame_and_a_gap_begins_anew(tmp_path: Path, recorder: Recorder) -> None:
    model = write_inputs_planner(tmp_path / "model")
    drive = Drive(recorder)
    arguments = ["-p", f"model:={model}", "-p", "use_odometry:=false", "-r", "odometry:=/vehicle/odometry"]
    arguments += ["-p", "timing_period_s:=0.0"]
    with node_process("planning_node", *arguments, log=tmp_path / "log") as node:
        subscribed = ("/image", "/vehicle/odometry")
        recorder.wait_for(lambda: all(recorder.node.count_subscribers(topic) for topic in subscribed))
        drive.wait_until_received()
        outcome, reason = drive.frame(0)
        assert outcome == "failed"
        assert "input 'previous': 2 earlier images are needed, 0 follow" in reason
        drive.frame(1)
        outcome, reason = drive.frame(2)
        assert (outcome, "no message on /vehicle/odometry yet" in reason) == ("failed", True)
        recorder.wait_for(lambda: drive.frame(drive.next_place(), 2.0)[0] == "processed")
        place = drive.next_place()
        assert drive.frame(place, 2.0)[0] == "processed"
        trajectory = recorder.wait_for(lambda: recorder.received["/planning/trajectory"])[-1]
        assert as_ns(trajectory.header.stamp) >= START_NS
        # 1 s later the frames before no longer count; the speed's message is of the frame.
        outcome, reason = drive.frame(place + 20, 2.0)
        assert outcome == "failed"
        assert "2 earlier images are needed, 0 follow each other by at most 0.2 s" in reason
        # Without new odometry its last value grows too old.
        outcomes = [drive.frame(place + 21 + step) for step in range(8)]
        assert outcomes[1][0] == "processed"
        assert "older than the frame, max_age_s is 0.3" in outcomes[-1][1]
        assert node.stop() == 0
        assert "Traceback" not in node.log


def test_a_frame_that_comes_twice_is_not_its_own_predecessor(tmp_path: Path, recorder: Recorder) -> None:
    """A driver that repeats an image, or a frame that the standby gets after the primary, breaks no history.

    The model takes two earlier frames; of three that are kept, the newest one is the frame itself.
    """
    model = write_inputs_planner(tmp_path / "model", speed={"source": "constant", "value": 1.0})
    drive = Drive(recorder)
    arguments = ["-p", f"model:={model}", "-p", "use_odometry:=false", "-p", "timing_period_s:=0.0"]
    with node_process("planning_node", *arguments, log=tmp_path / "log") as node:
        recorder.wait_for(lambda: recorder.node.count_subscribers("/image"))
        drive.wait_until_received()
        outcomes = {place: drive.frame(place)[0] for place in range(4)}
        assert outcomes == {0: "failed", 1: "failed", 2: "processed", 3: "processed"}
        stamp_ns = START_NS + 3 * PERIOD_NS
        reported = drive.reports_of(stamp_ns)
        for count in (2, 3):
            drive.camera.publish(image_message(gray_image(3), stamp_ns))
            reported = recorder.wait_for(
                lambda n=count: len(found := drive.reports_of(stamp_ns)) == n and found
            )
        assert reported == [("processed", "")] * 3
        assert drive.frame(4) == ("processed", "")
        assert node.stop() == 0
