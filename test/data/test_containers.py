# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings that a recorder or a disk left incomplete: what is there is read, what is not is named."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data import unpacked
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.workspace import temporary
from support.bags import (
    COMPRESSED_TOPIC,
    road_frames,
    stamps_of,
    storage_file,
    write_bag,
)

STORAGES = ("mcap", "sqlite3")


def write_split(path: Path, storage: str, files: int = 3, *, zstd: str | None = None) -> Path:
    """Write a recording of so many files of 8 frames, each with another QoS text, and its metadata.yaml."""
    stamps = stamps_of(8 * files)
    path.mkdir()
    names, documents = [], []
    for index in range(files):
        part = path.with_name(f"part_{path.name}_{index}")
        write_bag(part, road_frames(8), storage, stamps_ns=stamps[8 * index : 8 * index + 8], zstd=zstd)
        documents.append(yaml.safe_load((part / "metadata.yaml").read_text())["rosbag2_bagfile_information"])
        source = next(each for each in part.iterdir() if each.name != "metadata.yaml")
        name = f"{path.name}_{index}{source.name[source.name.index('.') :]}"
        shutil.move(source, path / name)
        names.append(name)
        if storage == "sqlite3" and zstd is None:
            with sqlite3.connect(path / name) as database:
                database.execute("UPDATE topics SET offered_qos_profiles = ?", (f"- depth: {index}",))
    whole = documents[0]
    whole["relative_file_paths"] = names
    whole["message_count"] = whole["topics_with_message_count"][0]["message_count"] = 8 * files
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": whole}))
    return path


@pytest.fixture(autouse=True)
def own_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpack below the test's folder, and anew in each test."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(temporary, "_of_process", {})
    monkeypatch.setattr(unpacked, "_unpacked", {})
    return scratch


@pytest.mark.parametrize("storage", STORAGES)
def test_a_split_recording_whose_last_file_is_cut_keeps_the_others(tmp_path: Path, storage: str) -> None:
    """The whole recording was refused."""
    bag = write_split(tmp_path / "bag", storage)
    last = max(bag.glob("bag_2.*"))
    for share, least in ((0.6, 16), (0.0, 16)):
        last.write_bytes(last.read_bytes()[: int(last.stat().st_size * share)])
        source = open_frames(str(bag))
        stamps = [frame.stamp_ns for frame in source.frames(source.readable(range(len(source))))]
        assert stamps[:least] == stamps_of(16)
        assert stamps == stamps_of(24)[: len(stamps)]
        text = " ".join(source.account().sentences())
        assert "bag_2" in text and "metadata.yaml counts 24 messages" in text


def test_a_cut_sqlite_file_is_read_up_to_the_cut(tmp_path: Path) -> None:
    """A card pulled out: SQLite itself refuses a file that is shorter than its header says."""
    frames = road_frames(40, 160, 120)
    bag = write_bag(tmp_path / "bag", frames, "sqlite3", compressed=False)
    file = storage_file(bag)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    source = open_frames(str(file))
    stamps = [frame.stamp_ns for frame in source]
    assert stamps == stamps_of(40)[: len(stamps)]
    assert 17 <= len(stamps) <= 20, "half of the file, and what lies before the messages"
    assert f"what is there is read, {len(stamps)} messages" in source.account().notes[0]


def test_the_log_of_a_killed_sqlite_recorder_is_read_and_left_alone(tmp_path: Path) -> None:
    """Half of the messages are in the log only; opening the file itself would move them there."""
    bag = write_bag(tmp_path / "bag", road_frames(8), "sqlite3")
    file = storage_file(bag)
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute(
        "INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, timestamp + 1, data FROM messages"
    )
    database.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{file}{suffix}", killed / f"killed_0.db3{suffix}")
    database.close()
    before = {each.name: each.read_bytes() for each in killed.iterdir()}

    source = open_frames(str(killed))

    assert len(list(source)) == 16
    assert "killed_0.db3-wal holds messages that are not in the database yet" in source.account().notes[0]
    assert {each.name: each.read_bytes() for each in killed.iterdir()} == before
    # A log that is cut off in its last messages has the transactions before.
    log = killed / "killed_0.db3-wal"
    log.write_bytes(log.read_bytes()[:-100])
    assert len(list(open_frames(str(killed)))) == 8


@pytest.mark.parametrize("storage", STORAGES)
def test_a_killed_recorder_without_metadata_leaves_a_recording(tmp_path: Path, storage: str) -> None:
    """BAG_0, BAG_1, ... BAG_10 in the order of numbers; recordings of other names are not one."""
    bag = write_split(tmp_path / "bag", storage, 11)
    (bag / "metadata.yaml").unlink()
    assert [frame.stamp_ns for frame in open_frames(str(bag))] == stamps_of(88)
    one = min(bag.iterdir())
    one.rename(one.with_name(f"other_0{one.suffix}"))
    with pytest.raises(DataError, match="11 storage files and no metadata.yaml"):
        open_frames(str(bag))


def test_files_that_metadata_does_not_name_are_read_where_they_go_on(tmp_path: Path) -> None:
    """A recorder that is killed has written the metadata of the files before; a copy must not count twice."""
    bag = write_split(tmp_path / "bag", "mcap")
    path = bag / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    information = document["rosbag2_bagfile_information"]
    information["relative_file_paths"] = information["relative_file_paths"][:2]
    information["topics_with_message_count"][0]["message_count"] = information["message_count"] = 16
    information["duration"] = {"nanoseconds": 7}
    path.write_text(yaml.safe_dump(document))

    source = open_frames(str(bag))

    assert [frame.stamp_ns for frame in source] == stamps_of(24)
    assert any("does not name bag_2.mcap" in note and "is read" in note for note in source.account().notes)
    shutil.copy(bag / "bag_1.mcap", bag / "bag_3.mcap")
    source = open_frames(str(bag))
    assert len(source) == 24
    assert any("bag_3.mcap in its folder, which is not read" in text for text in source.account().problems)


def test_a_missing_file_is_a_problem_of_the_recording(tmp_path: Path) -> None:
    bag = write_split(tmp_path / "bag", "mcap")
    (bag / "bag_1.mcap").unlink()
    source = open_frames(str(bag))
    assert [frame.stamp_ns for frame in source] == [*stamps_of(24)[:8], *stamps_of(24)[16:]]
    assert "1 of 3 files that its metadata.yaml names are missing: bag_1.mcap" in source.account().problems


@pytest.mark.parametrize("storage", STORAGES)
def test_a_file_compressed_bag_is_unpacked_once(tmp_path: Path, storage: str, own_scratch: Path) -> None:
    """Every pass over the frames unpacked it anew; where and how large it is was not named."""
    bag = write_split(tmp_path / "bag", storage, 2, zstd="file")
    source = open_frames(str(bag))
    first = {path: path.stat().st_mtime_ns for path in own_scratch.rglob("bag_*")}
    assert len(first) == 2
    assert [frame.stamp_ns for frame in source] == stamps_of(16)
    assert len(list(source)) == 16
    assert {path: path.stat().st_mtime_ns for path in own_scratch.rglob("bag_*")} == first
    size = next(path.stat().st_size for path in first if path.name.startswith("bag_0"))
    notes = [note for note in source.account().notes if "compressed as a whole" in note]
    assert len(notes) == 2 and str(own_scratch) in notes[0]
    assert f"unpacked to {size / 1000:.1f} kB" in notes[0]
    # One of the files by itself, and the folder without metadata.yaml.
    for path in (min(bag.glob("*.zst*")), bag):
        (bag / "metadata.yaml").unlink(missing_ok=True)
        assert [frame.stamp_ns for frame in open_frames(str(path))] == stamps_of(16 if path == bag else 8)


def test_what_was_unpacked_is_gone_at_the_end_after_ctrl_c_and_after_a_kill(
    tmp_path: Path, own_scratch: Path
) -> None:
    bag = write_split(tmp_path / "bag", "mcap", 1, zstd="file")
    code = (
        "import signal, sys, time\n"
        # Ignored where the tests run in the background.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from ad_compressed_perception.data.frames import open_frames\n"
        "list(open_frames(sys.argv[1])); print('open', flush=True); time.sleep(float(sys.argv[2]))"
    )
    for number, seconds in ((None, 0), (signal.SIGINT, 60), (signal.SIGKILL, 60)):
        started = subprocess.Popen(
            [sys.executable, "-c", code, str(bag), str(seconds)],
            env={**os.environ, "TMPDIR": str(own_scratch), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert started.stdout is not None and started.stdout.readline() == b"open\n"
        if number is not None:
            assert list(own_scratch.glob("adcp-bag-*"))
            started.send_signal(number)
        started.wait(60)
        if number is not signal.SIGKILL:
            assert not list(own_scratch.glob("adcp-bag-*"))
    assert len(list(own_scratch.glob("adcp-bag-*"))) == 1, "nothing runs after SIGKILL"
    open_frames(str(bag))  # the next one removes it
    assert len(list(own_scratch.glob("adcp-bag-*"))) == 1
    assert list(own_scratch.glob(f"adcp-bag-{os.getpid()}-*"))


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, own_scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full fails as a full disk does."""
    bag = write_split(tmp_path / "bag", "mcap", 2, zstd="file")
    place = unpacked._place

    def place_on_full_disk(name: str) -> Path:
        target = place(name)
        target.symlink_to("/dev/full")
        return target

    monkeypatch.setattr(unpacked, "_place", place_on_full_disk)
    with pytest.raises(
        DataError, match=r"no space to unpack it in .* free\); TMPDIR=FOLDER names another"
    ) as error:
        open_frames(str(bag))
    assert "\n" not in str(error.value)
    assert not list(own_scratch.rglob("bag_*"))


def test_a_compressed_file_that_is_cut_off_is_read_up_to_the_cut(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", road_frames(60, 320, 240), compressed=False, zstd="file")
    file = next(bag.glob("*.zst*"))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * 0.7)])
    source = open_frames(str(bag))
    stamps = [frame.stamp_ns for frame in source.frames(source.readable(range(len(source))))]
    assert stamps == stamps_of(60)[: len(stamps)] and stamps
    assert any("is cut off or damaged" in text for text in source.account().problems)


@pytest.mark.parametrize("storage", STORAGES)
def test_messages_compressed_each_for_itself_need_no_metadata(tmp_path: Path, storage: str) -> None:
    """The mode is in metadata.yaml only; a message that cannot be decompressed costs itself."""
    bag = write_bag(tmp_path / "bag", road_frames(20), storage, zstd="message")
    (bag / "metadata.yaml").unlink()
    assert [frame.stamp_ns for frame in open_frames(str(bag))] == stamps_of(20)
    if storage == "sqlite3":
        with sqlite3.connect(storage_file(bag)) as database:
            database.execute("UPDATE messages SET data = substr(data, 1, 40) WHERE id = 5")
        source = open_frames(str(bag))
        assert len(source.readable(range(20))) == 19
        assert list(source.account().bad.values()) == [1]


def test_a_profile_that_is_empty_and_encodings_of_others_hide_no_camera(tmp_path: Path) -> None:
    """The profile is in the header, the first record of the file: an empty text, or another one."""
    file = storage_file(write_bag(tmp_path / "bag", road_frames(4)))
    content = file.read_bytes()
    length = int.from_bytes(content[9:17], "little")
    for profile in (b"", b"xyz!"):
        other = len(profile).to_bytes(4, "little") + profile + bytes(length - 4 - len(profile))
        changed = tmp_path / "changed.mcap"
        changed.write_bytes(content[:17] + other + content[17 + length :])
        assert [frame.stamp_ns for frame in open_frames(str(changed))] == stamps_of(4)


def test_a_bag_with_channels_of_others_only_names_them(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", road_frames(2), "sqlite3")
    with sqlite3.connect(storage_file(bag)) as database:
        database.execute("UPDATE topics SET serialization_format = 'protobuf'")
    with pytest.raises(
        DataError, match=rf"channels that are no ROS 2 messages: {COMPRESSED_TOPIC} \(protobuf\)"
    ):
        open_frames(str(bag))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "frames", "sentence"),
    [
        ("bag_mixed_json_channel/mixed_json.mcap", 24, "/hmi/event (json)"),
        ("bag_recorder_killed/truncated.mcap", 16, "truncated.mcap has no end"),
        ("bag_split_other_qos_text/split_qos", 24, ""),
        ("bag_storage_identifier_empty/ident_empty", 24, ""),
        ("image_bayer_as_jpeg/bayer_jpeg.mcap", 24, "bayer_rggb8 Bayer mosaics"),
        ("bag_one_bad_frame_stops_compress/some_bad.mcap", 22, "2 of 24 frames"),
    ],
)
def test_the_cases_of_others_are_read(shared_dir: Path, case: str, frames: int, sentence: str) -> None:
    path = shared_dir / "cases" / case
    if not path.exists():
        pytest.skip(f"needs {path}")
    source = open_frames(str(path))
    assert len(source.readable(range(len(source)))) == frames
    assert sentence in " ".join(source.account().sentences())
