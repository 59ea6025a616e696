# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump, recordings that begin again, observers that come and go, memory that grows.

None of them costs a frame, mixes up results or is passed over in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.core.timing import NodeReport
from ad_compressed_perception.messages.timing import ns_to_stamp, reports_of
from ad_compressed_perception.metrics import clock_steps
from ad_compressed_perception.nodes.detection_node import DetectionNode
from ad_compressed_perception.nodes.qos import TIMING_QOS
from support.faulty_backend import install_faulty_backend
from support.models import draw_scene, write_detector
from support.ros import NodeProcess, Recorder, as_ns, image_message, node_process

pytestmark = pytest.mark.ros
NODE = "/detection"
START_NS = 1_700_000_000 * 10**9
SECOND_NS = 10**9


class Drive(Recorder):
    """A camera whose frames are sent one by one, each when the one before is reported."""

    def __init__(self, context: object) -> None:
        super().__init__(context, "test_drive")
        self._camera = self.node.create_publisher(Image, "/image", 10)
        self._clock = self.node.create_publisher(Clock, "/clock", 10)
        self.listen(f"{NODE}/timing", DiagnosticArray, TIMING_QOS)
        self.listen(f"{NODE}/detections", Detection2DArray)
        self.listen("/diagnostics", DiagnosticArray)

    def reports(self) -> list[NodeReport]:
        return [each for message in self.received[f"{NODE}/timing"] for each in reports_of(message)]

    def set_clock(self, now_ns: int) -> None:
        self._clock.publish(Clock(clock=ns_to_stamp(now_ns)))

    def begin(self, *, with_clock: bool = False) -> None:
        """Wait until frames arrive and are answered; their stamp is not used again."""

        def send() -> None:
            if with_clock:
                self.set_clock(START_NS)
            self._camera.publish(image_message(draw_scene(0), START_NS - 1))

        self.wait_for(lambda: self.reports() and self.received[f"{NODE}/detections"], send)
        settled = time.monotonic() + 1.0  # frames and results of that may still be on their way
        self.wait_for(lambda: time.monotonic() > settled and self._is_quiet())
        self.received[f"{NODE}/timing"].clear()
        self.received[f"{NODE}/detections"].clear()

    def _is_quiet(self) -> bool:
        last = self.reports()[-1]
        return last.received == sum(last.counts.values())

    def frame(self, stamp_ns: int, scene: int) -> NodeReport:
        """Send a frame; return its report."""
        before = len(self.reports())
        self._camera.publish(image_message(draw_scene(scene), stamp_ns))
        self.wait_for(lambda: len(self.reports()) > before)
        report = self.reports()[before]
        assert report.timing.stamp_ns == stamp_ns
        return report

    def result(self, number: int) -> Detection2DArray:
        found: Detection2DArray = self.wait_for(
            lambda: (
                len(self.received[f"{NODE}/detections"]) > number
                and self.received[f"{NODE}/detections"][number]
            )
        )
        return found

    def status(self) -> DiagnosticStatus | None:
        found = [s for m in self.received["/diagnostics"] for s in m.status if s.name == NODE]
        return found[-1] if found else None


@pytest.fixture
def drive(ros_context: object) -> Iterator[Drive]:
    made = Drive(ros_context)
    yield made
    made.close()


Start = Callable[..., NodeProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a detection node with parameters."""
    running = []

    def begin(**parameters: object) -> NodeProcess:
        model = write_detector(tmp_path / "model")
        given = {"model": model, "timing_period_s": 0.0, "diagnostics_period_s": 0.2} | parameters
        arguments = [word for key, value in given.items() for word in ("-p", f"{key}:={value}")]
        context = node_process("detection_node", *arguments, log=tmp_path / "log")
        running.append(context)
        return context.__enter__()

    yield begin
    for context in running:
        context.__exit__(None, None, None)


def test_a_clock_that_jumps_back_and_forth_and_stops_costs_no_frame(drive: Drive, start: Start) -> None:
    """Each jump by hours; the stamps keep their pace, so ages are unknown, old or of the future."""
    node = start(use_sim_time="true")
    drive.begin(with_clock=True)
    hour_ns = 3600 * SECOND_NS
    clocks = [0, 1, -hour_ns, hour_ns, hour_ns, hour_ns, -2 * hour_ns, 5, 0, 30 * hour_ns, 2]

    for number, offset_ns in enumerate(clocks):
        drive.set_clock(START_NS + offset_ns)
        report = drive.frame(START_NS + number, scene=number)
        assert report.timing.outcome == "processed", report.timing.reason
        assert as_ns(drive.result(number).header.stamp) == START_NS + number

    assert node.stop() == 0, node.log
    assert "Traceback" not in node.log


@pytest.fixture
def spinning_node(ros_context: Any, tmp_path: Path) -> Iterator[DetectionNode]:
    """A node on simulated time in this process, with a limit of ages."""
    values = {
        "model": str(write_detector(tmp_path / "model")),
        "timing_period_s": 0.0,
        "use_sim_time": True,
        "max_age_ms": 1000.0,
    }
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = DetectionNode(context=ros_context, parameter_overrides=overrides)
    executor = SingleThreadedExecutor(context=ros_context)
    executor.add_node(node)
    thread = Thread(target=executor.spin, daemon=True)
    thread.start()
    assert node.autostart()
    yield node
    executor.shutdown()
    thread.join(30.0)
    node.close()
    node.destroy_node()


@pytest.mark.usefixtures("spinning_node")
def test_an_age_limit_holds_again_after_the_clock_has_jumped(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock an hour ahead makes every frame an old one; back again they are answered as before."""
    monkeypatch.setattr(clock_steps, "IN_FLIGHT_S", 1.0)  # of frames from before the step
    drive.begin(with_clock=True)
    outcomes = []
    for number, ahead_s in enumerate((0, 3600, 0)):
        now_ns = START_NS + ahead_s * SECOND_NS
        drive.wait_for(
            lambda is_late=ahead_s > 0, scene=number: (
                is_late == (drive.frame(START_NS, scene).timing.outcome == "dropped_stale")
            ),
            lambda now_ns=now_ns: drive.set_clock(now_ns),
        )
        outcomes.append(drive.frame(START_NS, number).timing.outcome)

    assert outcomes == ["processed", "dropped_stale", "processed"]


def test_a_recording_that_begins_again_gives_the_same_results_for_the_same_stamps(
    drive: Drive, start: Start
) -> None:
    """Three rounds of one recording; no result is one of the frame with that stamp in another place."""
    node = start()
    drive.begin()
    frames = [(START_NS + number * SECOND_NS // 20, number) for number in range(8)]

    rounds = []
    for turn in range(3):
        boxes = []
        for index, (stamp_ns, scene) in enumerate(frames):
            assert drive.frame(stamp_ns, scene).timing.outcome == "processed"
            result = drive.result(turn * len(frames) + index)
            assert as_ns(result.header.stamp) == stamp_ns
            boxes.append(
                [
                    (each.bbox.center.position.x, each.results[0].hypothesis.score)
                    for each in result.detections
                ]
            )
        rounds.append(boxes)

    assert rounds[0] == rounds[1] == rounds[2]
    assert len({str(boxes) for boxes in rounds[0]}) > 1  # the scenes differ, or equality would mean nothing
    last = drive.reports()[-1]
    assert last.received == sum(last.counts.values())
    assert node.stop() == 0, node.log


def test_observers_that_come_and_go_cost_no_frame(drive: Drive, start: Start) -> None:
    """The overlay is drawn for a subscriber only, who may leave while it is drawn."""
    node = start()
    drive.begin()
    images: list[Image] = []
    for number in range(20):
        watcher = None
        if number % 2:
            before = len(images)
            watcher = drive.node.create_subscription(Image, f"{NODE}/overlay", images.append, 1)
        if number == 11:  # once it is seen to be drawn; otherwise discovery may take longer than a frame
            stamp_ns = START_NS - SECOND_NS

            def look(before: int = before, stamp_ns: int = stamp_ns) -> bool:
                drive.frame(stamp_ns, 0)
                return len(images) > before

            drive.wait_for(look)
        assert drive.frame(START_NS + number, number).timing.outcome == "processed"
        if watcher is not None:
            drive.node.destroy_subscription(watcher)

    assert images
    last = drive.reports()[-1]
    assert last.received == sum(last.counts.values()) == last.counts["processed"]
    assert node.stop() == 0, node.log


def test_memory_that_grows_is_reported(
    drive: Drive, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed before: a runtime that leaks was seen by nobody until the system ended the process."""
    install_faulty_backend(tmp_path / "site", monkeypatch)
    node = start(backend="faulty", max_memory_mb="1.0")
    drive.begin()

    def figure(name: str) -> float:
        status = drive.status()
        values = {} if status is None else {value.key: value.value for value in status.values}
        return float(values.get(name, "nan"))

    used_mb = drive.wait_for(lambda: figure("memory_mb") > 20.0 and figure("memory_mb"))
    drive.wait_for(
        lambda: (
            (status := drive.status()) is not None
            and status.level >= DiagnosticStatus.WARN
            and "(max_memory_mb 1)" in status.message
        )
    )
    (tmp_path / "model" / "infer").write_text("eat 40")

    numbers = iter(range(1000))
    drive.wait_for(
        lambda: figure("memory_growth_mb") > 100.0 and figure("memory_mb") > used_mb + 100.0,
        lambda: drive.frame(START_NS + next(numbers), 0),
    )

    assert node.stop() == 0, node.log


def test_a_monitor_that_ends_and_returns_disturbs_no_node_and_counts_on(
    drive: Drive, start: Start, tmp_path: Path
) -> None:
    node = start()
    drive.begin()
    monitoring = ["-p", f"detection.baseline:={NODE}", "-p", "publish_period_s:=0.2"]
    numbers = iter(range(10_000))

    def rate_of_the_monitor() -> bool:
        name = f"/latency_monitor: detection/detection {NODE}"
        return any(
            status.name == name and "no message yet" not in status.message
            for message in drive.received["/diagnostics"]
            for status in message.status
        )

    for number in range(2):
        drive.received["/diagnostics"].clear()
        with node_process("latency_monitor_node", *monitoring, log=tmp_path / f"monitor{number}") as monitor:
            drive.wait_for(rate_of_the_monitor, lambda: drive.frame(START_NS + next(numbers), 0))
            monitor.process.kill()
            monitor.wait()
        time.sleep(0.1)
        assert drive.frame(START_NS + next(numbers), 0).timing.outcome == "processed"

    last = drive.reports()[-1]
    assert last.received == sum(last.counts.values()) == last.counts["processed"]
    assert node.stop() == 0, node.log


def test_a_result_of_later_in_the_recording_is_not_held_when_it_begins_again(
    drive: Drive, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model fails from here on: the last result is held for the next frame, and not for one before it."""
    install_faulty_backend(tmp_path / "site", monkeypatch)
    node = start(backend="faulty", hold_last_ms="10000.0")
    drive.begin()
    assert drive.frame(START_NS, 3).timing.outcome == "processed"
    (tmp_path / "model" / "infer").write_text("raise")

    held = drive.frame(START_NS + SECOND_NS // 20, 4)
    back = drive.frame(START_NS - SECOND_NS, 5)
    (tmp_path / "model" / "infer").unlink()
    after = drive.frame(START_NS - SECOND_NS + 1, 6)

    assert [each.timing.outcome for each in (held, back, after)] == ["failed", "failed", "processed"]
    assert "is held" in held.timing.reason and "no model answered" in back.timing.reason
    drive.result(2)
    stamps_ns = [as_ns(each.header.stamp) for each in drive.received[f"{NODE}/detections"]]
    assert stamps_ns == [START_NS, START_NS, START_NS - SECOND_NS + 1]
    assert node.stop() == 0, node.log
