# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the files of a recording hold counts; what its metadata.yaml says otherwise is reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.frames import open_frames
from support.bags import (
    only_line,
    raw_message,
    road_frames,
    stamps_of,
    storage_file,
    write_bag,
    write_messages,
)


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
    assert len(source) == 24, "a_1.mcap goes on where a_0.mcap ends"
    assert "metadata.yaml does not name a_1.mcap" in source.account().notes[0]
    edit_metadata(bag, relative_file_paths=[])
    assert len(open_frames(str(bag))) == 24
    (bag / "a_1.mcap").unlink()
    edit_metadata(bag, relative_file_paths=["b_0.mcap", "b_1.mcap"])
    with pytest.raises(DataError, match=r"2 of 2 files that its metadata.yaml names are missing: b_0.mcap"):
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
    with pytest.raises(DataError, match=r"29 of 80 frames .* max_bad_frames 10% allows 8"):
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
