# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of every storage are read back; broken ones raise an error of one line."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import yaml

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.bag import BagReader, is_bag
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.image.decode import decode_image
from support.bags import (
    COMPRESSED_TOPIC,
    RAW_TOPIC,
    compressed_message,
    float_message,
    raw_message,
    road_frames,
    stamps_of,
    write_bag,
    write_messages,
)

STORAGES = ("mcap", "sqlite3")


def storage_file(bag: Path) -> Path:
    return next(entry for entry in bag.iterdir() if entry.suffix in (".mcap", ".db3"))


def only_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("compressed", [True, False], ids=["jpeg", "raw"])
@pytest.mark.parametrize("zstd", [None, "file", "message"])
def test_frames_come_back(tmp_path: Path, storage: str, compressed: bool, zstd: str | None) -> None:
    """What was written is what is read: raw bit by bit, JPEG within what quality 95 loses."""
    images = road_frames(5)
    bag = write_bag(tmp_path / "bag", images, storage, compressed, zstd=zstd)

    source = open_frames(str(bag))
    frames = list(source)

    assert len(source) == 5
    assert source.describe == f"{bag}:{COMPRESSED_TOPIC if compressed else RAW_TOPIC}"
    assert [frame.stamp_ns for frame in frames] == stamps_of(5)
    for source_image, frame in zip(images, frames, strict=True):
        error = np.abs(source_image.astype(int) - frame.pixels.astype(int)).mean()
        assert frame.color == "BGR"
        assert error < 4.0 if compressed else error == 0.0


@pytest.mark.parametrize("storage", STORAGES)
def test_single_storage_file_without_metadata(tmp_path: Path, storage: str) -> None:
    """A .mcap or .db3 alone is a recording too, and so is a folder without metadata."""
    bag = write_bag(tmp_path / "bag", road_frames(3), storage)
    alone = tmp_path / f"alone{storage_file(bag).suffix}"
    shutil.copy(storage_file(bag), alone)
    (bag / "metadata.yaml").unlink()

    for path in (alone, bag):
        assert is_bag(path)
        assert [frame.stamp_ns for frame in open_frames(str(path))] == stamps_of(3)
        with BagReader(path) as reader:
            assert reader.storage == storage


@pytest.mark.parametrize("storage", STORAGES)
def test_raw_bytes_can_be_republished(tmp_path: Path, storage: str) -> None:
    """The CDR bytes of a message read back are those that were written, header and all."""
    images = road_frames(3)
    bag = write_bag(tmp_path / "bag", images, storage, compressed=False)
    with BagReader(bag) as reader:
        rows = list(reader.image_messages(RAW_TOPIC))
        raw = list(reader.messages([RAW_TOPIC]))
    assert [time for time, _, _ in rows] == stamps_of(3)
    for (_, cdr, message), (topic, _, again), source_image in zip(rows, raw, images, strict=True):
        assert cdr[:4] == b"\x00\x01\x00\x00", "CDR, little endian"
        assert (topic, again) == (RAW_TOPIC, cdr)
        assert np.array_equal(decode_image(message).pixels, source_image)


def test_old_sqlite3_bag_without_definitions(tmp_path: Path) -> None:
    """Humble's sqlite3 bags do not hold the message definitions; those of ROS 2 Jazzy are used."""
    bag = write_bag(tmp_path / "bag", road_frames(2), "sqlite3")
    with sqlite3.connect(storage_file(bag)) as database:
        database.execute("DROP TABLE message_definitions")
        database.execute("DROP TABLE schema")
        database.execute("ALTER TABLE topics DROP COLUMN type_description_hash")
    assert [frame.stamp_ns for frame in open_frames(str(bag))] == stamps_of(2)


def test_two_topics_in_the_order_of_bag_time(tmp_path: Path) -> None:
    """Messages of several topics interleave as recorded, and each topic is counted for itself."""
    stamps = stamps_of(4)
    bag = write_messages(
        tmp_path / "bag",
        {
            "/image": (
                "sensor_msgs/msg/Image",
                [(time, raw_message(road_frames(1)[0], time)) for time in stamps[::2]],
            ),
            "/steering": (
                "std_msgs/msg/Float32",
                [(time, float_message(0.5)) for time in stamps[1::2]],
            ),
        },
    )
    with BagReader(bag) as reader:
        assert reader.topics == {
            "/image": "sensor_msgs/msg/Image",
            "/steering": "std_msgs/msg/Float32",
        }
        assert (reader.count("/image"), reader.start_ns) == (2, stamps[0])
        assert reader.duration_s == pytest.approx(0.15)
        read = list(reader.messages(["/image", "/steering"]))
        assert [row[0] for row in read] == ["/image", "/steering"] * 2
        assert [row[1] for row in read] == stamps
        assert reader.deserialize("/steering", read[1][2]).data == 0.5


def test_header_without_stamp_gets_the_bag_time(tmp_path: Path) -> None:
    """A camera driver that leaves the stamp zero must not make all frames one."""
    messages = [(time, raw_message(road_frames(1)[0], 0)) for time in stamps_of(2)]
    bag = write_messages(tmp_path / "bag", {"/image": ("sensor_msgs/msg/Image", messages)})
    assert [frame.stamp_ns for frame in open_frames(str(bag))] == stamps_of(2)


def test_corrupt_image_names_frame_and_topic(tmp_path: Path) -> None:
    """One bad JPEG in the middle: the frames before it are fine, leaving it out is fine, and is counted."""
    times = stamps_of(3)
    messages = [
        compressed_message(source_image, t) for source_image, t in zip(road_frames(3), times, strict=True)
    ]
    messages[1].data = messages[1].data[:40]
    bag = write_messages(
        tmp_path / "bag",
        {"/image": ("sensor_msgs/msg/CompressedImage", list(zip(times, messages, strict=True)))},
    )
    frames = iter(open_frames(str(bag)))
    assert next(frames).stamp_ns == times[0]
    with pytest.raises(DataError, match=r"frame 1 of .*:/image: ") as error:
        next(frames)
    only_line(error)
    assert [frame.stamp_ns for frame in open_frames(str(bag), stride=2)] == times[::2]
    source = open_frames(str(bag))
    assert source.readable(range(3)) == [0, 2]
    assert (source.account().index, source.account().checked) == (3, 3)
    assert list(source.account().bad.values()) == [1]
    assert "1 of 3 frames" in source.account().sentences()[0]


def test_message_that_is_no_message(tmp_path: Path) -> None:
    """Bytes too short for the type raise a DataError that names topic and type."""
    bag = write_messages(
        tmp_path / "bag", {"/image": ("sensor_msgs/msg/Image", [(1, b"\x00\x01\x00\x00\x01")])}
    )
    with pytest.raises(DataError, match=r"message on /image cannot be read as sensor_msgs/msg/Image"):
        list(open_frames(str(bag)))


@pytest.mark.parametrize("storage", STORAGES)
def test_empty_bag(tmp_path: Path, storage: str) -> None:
    """A recording that was started and stopped holds nothing to replay."""
    bag = write_bag(tmp_path / "bag", [], storage)
    for path in (bag, storage_file(bag)):
        with pytest.raises(DataError, match=r"is empty: it holds no messages") as error:
            open_frames(str(path))
        only_line(error)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_bag(tmp_path: Path, storage: str, share: float) -> None:
    """A file cut anywhere gives one line, or what is there with a warning: MCAP can be read up to the cut."""
    bag = write_bag(tmp_path / "bag", road_frames(40), storage, compressed=False)
    file = storage_file(bag)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    for path in (bag, file):
        if storage == "mcap" and share:
            source = open_frames(str(path))
            # The messages make up nearly the whole file; the one that is cut is not read.
            assert share * 40 - 3 < len(list(source)) == len(source) <= share * 40 + 1
            assert "its recorder was killed, or the file is cut off" in source.account().notes[0]
            assert bool(source.account().problems) == (path == bag), "metadata.yaml counts 40"
            continue
        with pytest.raises(DataError, match=r"^bag .* cannot be read") as error:
            list(open_frames(str(path)))
        assert str(path) in only_line(error)


@pytest.mark.parametrize("storage", STORAGES)
def test_overwritten_bytes(tmp_path: Path, storage: str) -> None:
    """Garbage in the middle never raises anything but DataError."""
    whole = write_bag(tmp_path / "bag", road_frames(12), storage, compressed=False)
    file = storage_file(whole)
    good = file.read_bytes()
    noise = np.random.default_rng(0)
    for start in range(0, len(good), max(1, len(good) // 23)):
        broken = bytearray(good)
        broken[start : start + 64] = noise.bytes(len(broken[start : start + 64]))
        file.write_bytes(broken)
        try:
            list(open_frames(str(whole)))
        except DataError as error:
            assert "\n" not in str(error)


def write_split(path: Path, *, qos_of_second: str = "") -> Path:
    """Write a recording of two files of 12 frames, the second perhaps with another QoS text."""
    parts = []
    for index in range(2):
        stamps = stamps_of(24)[12 * index : 12 * index + 12]
        part = write_bag(path.with_name(f"{path.name}_{index}"), road_frames(12), stamps_ns=stamps)
        parts.append(part)
    path.mkdir()
    files = []
    for index, part in enumerate(parts):
        content = storage_file(part).read_bytes()
        if index and qos_of_second:
            text = b"offered_qos_profiles"
            assert text in content
            content = content.replace(text, qos_of_second.encode())  # rosbags then sees no QoS at all
        files.append(f"a_{index}.mcap")
        (path / files[-1]).write_bytes(content)
    document = yaml.safe_load((parts[0] / "metadata.yaml").read_text())
    information = document["rosbag2_bagfile_information"]
    information["relative_file_paths"] = files
    information["message_count"] = 24
    information["topics_with_message_count"][0]["message_count"] = 24
    information["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"] = [
        {"history": "keep_last", "depth": 5, "reliability": "reliable", "durability": "volatile"}
    ]
    (path / "metadata.yaml").write_text(yaml.safe_dump(document))
    return path


def test_a_split_recording_is_read_whole_whatever_its_qos_texts(tmp_path: Path) -> None:
    """Rosbags matches channels by topic, type and QoS text, and leaves out a file whose text differs."""
    bag = write_split(tmp_path / "bag", qos_of_second="renamed_qos_profiles")
    source = open_frames(str(bag))
    assert [frame.stamp_ns for frame in source] == stamps_of(24)
    assert source.account().sentences() == []


def edit_metadata(bag: Path, **changes: object) -> None:
    path = bag / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    document["rosbag2_bagfile_information"].update(changes)
    path.write_text(yaml.safe_dump(document))


def test_metadata_that_contradicts_the_files_is_reported(tmp_path: Path) -> None:
    """The files say what is read; each contradiction is a sentence."""
    bag = write_split(tmp_path / "bag")
    edit_metadata(bag, storage_identifier="", message_count=7)
    assert len(open_frames(str(bag))) == 24
    assert open_frames(str(bag)).account().problems == [
        "metadata.yaml counts 7 messages in all, the files hold 24"
    ]
    edit_metadata(bag, relative_file_paths=["a_0.mcap"])
    source = open_frames(str(bag))
    assert len(source) == 12
    assert "metadata.yaml does not name a_1.mcap in its folder" in source.account().problems[0]
    edit_metadata(bag, relative_file_paths=[])
    assert len(open_frames(str(bag))) == 24
    (bag / "a_1.mcap").unlink()
    edit_metadata(bag, relative_file_paths=["a_0.mcap", "a_1.mcap"])
    with pytest.raises(DataError, match=r"1 of 2 files that its metadata.yaml names are missing: a_1.mcap"):
        open_frames(str(bag))


def test_files_in_any_order_and_times_that_jump_back_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    """A part of a recording ends at a time: messages out of order behind it would be lost."""
    bag = write_split(tmp_path / "bag")
    edit_metadata(bag, relative_file_paths=["a_1.mcap", "a_0.mcap"])
    assert [frame.stamp_ns for frame in open_frames(str(bag))] == stamps_of(24)
    twice = [*stamps_of(3), *stamps_of(3)]
    messages = [(stamp, raw_message(road_frames(1)[0], stamp)) for stamp in twice]
    double = write_messages(tmp_path / "double", {"/image": ("sensor_msgs/msg/Image", messages)})
    assert [frame.stamp_ns for frame in open_frames(str(double))] == sorted(twice)


def test_a_topic_of_two_types_is_refused(tmp_path: Path) -> None:
    """No node could subscribe to both, and half of the frames would be nobody's."""
    bag = write_bag(tmp_path / "bag", road_frames(3), topic="/camera")
    other = write_bag(tmp_path / "other", road_frames(3), topic="/camera", compressed=False)
    shutil.copy(storage_file(other), bag / "b.mcap")
    edit_metadata(bag, relative_file_paths=[storage_file(other).name, "b.mcap"][1:] + [f"{bag.name}.mcap"])
    with pytest.raises(DataError, match=r"topic /camera .* two types \(3 of .*, 3 of .*\)"):
        open_frames(str(bag))


def mcap_record(code: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([code]) + len(content).to_bytes(8, "little") + content


def mcap_text(text: bytes) -> bytes:
    return len(text).to_bytes(4, "little") + text


def test_a_channel_of_another_encoding_hides_no_camera(tmp_path: Path) -> None:
    """A JSON channel (https://mcap.dev/spec) beside the camera; rosbags refuses the whole file."""
    file = storage_file(write_bag(tmp_path / "bag", road_frames(3)))
    content = file.read_bytes()
    begin = 8 + 9 + int.from_bytes(content[9:17], "little")
    schema = mcap_record(3, (99).to_bytes(2, "little"), *map(mcap_text, (b"Event", b"jsonschema", b"{}")))
    channel = mcap_record(
        4, (99).to_bytes(2, "little"), (99).to_bytes(2, "little"), mcap_text(b"/event"), mcap_text(b"json"),
        mcap_text(b""),
    )  # fmt: skip
    message = mcap_record(5, (99).to_bytes(2, "little"), bytes(4), bytes(16), b"{}")
    mixed = tmp_path / "mixed.mcap"
    mixed.write_bytes(
        content[:begin] + schema + channel + message + content[begin:]
    )  # offsets shift: no index
    source = open_frames(str(mixed))
    assert [frame.stamp_ns for frame in source] == stamps_of(3)
    assert any("/event (json)" in note for note in source.account().notes)
    with pytest.raises(DataError, match=r"no topic /event of ROS 2 messages \(/event is json\)"):
        open_frames(f"{mixed}:/event")


def test_a_damaged_chunk_costs_its_frames_only(tmp_path: Path) -> None:
    """The index still counts its frames, so the difference is reported, and limited."""
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(80)]
    # 36 kB a frame, chunks of 1 MiB compressed each for itself: 29, 29 and 22 frames.
    bag = write_bag(tmp_path / "bag", frames, compressed=False, zstd="storage")
    file = storage_file(bag)
    content = bytearray(file.read_bytes())
    magic = b"\x28\xb5\x2f\xfd"  # RFC 8878: a zstd frame begins
    second = content.index(magic, content.index(magic) + 1)
    content[second : second + 4] = bytes(4)
    file.write_bytes(content)

    source = open_frames(str(bag), max_bad=BadFrameLimit("50%"))
    good = source.readable(range(len(source)))

    stamps = [frame.stamp_ns for frame in source.frames(good)]
    lost = sorted(set(stamps_of(80)) - set(stamps))
    assert len(lost) == 80 - len(good) == 29
    assert lost == stamps_of(80)[29:58], "the second chunk's"
    (reason,) = source.account().bad
    assert "a chunk of bag.mcap" in reason
    with pytest.raises(DataError, match=r"29 of 80 frames .* --max-bad-frames 10% allows 8"):
        open_frames(str(bag)).readable(range(80))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("message_count: 3", "message_count: {a: 1}"),
        ("type: sensor_msgs/msg/CompressedImage", "type: {a: 1}"),
        ("nanoseconds_since_epoch: ", "nanoseconds_since_epoch: x"),
    ],
)
def test_metadata_with_values_of_other_types(tmp_path: Path, old: str, new: str) -> None:
    """They were TypeErrors and AttributeErrors."""
    bag = write_bag(tmp_path / "bag", road_frames(3))
    text = (bag / "metadata.yaml").read_text()
    assert old in text
    (bag / "metadata.yaml").write_text(text.replace(old, new))
    try:
        assert len(open_frames(str(bag))) == 3, "what the files say of themselves counts"
    except DataError as error:
        assert "cannot be read" in str(error) and "\n" not in str(error)


def test_metadata_that_names_a_missing_file(tmp_path: Path) -> None:
    """The storage file was moved away; the line names it."""
    bag = write_bag(tmp_path / "bag", road_frames(2))
    file = storage_file(bag)
    file.unlink()
    with pytest.raises(DataError, match=file.name) as error:
        open_frames(str(bag))
    assert "missing" in only_line(error)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a: [", "- 1", "rosbag2_bagfile_information: {version: 99}", "rosbag2_bagfile_information: 3"),
        *(
            "rosbag2_bagfile_information: {relative_file_paths: ["
            + name
            + "], message_count: "
            + count
            + ", "
            "topics_with_message_count: []}"
            for name, count in (
                ("a.mcap", ".inf"),
                ("3", "1"),
                ("a" * 5000, "1"),
                ("[a]", "1"),
                ("a.mcap", "x"),
            )
        ),
    ],
    ids=range(10),
)
def test_malformed_metadata(tmp_path: Path, text: str) -> None:
    """A metadata.yaml that is not one gives a line, whatever it holds instead."""
    bag = write_bag(tmp_path / "bag", road_frames(2))
    (bag / "metadata.yaml").write_text(text)
    with pytest.raises(DataError, match=r"cannot be read") as error:
        open_frames(str(bag))
    only_line(error)


def test_not_a_bag(tmp_path: Path) -> None:
    """Each kind of path that is no recording has its own message, with the remedy where there is one."""
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "old.bag").write_text("#ROSBAG V2.0")
    (tmp_path / "part.mcap.zstd").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "split").mkdir()
    for index in range(2):
        (tmp_path / "split" / f"part_{index}.mcap").write_bytes(b"x")
    cases = {
        "absent": "no such bag or folder",
        "notes.txt": "expected a rosbag2 folder, a .mcap or a .db3 file",
        "old.bag": "ROS 1 bag; convert it with: rosbags-convert",
        "part.mcap.zstd": "name the bag's folder instead",
        "folder": "no images in",
        "folder:/camera": "has no metadata.yaml and no .mcap or .db3 file",
        "split": "ros2 bag reindex",
    }
    for name, expected in cases.items():
        with pytest.raises(DataError) as error:
            open_frames(str(tmp_path / name))
        assert expected in only_line(error), name
    with pytest.raises(DataError, match="no such bag"), BagReader(tmp_path / "absent"):
        pass


def test_topics_that_cannot_be_used(tmp_path: Path) -> None:
    """The line names the available topics."""
    source_image = road_frames(1)[0]
    image = ("sensor_msgs/msg/Image", [(1, raw_message(source_image, 1))])
    two = write_messages(tmp_path / "two", {"/left": image, "/right": image, "/empty": (image[0], [])})
    none = write_messages(
        tmp_path / "none", {"/steering": ("std_msgs/msg/Float32", [(1, float_message(0.0))])}
    )
    cases = {
        f"{two}": "several image topics, choose one",
        f"{two}:/rear": "no topic /rear; it has: /empty, /left, /right",
        f"{two}:/empty": "no messages on /empty",
        f"{two}:left": "a topic begins with '/'",
        f"{none}": "has no image topic; topics: /steering",
        f"{none}:/steering": "carries std_msgs/msg/Float32, not images; image topics: none",
    }
    for spec, expected in cases.items():
        with pytest.raises(DataError) as error:
            open_frames(spec)
        assert expected in only_line(error), spec
    assert len(open_frames(f"{two}:/left")) == 1


def test_reader_must_be_open(tmp_path: Path) -> None:
    """Using a reader outside its with-block raises a DataError."""
    bag = write_bag(tmp_path / "bag", road_frames(1))
    reader = BagReader(bag)
    with reader:
        pass
    with pytest.raises(DataError, match="is not open"):
        list(reader.messages([COMPRESSED_TOPIC]))


def test_shared_drive(shared_dir: Path) -> None:
    """The reference drive: 20 s, 400 frames of 640x480, beside the steering angle."""
    bag = shared_dir / "bags" / "udacity_ch2_20s"
    with BagReader(bag) as reader:
        assert reader.image_topics == ["/camera/image_raw/compressed"]
        assert reader.count("/vehicle/steering_angle") == 400
        assert reader.duration_s == pytest.approx(19.95, abs=0.01)
    source = open_frames(str(bag), stride=100)
    assert [frame.pixels.shape for frame in source] == [(480, 640, 3)] * 4
