# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The road camera as a process: consistent stamps, and drive commands."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from ad_compressed_perception.image.decode import decode_image
from ad_compressed_perception.messages import detection
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_road_simulation.world.scene import LABELS, MASK_LABELS
from support.ros import Recorder, as_ns, node_process

pytestmark = pytest.mark.ros
WIDTH, HEIGHT = 160, 90
SMALL = ["-p", f"width:={WIDTH}", "-p", f"height:={HEIGHT}"]
STREAMS = {
    "image": Image,
    "image/compressed": CompressedImage,
    "camera_info": CameraInfo,
    "odometry": Odometry,
    "ground_truth/detections": Detection2DArray,
    "ground_truth/mask": Image,
    "ground_truth/trajectory": PathMessage,
}


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    recorder = Recorder(ros_context)
    yield recorder
    recorder.close()


def test_all_messages_of_a_frame_have_the_same_stamp(tmp_path: Path, recorder: Recorder) -> None:
    for name, kind in STREAMS.items():
        recorder.listen(f"/road_camera/{name}", kind)
    for name in ("detections", "mask"):
        recorder.listen(f"/road_camera/ground_truth/{name}/label_info", LabelInfo, LATCHED_QOS)

    def together() -> list[int]:
        """Return the stamps that were received on every topic."""
        stamps = [
            {as_ns(m.header.stamp) for m in recorder.received[f"/road_camera/{name}"]} for name in STREAMS
        ]
        return sorted(set.intersection(*stamps))

    given = [*SMALL, "-p", "transport:=both", "-p", "rate_hz:=20.0", "-p", "seed:=3"]
    with node_process("road_camera_node", *given, log=tmp_path / "log") as node:
        stamps = recorder.wait_for(lambda: together() if len(together()) >= 5 else [])
        recorder.wait_for(
            lambda: all(
                recorder.received[f"/road_camera/ground_truth/{n}/label_info"] for n in ("detections", "mask")
            )
        )
        assert node.stop(signal.SIGINT) == 0
        assert "Traceback" not in node.log

    def of(name: str) -> dict[int, object]:
        return {as_ns(m.header.stamp): m for m in recorder.received[f"/road_camera/{name}"]}

    assert stamps == sorted(set(stamps))
    for stamp in stamps:
        image, info, odometry, path = (
            of(name)[stamp] for name in ("image", "camera_info", "odometry", "ground_truth/trajectory")
        )
        assert decode_image(image).pixels.shape == (HEIGHT, WIDTH, 3)
        assert decode_image(of("image/compressed")[stamp]).pixels.shape == (HEIGHT, WIDTH, 3)
        assert (info.width, info.height) == (WIDTH, HEIGHT)
        assert (info.k[2], info.k[5]) == ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
        assert image.header.frame_id == info.header.frame_id == "camera_front_optical_frame"
        assert (odometry.header.frame_id, odometry.child_frame_id) == ("odom", "base_link")
        assert odometry.twist.twist.linear.x > 0.0
        assert path.header.frame_id == "base_link"
        assert len(path.poses) == 20
        mask = decode_image(of("ground_truth/mask")[stamp]).pixels
        assert mask.shape == (HEIGHT, WIDTH)
        assert int(mask.max()) < len(MASK_LABELS)
        assert mask[HEIGHT - 1, WIDTH // 2] == MASK_LABELS.index("road")
        boxes = detection.from_message(of("ground_truth/detections")[stamp], LABELS).boxes_xyxy
        assert (boxes >= 0.0).all()
        assert (boxes[:, [0, 2]] <= WIDTH).all()
        assert (boxes[:, [1, 3]] <= HEIGHT).all()
    [labels] = recorder.received["/road_camera/ground_truth/mask/label_info"]
    assert detection.labels_of(labels) == MASK_LABELS


def test_the_car_follows_commands_and_brakes_after_a_timeout(tmp_path: Path, recorder: Recorder) -> None:
    """3 m/s in a left bend of 20 m radius; then the commands stop."""
    recorder.listen("/road_camera/odometry", Odometry)
    recorder.listen("/diagnostics", DiagnosticArray)
    driver = recorder.node.create_publisher(TwistStamped, "/road_camera/drive_command", 1)
    command = TwistStamped()
    command.twist.linear.x, command.twist.angular.z = 3.0, 3.0 / 20.0

    def moves(speed: float, yaw_rate: float, within: float) -> bool:
        if not recorder.received["/road_camera/odometry"]:
            return False
        twist = recorder.received["/road_camera/odometry"][-1].twist.twist
        return abs(twist.linear.x - speed) < within and abs(twist.angular.z - yaw_rate) < within

    given = [*SMALL, "-p", "drive:=command", "-p", "rate_hz:=20.0", "-p", "diagnostics_period_s:=0.1"]
    with node_process("road_camera_node", *given, log=tmp_path / "log") as node:
        recorder.wait_for(lambda: moves(3.0, 0.15, 0.03), lambda: driver.publish(command))
        recorder.wait_for(lambda: moves(0.0, 0.0, 0.01))
        warnings = recorder.wait_for(
            lambda: [
                s
                for m in recorder.received["/diagnostics"]
                for s in m.status
                if "no drive command" in s.message
            ]
        )
        assert warnings[-1].level == DiagnosticStatus.WARN
        assert node.stop() == 0
        assert node.log.count("no drive command for 1 s") == 1


@pytest.mark.parametrize("broken", [math.nan, math.inf, 1e6])
def test_broken_commands_are_not_applied(tmp_path: Path, recorder: Recorder, broken: float) -> None:
    """Only broken ones arrive any more: reported, and the car brakes as after silence."""
    recorder.listen("/road_camera/odometry", Odometry)
    recorder.listen("/diagnostics", DiagnosticArray)
    driver = recorder.node.create_publisher(TwistStamped, "/road_camera/drive_command", 1)
    command = TwistStamped()
    command.twist.linear.x = 3.0

    def speed() -> float:
        received = recorder.received["/road_camera/odometry"]
        return float(received[-1].twist.twist.linear.x) if received else -1.0

    def warned() -> list[DiagnosticStatus]:
        statuses = [s for m in recorder.received["/diagnostics"] for s in m.status]
        return [s for s in statuses if "drive command ignored" in s.message]

    given = [*SMALL, "-p", "drive:=command", "-p", "rate_hz:=20.0", "-p", "diagnostics_period_s:=0.1"]
    with node_process("road_camera_node", *given, log=tmp_path / "log") as node:
        recorder.wait_for(lambda: abs(speed() - 3.0) < 0.03, lambda: driver.publish(command))
        before = len(recorder.received["/road_camera/odometry"])
        command.twist.linear.x = broken
        recorder.wait_for(lambda: warned() and speed() == 0.0, lambda: driver.publish(command))
        assert warned()[-1].level == DiagnosticStatus.WARN
        since = recorder.received["/road_camera/odometry"][before:]
        assert max(message.twist.twist.linear.x for message in since) < 3.1
        assert node.stop() == 0
        assert "Traceback" not in node.log


def test_lane_departures_are_counted(tmp_path: Path, recorder: Recorder) -> None:
    recorder.listen("/diagnostics", DiagnosticArray)
    driver = recorder.node.create_publisher(TwistStamped, "/road_camera/drive_command", 1)
    command = TwistStamped()
    command.twist.linear.x, command.twist.angular.z = 8.0, 8.0 / 15.0

    def departures() -> int:
        found = [
            {pair.key: pair.value for pair in status.values}
            for message in recorder.received["/diagnostics"]
            for status in message.status
        ]
        return max((int(values["departure"]) for values in found), default=0)

    given = [*SMALL, "-p", "drive:=command", "-p", "traffic:=0.0", "-p", "rate_hz:=20.0"]
    with node_process("road_camera_node", *given, log=tmp_path / "log") as node:
        recorder.wait_for(departures, lambda: driver.publish(command))
        assert "departure at" in node.log
        assert node.stop(signal.SIGTERM) == 0


def test_stamps_are_in_simulated_time(tmp_path: Path, recorder: Recorder) -> None:
    """Without /clock nothing is published; every stamp is from /clock."""
    recorder.listen("/road_camera/camera_info", CameraInfo)
    recorder.listen("/diagnostics", DiagnosticArray)
    clock = recorder.node.create_publisher(Clock, "/clock", 1)
    now = Clock()
    now.clock.sec = 1000

    def tick() -> None:
        now.clock.sec += 1
        clock.publish(now)

    given = [*SMALL, "-p", "use_sim_time:=true", "-p", "diagnostics_period_s:=0.2"]
    with node_process("road_camera_node", *given, log=tmp_path / "log") as node:
        recorder.wait_for(
            lambda: [
                s
                for m in recorder.received["/diagnostics"]
                for s in m.status
                if "/clock has not come" in s.message
            ]
        )
        assert not recorder.received["/road_camera/camera_info"]
        recorder.wait_for(lambda: len(recorder.received["/road_camera/camera_info"]) >= 2, tick)
        assert node.stop() == 0
    stamps = [as_ns(message.header.stamp) for message in recorder.received["/road_camera/camera_info"]]
    assert all(stamp % 10**9 == 0 and 1000 < stamp // 10**9 <= now.clock.sec for stamp in stamps)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-p", "weather:=hail"], "weather"),
        (["-p", "route_length_m:=100.0"], "route_length_m"),
    ],
)
def test_invalid_parameters_are_reported_in_one_line(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    with node_process("road_camera_node", *arguments, log=tmp_path / "log") as node:
        assert node.wait() == 1
        errors = [line for line in node.log.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert reason in errors[0]
        assert "Traceback" not in node.log
