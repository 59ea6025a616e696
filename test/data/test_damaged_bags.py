# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings with damage of one place cost what lies there, and small files do not eat the memory."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import yaml

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrame
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.storage import StorageError
from ad_compressed_perception.data.zstd import _library, zstd_decompress
from ad_compressed_perception.workspace.temporary import process_folder
from support.bags import raw_message, road_frames, stamps_of, storage_file, write_bag, write_messages
from support.images import smooth_image


def test_a_damaged_index_of_times_costs_no_message(tmp_path: Path) -> None:
    """Messages were read by it: all were lost, but counted."""
    bag = write_bag(tmp_path / "bag", road_frames(6), "sqlite3")
    file = storage_file(bag)
    with sqlite3.connect(file) as database:
        database.execute("CREATE INDEX IF NOT EXISTS timestamp_idx ON messages (timestamp ASC)")
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'timestamp_idx'"
        ).fetchone()
    database.close()
    content = bytearray(file.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\x55" * 4096
    file.write_bytes(content)
    assert [frame.stamp_ns for frame in open_frames(str(bag))] == stamps_of(6)


@pytest.mark.parametrize("missing", [100, 2000, 4000])
def test_a_raw_image_that_is_cut_off_in_sqlite_is_no_image_with_black_rows(tmp_path: Path, missing) -> None:
    """SQLite puts zeros in the place of the rest of the last page."""
    images = [np.random.default_rng(place).integers(1, 255, (48, 64, 3), np.uint8) for place in range(6)]
    bag = write_bag(tmp_path / "bag", images, "sqlite3", compressed=False)
    file = storage_file(bag)
    file.write_bytes(file.read_bytes()[:-missing])
    source = open_frames(str(bag))
    entries = list(source.read(range(len(source))))
    frames = [entry for entry in entries if not isinstance(entry, BadFrame)]
    assert 4 <= len(frames) < len(images)
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, images[stamps_of(6).index(frame.stamp_ns)])
    assert any("is cut off or damaged" in note for note in source.account().notes)


@pytest.mark.parametrize(
    ("column", "value", "bad", "count"),
    [("data", "NULL", 1, 6), ("data", "'text'", 1, 6), ("timestamp", "'text'", 0, 5)],
)
def test_a_row_that_is_no_message_costs_no_other(tmp_path: Path, column, value, bad, count) -> None:
    """Those behind it were lost, too, or the next one."""
    bag = write_bag(tmp_path / "bag", road_frames(6), "sqlite3")
    with sqlite3.connect(storage_file(bag)) as database:
        database.executescript(
            "CREATE TABLE copy AS SELECT * FROM messages; DROP TABLE messages;"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data);"
            f"INSERT INTO messages SELECT * FROM copy; UPDATE messages SET {column} = {value} WHERE id = 3"
        )
    database.close()
    source = open_frames(str(bag))
    entries = list(source.read(range(len(source))))
    assert len(entries) == count
    assert sum(isinstance(entry, BadFrame) for entry in entries) == bad
    stamps = [entry.stamp_ns for entry in entries if not isinstance(entry, BadFrame)]
    assert stamps == [stamp for place, stamp in enumerate(stamps_of(6)) if place != 2]


def test_a_file_that_metadata_names_twice_is_read_once(tmp_path: Path) -> None:
    """Its frames were counted twice."""
    bag = write_bag(tmp_path / "bag", road_frames(3))
    path = bag / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    document["rosbag2_bagfile_information"]["relative_file_paths"] *= 3
    path.write_text(yaml.safe_dump(document))
    source = open_frames(str(bag))
    assert [frame.stamp_ns for frame in source] == stamps_of(3)
    assert source.account().problems == ["metadata.yaml names a file more than once; it is read once"]


def test_what_unpacks_to_something_else_or_to_far_more_is_given_up(tmp_path: Path) -> None:
    """A few kilobytes of zeros stand for terabytes: nothing of them is kept."""
    name, library = _library()
    if name == "zstandard":
        pytest.skip("writes with another call")
    bomb = library.compress(bytes(1 << 24))
    with pytest.raises(StorageError, match="more than 1000 bytes"):
        zstd_decompress(bomb, 1000)
    with pytest.raises(StorageError, match="cut off"):
        zstd_decompress(library.compress(b"message" * 99)[:-3])
    assert zstd_decompress(library.compress(b"a") + library.compress(b"b")) == b"ab"
    path = tmp_path / "a.mcap.zstd"
    path.write_bytes(bomb)
    with pytest.raises(DataError, match="it holds something else than its name says"):
        open_frames(str(path))
    assert not list(process_folder("adcp-bag-").rglob("a.mcap"))


def test_an_nv12_height_that_is_read_as_counting_the_chroma_is_named(tmp_path: Path) -> None:
    """The same bytes are a taller image that lost its chroma."""
    message = raw_message(smooth_image(), 1)
    message.encoding, message.step, message.data = "nv12", 64, message.data[: 48 * 64]
    bag = write_messages(tmp_path / "bag", {"/a": ("sensor_msgs/msg/Image", [(1, message)])})
    source = open_frames(str(bag))
    assert next(iter(source)).pixels.shape == (32, 64, 3)
    assert "the height of 48 is taken to count the rows of chroma" in source.account().notes[0]
