# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of every storage are read back; broken ones raise an error of one line."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bag import BagReader, is_bag
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.image.decode import decode_image
from support.bags import (
    COMPRESSED_TOPIC,
    RAW_TOPIC,
    compressed_message,
    float_message,
    only_line,
    raw_message,
    road_frames,
    stamps_of,
    storage_file,
    write_bag,
    write_messages,
)

STORAGES = ("mcap", "sqlite3")


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
        # Of SQLite the first pages hold tables and their definitions.
        if share > (0.0 if storage == "mcap" else 0.1):
            source = open_frames(str(path))
            # The messages make up nearly the whole file; the one that is cut is not read.
            assert share * 40 - 4 < len(list(source)) == len(source) <= share * 40 + 1
            assert "cut off" in source.account().notes[0]
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
        "part.mcap.zstd": "cannot be read, it is truncated, corrupt or incomplete: zstd",
        "folder": "no images in",
        "folder:/camera": "has no metadata.yaml and no .mcap or .db3 file",
        "split": "cannot be read, it is truncated, corrupt or incomplete: it does not begin as an MCAP file",
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
