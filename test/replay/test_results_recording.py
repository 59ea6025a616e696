# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recording of a replay's results: readable by others, complete or honest about what it lacks."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.data.bag_types import typestore
from ad_compressed_perception.replay.annotations import FOXGLOVE_TYPES
from ad_compressed_perception.replay.frames import BagFrame, BagSlice
from ad_compressed_perception.replay.plan import ReplayPlan, make_plan
from ad_compressed_perception.replay.results_recorder import FILES, ResultsRecorder
from ad_compressed_perception.replay.signals import EndOnSignal
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport
from ad_compressed_perception.report.schemas.variant import VariantReport
from support.bags import COMPRESSED_TOPIC, compressed_message, stamps_of, write_bag, write_messages
from support.models import draw_scene, write_detector
from support.recordings import read_all
from support.replay import add_variant

FRAMES = 3
NAMES = ("baseline", "int8")


@pytest.fixture
def plan(tmp_path: Path) -> ReplayPlan:
    """Return the plan of a tiny detector and its copy."""
    return make_plan([add_variant(write_detector(tmp_path / "model"))], work=tmp_path / "work")


def detections_cdr(stamp_ns: int, label: str = "red") -> bytes:
    """Return a serialized Detection2DArray with one box, 10..30 x 20..60."""
    store = typestore()
    of = store.types
    header = of["std_msgs/msg/Header"](of["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), "camera")
    center = of["vision_msgs/msg/Pose2D"](of["vision_msgs/msg/Point2D"](20.0, 40.0), 0.0)
    pose = of["geometry_msgs/msg/PoseWithCovariance"](
        of["geometry_msgs/msg/Pose"](
            of["geometry_msgs/msg/Point"](0.0, 0.0, 0.0),
            of["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        ),
        np.zeros(36),
    )
    found = of["vision_msgs/msg/ObjectHypothesisWithPose"](
        of["vision_msgs/msg/ObjectHypothesis"](label, 0.75), pose
    )
    box = of["vision_msgs/msg/BoundingBox2D"](center, 20.0, 40.0)
    detection = of["vision_msgs/msg/Detection2D"](header, [found], box, "")
    message = of["vision_msgs/msg/Detection2DArray"](header, [detection])
    return bytes(store.serialize_cdr(message, "vision_msgs/msg/Detection2DArray"))


class Replayed:
    """A recorder that is given what a replay would give it, frame by frame."""

    def __init__(self, plan: ReplayPlan, bag: BagReader, topic: str, out: Path) -> None:
        self.plan, self.out = plan, out
        self.frames = BagSlice(bag, topic)
        self.recorder = ResultsRecorder(plan, self.frames, out)
        self.take: dict[str, Callable[[bytes], None]] = {}
        self.recorder.subscribe(lambda topic, task, take: self.take.__setitem__(topic.split("/")[2], take))

    def finish(self, frame: BagFrame, names: tuple[str, ...] = NAMES) -> None:
        """Finish a frame, for which those variants' results arrived."""
        for name in names:
            self.take[name](detections_cdr(frame.stamp_ns))
        timing = FrameTiming(frame.stamp_ns, "processed", {"infer": 2.5}, 4.0, "")
        box = np.array([[10, 20, 30, 60]], np.float32)
        result = Detections(box, np.array([0.75], np.float32), np.array([0]), ("red", "blue"))
        self.recorder.end_task(
            "detection", frame, dict.fromkeys(NAMES, timing), dict.fromkeys(names, result), {"int8": 1.0}
        )

    def report(self, processed: int = FRAMES) -> Report:
        """End the recording and return a report that it was added to."""
        self.recorder.__exit__(None, None, None)
        report = Report(
            tasks={
                "detection": TaskReport(variants={name: VariantReport(processed=processed) for name in NAMES})
            }
        )
        self.recorder.finish(report)
        return report


@contextmanager
def replayed(plan: ReplayPlan, tmp_path: Path, **options: Any) -> Iterator[Replayed]:
    drive = write_bag(tmp_path / "drive", [draw_scene(index) for index in range(FRAMES)], **options)
    with BagReader(drive) as bag:
        yield Replayed(plan, bag, bag.resolve_image_topic(), tmp_path / "out")


@pytest.mark.parametrize("compressed", [True, False], ids=["jpeg", "raw"])
def test_every_frame_has_its_image_results_and_drawing(
    plan: ReplayPlan, tmp_path: Path, compressed: bool
) -> None:
    with replayed(plan, tmp_path, compressed=compressed) as run:
        for frame in run.frames:
            run.finish(frame)
        report = run.report()
    assert report.files == list(FILES)
    assert report.notes == []
    found = read_all(run.out / "results")
    assert {len(messages) for topic, messages in found.items() if "label_info" not in topic} == {FRAMES}
    assert [time_ns for time_ns, _ in found[COMPRESSED_TOPIC]] == stamps_of(FRAMES)
    assert {one.format for _, one in found[COMPRESSED_TOPIC]} == {"jpeg"}
    _, drawn = found["/int8/detection/annotations"][0]
    assert drawn.texts[0].text == "red 0.75"
    assert [(point.x, point.y) for point in drawn.points[0].points] == [
        (10, 20),
        (30, 20),
        (30, 60),
        (10, 60),
    ]
    _, other = found["/baseline/detection/annotations"][0]
    assert drawn.points[0].outline_color != other.points[0].outline_color, "both may lie over one image"
    assert [one.data for _, one in found["/int8/detection/infer_ms"]] == [2.5] * FRAMES
    assert not list(run.out.glob(".results-*"))


def test_a_result_that_did_not_come_is_missed_in_the_report(plan: ReplayPlan, tmp_path: Path) -> None:
    with replayed(plan, tmp_path) as run:
        for frame in run.frames:
            run.finish(frame, NAMES if frame.index else NAMES[:1])
        report = run.report()
    assert report.notes == ["The recording of the results has 2 of 3 results of detection/int8."]


def test_a_frame_that_is_no_image_is_kept_as_it_was_recorded(plan: ReplayPlan, tmp_path: Path) -> None:
    stamps = stamps_of(2)
    messages = [compressed_message(draw_scene(0), stamp) for stamp in stamps]
    messages[1].data = messages[1].data[:40]
    rows = list(zip(stamps, messages, strict=True))
    drive = write_messages(tmp_path / "drive", {COMPRESSED_TOPIC: ("sensor_msgs/msg/CompressedImage", rows)})
    with BagReader(drive) as bag:
        run = Replayed(plan, bag, COMPRESSED_TOPIC, tmp_path / "out")
        for frame in run.frames:
            run.finish(frame)
        run.report(2)
    found = read_all(run.out / "results")
    assert bytes(found[COMPRESSED_TOPIC][1][1].data) == bytes(messages[1].data)
    assert len(found["/detection/side_by_side/compressed"]) == 1


def test_a_second_recording_replaces_the_first_and_nothing_else(plan: ReplayPlan, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "results"
    folder.mkdir(parents=True)
    (folder / "results.mcap").write_bytes(b"earlier")
    (folder / "mine.txt").write_text("not the report's")
    with replayed(plan, tmp_path) as run:
        for frame in run.frames:
            run.finish(frame)
        run.report()
    assert {path.name for path in folder.iterdir()} == {"results.mcap", "metadata.yaml", "mine.txt"}
    (folder / "mine.txt").unlink()
    assert len(read_all(folder)[COMPRESSED_TOPIC]) == FRAMES


def test_a_full_disk_ends_the_recording_and_is_reported(plan: ReplayPlan, tmp_path: Path) -> None:
    """The figures of the replay do not depend on it, so the replay goes on."""
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 255, (480, 640, 3), np.uint8) for _ in range(8)]
    drive = write_bag(tmp_path / "drive", frames)
    with BagReader(drive) as bag:
        run = Replayed(plan, bag, COMPRESSED_TOPIC, tmp_path / "out")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        try:
            for frame in run.frames:
                run.finish(frame)
            report = run.report(8)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert report.notes == ["The results were not recorded: File too large."]
    assert report.files == []
    assert not list(run.out.glob(".results-*"))


def test_a_replay_without_a_finished_frame_writes_no_recording(plan: ReplayPlan, tmp_path: Path) -> None:
    with replayed(plan, tmp_path) as run:
        report = run.report(0)
    assert not run.out.exists()
    assert report.notes == ["The results were not recorded: no frame was finished."]


def test_the_definitions_are_those_of_the_viewer() -> None:
    """Fields, their order and their kinds, against the schemas inside foxglove-sdk."""
    messages = pytest.importorskip("foxglove.messages")
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    files = FileDescriptorSet.FromString(messages.ImageAnnotations.get_schema().data)
    theirs = {message.name: message for file in files.file for message in file.message_type}
    for name, definition in FOXGLOVE_TYPES.items():
        fields = [line.split() for line in definition.splitlines() if "=" not in line]
        expected = {field.name: field for field in theirs[name].field}
        assert {one for _, one in fields} == set(expected), name
        for kind, one in fields:
            assert kind.endswith("[]") == (expected[one].label == 3), f"{name}.{one}"
            own = kind.removesuffix("[]").rpartition("/")[2]
            kind_of_message = expected[one].type_name.rpartition(".")[2]
            assert {"Time": "Timestamp", "string": "", "float64": ""}.get(own, own) == kind_of_message or (
                own == "uint8" and kind_of_message == "Type"
            ), f"{name}.{one}"
    kinds = {value.name: value.number for one in theirs["PointsAnnotation"].enum_type for value in one.value}
    constants = [line for line in FOXGLOVE_TYPES["PointsAnnotation"].splitlines() if "=" in line]
    assert constants == [f"uint8 {name}={number}" for name, number in kinds.items()]


def test_the_reference_reader_of_mcap_reads_it(plan: ReplayPlan, tmp_path: Path) -> None:
    """With checksums and the index: what Foxglove and rerun do when they open a file."""
    reader = pytest.importorskip("mcap.reader")
    with replayed(plan, tmp_path) as run:
        for frame in run.frames:
            run.finish(frame)
        run.report()
    with (run.out / FILES[0]).open("rb") as stream:
        opened = reader.make_reader(stream, validate_crcs=True)
        assert opened.get_header().profile == "ros2"
        summary = opened.get_summary()
        assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
        assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}
        assert len(list(opened.iter_messages())) == summary.statistics.message_count


def test_a_recording_that_is_discarded_leaves_nothing(plan: ReplayPlan, tmp_path: Path) -> None:
    """Ctrl-C within the first frame: one of its tasks may have been written."""
    with replayed(plan, tmp_path) as run:
        run.finish(next(iter(run.frames)))
        run.recorder.__exit__(None, None, None)
        run.recorder.discard()
    assert not run.out.exists()


def test_drawing_leaves_the_other_cores_to_the_nodes(plan: ReplayPlan, tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    with replayed(plan, tmp_path) as run:
        with run.recorder:
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == before


def test_a_signal_waits_until_a_frame_is_written() -> None:
    """Half a message would spoil the chunk that it is in, and with it up to a megabyte of results."""
    written = []
    with EndOnSignal() as signals, pytest.raises(KeyboardInterrupt):
        with signals.held():
            os.kill(os.getpid(), signal.SIGINT)
            written.append("whole")
        written.append("next frame")
    assert written == ["whole"]


@pytest.mark.ros
def test_the_bag_player_publishes_the_drawings(plan: ReplayPlan, tmp_path: Path, ros_context: object) -> None:
    from sensor_msgs.msg import CompressedImage

    from support.ros import Recorder, node_process

    with replayed(plan, tmp_path) as run:
        for frame in run.frames:
            run.finish(frame)
        run.report()
    recorder = Recorder(ros_context)
    recorder.listen("/seen/image/compressed", CompressedImage)
    given = {"bag": run.out / "results", "topic": "/detection/side_by_side/compressed", "rate": 20.0}
    words = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
    try:
        with node_process("bag_player", "-r", "__ns:=/seen", *words, log=tmp_path / "log") as player:
            recorder.wait_for(lambda: len(recorder.received["/seen/image/compressed"]) == FRAMES)
            assert player.wait() == 0
    finally:
        recorder.close()
