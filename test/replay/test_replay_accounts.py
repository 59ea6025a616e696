# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a replay may not say over nothing: its counts close, from the recording's index to the results.

Each of these ended with exit code 0, most with "accepted" in the table.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from lifecycle_msgs.srv import GetState
from sensor_msgs.msg import CompressedImage

from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.replay.session import ReplayOptions, run_replay
from ad_compressed_perception.report.schemas.comparison import Report
from support.bags import COMPRESSED_TOPIC, compressed_message, stamps_of, write_messages
from support.models import draw_scene, write_planner
from support.replay import add_variant, write_drive
from support.ros import Recorder, jpeg_message, node_process

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]
CASES = "cases"


def replay_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ad_compressed_perception.cli.main", "replay", *map(str, arguments)]


def run(bag: Path, model: Path, out: Path, *more: object) -> tuple[int, str, Report]:
    """Replay by the command; return exit code, all that it printed, and the report it wrote."""
    done = subprocess.run(
        replay_command(bag, "--models", model, "--out", out, "--work", out / "work", *more),
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    text = " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in text
    return done.returncode, text, Report.model_validate_json((out / "report.json").read_text())


def check_no_acceptance(out: Path, printed: str) -> None:
    """Nowhere in terminal, Markdown or JSON."""
    for text in (printed, *((out / name).read_text() for name in ("report.md", "report.json"))):
        assert "accepted" not in text


def drive_of(path: Path, messages: list[Any], topic: str = COMPRESSED_TOPIC) -> Path:
    rows = list(zip(stamps_of(len(messages)), messages, strict=True))
    return write_messages(path, {topic: ("sensor_msgs/msg/CompressedImage", rows)})


def has_pyav() -> bool:
    return importlib.util.find_spec("av") is not None


def check_h264(code: int, printed: str, out: Path, report: Report, frames: int) -> None:
    assert code == ExitCode.INCOMPLETE
    check_no_acceptance(out, printed)
    both = 2 * frames  # baseline and variant
    line = "holds parameters of the stream|no Annex B packet" if has_pyav() else "H.264 and H.265 need PyAV"
    assert len(re.findall(line, printed)) == 1, "the decoder's line once"
    assert f"{both} x failed: " in printed
    assert f"none of {frames} frames was processed" in printed
    for variant in report.tasks["planning"].variants.values():
        assert (variant.sent, variant.received, variant.failed, variant.processed) == (
            frames,
            frames,
            frames,
            0,
        )
        assert list(variant.reasons.values()) == [frames]
    assert report.problems


def test_a_recording_that_no_node_can_decode_is_no_success(tmp_path: Path) -> None:
    """H.264 in CompressedImage: every frame fails, in every node, for one reason."""
    messages = [compressed_message(draw_scene(index), stamp) for index, stamp in enumerate(stamps_of(4))]
    for message in messages:
        message.format = "h264"
    drive = drive_of(tmp_path / "drive", messages)
    out = tmp_path / "out"
    code, printed, report = run(drive, add_variant(write_planner(tmp_path / "model")), out)
    check_h264(code, printed, out, report, 4)
    assert f"4 x failed: {COMPRESSED_TOPIC}: " not in printed, "counts of both nodes together"


def test_a_recording_of_one_image_shows_no_agreement(tmp_path: Path) -> None:
    """A frozen camera: baseline and variant agree on it at 1.000, twelve times."""
    messages = [compressed_message(draw_scene(0), stamp) for stamp in stamps_of(12)]
    out = tmp_path / "out"
    code, printed, report = run(
        drive_of(tmp_path / "drive", messages), add_variant(write_planner(tmp_path / "model")), out
    )
    assert code == ExitCode.INCOMPLETE
    check_no_acceptance(out, printed)
    assert any("12 frames" in problem and "the same image" in problem for problem in report.problems)


@pytest.mark.parametrize(("limit", "has_problem"), [("10%", True), ("2", False)])
def test_failed_frames_are_reported_and_limited(tmp_path: Path, limit: str, has_problem: bool) -> None:
    """Two of eight frames are cut off: 10 % allow one."""
    messages = [compressed_message(draw_scene(index), stamp) for index, stamp in enumerate(stamps_of(8))]
    for index in (2, 5):
        messages[index].data = messages[index].data[: 40 + index]
    report = run_replay(
        ReplayOptions(
            bag=drive_of(tmp_path / "drive", messages), out=tmp_path / "out", work=tmp_path / "work",
            models=(add_variant(write_planner(tmp_path / "model")),), max_bad_frames=BadFrameLimit(limit),
        )
    )  # fmt: skip
    variant = report.tasks["planning"].variants["int8"]
    assert (variant.sent, variant.processed, variant.failed) == (8, 6, 2)
    assert list(variant.reasons.values()) == [2], "they differ in a number of bytes only"
    assert bool(report.problems) == has_problem
    assert (variant.verdict is None) == has_problem
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "4 x failed: " in markdown
    assert ("max_bad_frames 10% allows 1" in markdown) == has_problem


def test_bytes_that_are_no_message_are_counted_and_not_waited_for(tmp_path: Path) -> None:
    """No subscription would ever take them; each cost the time-out of a frame."""
    good = [compressed_message(draw_scene(index), stamp) for index, stamp in enumerate(stamps_of(8))]
    good[1] = b"\x00\x01\x00\x00\x01"
    good[4] = b"\x00\x01\x00\x00" + bytes(8) + b"\xff" * 40
    report = run_replay(
        ReplayOptions(
            bag=drive_of(tmp_path / "drive", good), out=tmp_path / "out", work=tmp_path / "work",
            models=(write_planner(tmp_path / "model"),), max_bad_frames=BadFrameLimit("2"),
        )
    )  # fmt: skip
    source = report.source
    assert (source.index, source.read, source.frames, sum(source.unreadable.values())) == (8, 8, 6, 2)
    assert report.problems == []


def lie(bag: Path, count: int) -> Path:
    """Let metadata.yaml count something else."""
    path = bag / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    information = document["rosbag2_bagfile_information"]
    information["message_count"] = count
    information["topics_with_message_count"][0]["message_count"] = count
    path.write_text(yaml.safe_dump(document))
    return bag


@pytest.mark.parametrize("count", [0, 12])
def test_metadata_that_counts_other_messages_is_a_problem(tmp_path: Path, count: int) -> None:
    """All that is in the files is replayed, and the contradiction is reported."""
    drive = lie(write_drive(tmp_path / "drive", 6), count)
    out = tmp_path / "out"
    code, printed, report = run(drive, add_variant(write_planner(tmp_path / "model")), out)
    assert code == ExitCode.INCOMPLETE
    check_no_acceptance(out, printed)
    assert f"metadata.yaml counts {count} messages on {COMPRESSED_TOPIC}, the files hold 6" in printed
    assert (report.source.claimed, report.source.index, report.source.frames) == (count, 6, 6)


def test_a_part_of_a_recording_is_accounted_for(tmp_path: Path) -> None:
    report = run_replay(
        ReplayOptions(
            bag=write_drive(tmp_path / "drive", 10), out=tmp_path / "out", work=tmp_path / "work",
            models=(write_planner(tmp_path / "model"),), start_s=0.1, limit=3,
        )
    )  # fmt: skip
    assert (report.source.index, report.source.read, report.source.left_out) == (10, 3, 7)
    assert report.problems == []


# Alone in its world --------------------------------------------------------------------------------


@contextmanager
def stranger(topic_end: str, context: Any) -> Iterator[list[str]]:
    """Publish frames with stamps of today on every topic with such an end, like another user's camera."""
    node = rclpy.create_node("other_users_camera", context=context)
    stop, topics = threading.Event(), []
    publishers: dict[str, Any] = {}

    def work() -> None:
        stamp = 1_900_000_000_000_000_000
        while not stop.wait(0.02):
            for topic, _ in node.get_topic_names_and_types():
                if topic.endswith(topic_end) and topic not in publishers:
                    publishers[topic] = node.create_publisher(CompressedImage, topic, 5)
                    topics.append(topic)
            for publisher in publishers.values():
                stamp += 10_000_000
                publisher.publish(jpeg_message(draw_scene(0), stamp))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield topics
    finally:
        stop.set()
        thread.join()
        node.destroy_node()


def test_frames_of_a_stranger_are_in_no_figure_and_the_stranger_is_named(
    tmp_path: Path, ros_context: Any
) -> None:
    """Somebody publishes on the replay's own topic, found by listing the topics."""
    # Long enough for the stranger to find the topic while it is there, on a busy machine, too.
    frames = 400
    drive = write_drive(tmp_path / "drive", frames)
    out = tmp_path / "out"
    model = add_variant(write_planner(tmp_path / "model"))
    with stranger("/baseline/planning/image/compressed", ros_context) as topics:
        code, printed, report = run(drive, model, out)
    assert len(topics) == 1
    assert code == ExitCode.INCOMPLETE
    check_no_acceptance(out, printed)
    assert "/other_users_camera publishes on /baseline/planning/image/compressed" in printed
    baseline = report.tasks["planning"].variants["baseline"]
    assert baseline.foreign > 0
    assert baseline.sent == frames
    assert baseline.processed <= frames
    assert baseline.end_to_end_ms.count == baseline.processed
    assert report.tasks["planning"].comparison["int8"].pairs <= frames


def test_a_running_car_and_a_second_replay_in_the_same_domain_are_left_alone(
    tmp_path: Path, ros_context: Any
) -> None:
    """The live nodes have the names that replays once used; they stay active, and both replays end right."""
    model = add_variant(write_planner(tmp_path / "model"))
    drive = write_drive(tmp_path / "drive", 12)
    live = node_process(
        "planning_node", "-r", "__node:=planning", "-r", "__ns:=/baseline", "-p", f"model:={model}",
        "-p", "transport:=compressed", log=tmp_path / "live.log",
    )  # fmt: skip
    car = Recorder(ros_context, "car")
    with live as process, stranger("/baseline/image/compressed", ros_context):
        state = GetState.Request()
        assert car.call(GetState, "/baseline/planning/get_state", state).current_state.label == "active"
        replays = [
            subprocess.Popen(
                replay_command(
                    drive, "--models", model, "--out", tmp_path / f"out{index}", "--work", tmp_path / "work"
                ),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for index in range(2)
        ]  # fmt: skip
        printed = [replay.communicate(timeout=200)[0] for replay in replays]
        assert [replay.returncode for replay in replays] == [0, 0], printed
        assert process.process.poll() is None
        assert car.call(GetState, "/baseline/planning/get_state", state).current_state.label == "active"
    car.close()
    for index in range(2):
        report = Report.model_validate_json((tmp_path / f"out{index}" / "report.json").read_text())
        assert report.problems == []
        for variant in report.tasks["planning"].variants.values():
            assert (variant.sent, variant.received, variant.processed, variant.foreign) == (12, 12, 12, 0)


# Recordings of others ------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.slow
def test_the_shared_recordings_of_this_kind(tmp_path: Path, shared_dir: Path) -> None:
    """Split files with other QoS texts are read whole; what nobody can decode is no success."""
    cases = shared_dir / CASES
    if not cases.is_dir():
        pytest.skip("the reference data holds no cases")
    model = add_variant(write_planner(tmp_path / "model"))
    whole = {
        "bag_split_other_qos_text/split_qos": 24,
        "bag_storage_identifier_empty/ident_empty": 24,
        "bag_mixed_json_channel/mixed_json.mcap": 24,
        "bag_recorder_killed/truncated.mcap": 16,
        "image_bayer_as_jpeg/bayer_jpeg.mcap": 24,
    }
    words = {
        "bag_recorder_killed/truncated.mcap": "its recorder was killed",
        "bag_mixed_json_channel/mixed_json.mcap": "/hmi/event (json)",
        "image_bayer_as_jpeg/bayer_jpeg.mcap": "Bayer mosaics",
    }
    h264 = "replay_all_frames_fail_h264/h264.mcap"
    bad = "bag_one_bad_frame_stops_compress/some_bad.mcap"
    with ThreadPoolExecutor(2) as pool:  # a replay mostly waits for its processes
        done = {
            name: pool.submit(run, cases / name, model, tmp_path / Path(name).name)
            for name in (h264, *whole, bad)
        }
        found = {name: each.result() for name, each in done.items()}
    code, printed, report = found[h264]
    check_h264(code, printed, tmp_path / "h264.mcap", report, 24)
    for name, frames in whole.items():
        code, printed, report = found[name]
        assert code == 0, printed
        for variant in report.tasks["planning"].variants.values():
            assert (variant.sent, variant.processed) == (frames, frames), name
        assert words.get(name, "") in printed
    code, printed, report = found[bad]
    assert code == 0
    assert report.tasks["planning"].variants["int8"].processed == 22
    assert printed.count("the message holds no data") == 1


@pytest.mark.shared
def test_the_shared_stranger_beside_a_replay(tmp_path: Path, shared_dir: Path) -> None:
    """It publishes on the topic that replays once had: 450 frames "received" of 24."""
    script = shared_dir / CASES / "replay_foreign_frames" / "foreign.py"
    if not script.is_file():
        pytest.skip("the reference data holds no such case")
    shutil.copy(script, tmp_path / "foreign.py")
    drive = write_drive(tmp_path / "drive", 24)
    with subprocess.Popen([sys.executable, tmp_path / "foreign.py", "25"], env=os.environ) as foreign:
        try:
            code, printed, report = run(drive, write_planner(tmp_path / "model"), tmp_path / "out")
        finally:
            foreign.kill()
    assert code == 0, printed
    variant = report.tasks["planning"].variants["baseline"]
    assert (variant.sent, variant.received, variant.foreign) == (24, 24, 0)
    assert json.loads(report.to_json())["problems"] == []
