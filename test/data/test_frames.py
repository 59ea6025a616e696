# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Choosing frames: paths with colons, folders of images, strides, limits and single indices."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import open_frames, read_image_file, split_spec
from support.bags import (
    COMPRESSED_TOPIC,
    raw_message,
    road_frames,
    stamps_of,
    write_bag,
    write_messages,
)


@pytest.mark.parametrize(
    ("spec", "path", "topic"),
    [
        ("drive", "drive", None),
        ("drive:/camera/image", "drive", "/camera/image"),
        ("/data/10:30/drive", "/data/10:30/drive", None),
        ("/data/10:30/drive:/camera", "/data/10:30/drive", "/camera"),
        ("C:/data/drive", "C:/data/drive", None),
        ("C:/data/drive:/camera", "C:/data/drive", "/camera"),
        (r"C:\data\drive:/camera", r"C:\data\drive", "/camera"),
        ("drive:camera", "drive:camera", None),
        ("drive:", "drive:", None),
    ],
)
def test_spec_splits_at_a_topic_only(spec: str, path: str, topic: str | None) -> None:
    """A colon is part of the path unless a topic follows it."""
    assert split_spec(spec) == (Path(path), topic)


def test_existing_path_is_never_split(tmp_path: Path) -> None:
    """A folder really called 'a:' with a bag inside looks like BAG:/TOPIC and is a path."""
    bag = write_bag(tmp_path / "a:" / "bag", road_frames(1))
    assert split_spec(str(bag)) == (bag, None)
    assert len(open_frames(f"{bag}:{COMPRESSED_TOPIC}")) == 1


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_stride_and_limit_are_a_slice(
    tmp_path_factory: pytest.TempPathFactory, count: int, stride: int, limit: int
) -> None:
    """Bags and folders agree with Python's own slice of the same frames."""
    base = tmp_path_factory.mktemp("frames")
    stamps = stamps_of(count)
    bag = write_bag(base / "bag", road_frames(count, 16, 12))
    folder = base / "folder"
    folder.mkdir()
    for stamp, image in zip(stamps, road_frames(count, 16, 12), strict=True):
        cv2.imwrite(str(folder / f"{stamp}.png"), image)
    expected = stamps[::stride][:limit]
    for place in (bag, folder):
        source = open_frames(str(place), limit=limit, stride=stride)
        assert len(source) == len(expected)
        assert [frame.stamp_ns for frame in source] == expected
        assert [frame.stamp_ns for frame in source.frames(range(0, len(source), 2))] == expected[::2]


def test_folder_is_sorted_and_stamped_by_place(tmp_path: Path) -> None:
    """Names that are no integers give the place in the folder; other files are ignored."""
    for name in ("b.png", "a.jpg", "c.PNG"):
        cv2.imwrite(str(tmp_path / name.lower()), road_frames(1)[0])
    (tmp_path / "c.png").rename(tmp_path / "c.PNG")
    (tmp_path / "labels.csv").write_text("x")
    source = open_frames(str(tmp_path))
    assert [frame.stamp_ns for frame in source] == [0, 1, 2]
    assert [frame.pixels.shape for frame in source] == [(48, 64, 3)] * 3
    assert [frame.stamp_ns for frame in open_frames(str(tmp_path), stride=2)] == [0, 2]


def test_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    """Frame 10 comes after frame 9; a number too long for a stamp is a name."""
    for name in ("10", "9", "z", "1" * 30):
        cv2.imwrite(str(tmp_path / f"{name}.png"), road_frames(1)[0])
    assert open_frames(str(tmp_path)).stamps_ns() == [9, 10, 2, 3]


def test_images_are_bgr(tmp_path: Path) -> None:
    """A blue image has its blue first, whatever the format; a gray PNG stays gray."""
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 255
    cv2.imwrite(str(tmp_path / "blue.png"), blue)
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((4, 6), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "blue.bmp"), blue)
    for name in ("blue.png", "blue.bmp"):
        frame = read_image_file(tmp_path / name)
        assert frame.color == "BGR"
        assert np.array_equal(frame.pixels, blue)
    gray = read_image_file(tmp_path / "gray.png")
    assert gray.color == "GRAY"
    assert np.array_equal(gray.pixels, np.full((4, 6), 7))


@pytest.mark.parametrize("name", ["7.jpg", "7.bmp"])
@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0truncated"])
def test_broken_image_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    """The line names the file, whichever way its format is read."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable image: .*7\.(jpg|bmp)") as error:
        list(open_frames(str(tmp_path)))
    assert "\n" not in str(error.value)


def test_stamps_without_images(tmp_path: Path) -> None:
    """Stamps with a stride are those of the frames."""
    stamps = stamps_of(5)
    bag = write_bag(tmp_path / "bag", road_frames(5))
    assert open_frames(str(bag), stride=2).stamps_ns() == stamps[::2]
    messages = [(time, raw_message(road_frames(1)[0], 0)) for time in stamps]
    unstamped = write_messages(tmp_path / "x", {"/image": ("sensor_msgs/msg/Image", messages)})
    assert open_frames(str(unstamped), limit=3).stamps_ns() == stamps[:3]


@pytest.mark.parametrize(("limit", "stride"), [(0, 1), (None, 0), (5, -1)])
def test_invalid_limit_or_stride(tmp_path: Path, limit: int | None, stride: int) -> None:
    """Zero frames and a stride below one are refused."""
    with pytest.raises(DataError, match="at least 1"):
        open_frames(str(tmp_path), limit=limit, stride=stride)
