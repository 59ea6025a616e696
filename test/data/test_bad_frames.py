# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bad frames and files that are none end no job: left out, counted by reason, limited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.data.bad_frames import BadFrame, BadFrameLimit, BadFrames, count_reasons
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.labeled.open import open_labeled
from support.bags import road_frames
from support.models import write_detector


@given(st.integers(0, 10_000), st.integers(0, 100))
def test_a_share_is_rounded_up_and_a_number_is_a_number(total: int, percent: int) -> None:
    """One bad frame of a short set is within every share but none."""
    allowed = BadFrameLimit(f"{percent}%").of(total)
    assert 100 * allowed >= total * percent > 100 * (allowed - 1)
    assert BadFrameLimit(str(percent)).of(total) == percent


@pytest.mark.parametrize("text", ["", "%", "-1", "1.5", "nan", "inf%", "101%", "ten"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="max_bad_frames"):
        BadFrameLimit(text)


def test_all_bad_is_never_within_the_limit() -> None:
    with pytest.raises(DataError, match="1 of 1 frames of it cannot be read"):
        BadFrames("it", BadFrameLimit("100%")).note([3], [BadFrame(3, "broken")])


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_reasons_that_differ_in_numbers_are_one(sizes: list[int]) -> None:
    counted = count_reasons(f"{size} bytes are too few" for size in sizes)
    assert counted == {f"{sizes[0]} bytes are too few": len(sizes)}


def write_images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(road_frames(count)):
        cv2.imwrite(str(folder / f"{index:03}.jpg"), image)
    return folder


def test_files_that_are_no_images_are_ignored_with_their_names(tmp_path: Path) -> None:
    """MacOS leaves ._000.jpg, Windows Thumbs.db: no frames, and no errors either."""
    folder = write_images(tmp_path / "images", 12)
    (folder / "._000.jpg").write_bytes(b"\x00\x05\x16\x07" + bytes(20))
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "Thumbs.db").write_bytes(b"x")
    source = open_frames(str(folder))
    assert len(source.readable(range(len(source)))) == 12
    assert source.account().ignored_files == ["._000.jpg", ".hidden.png", "Thumbs.db"]
    assert "3 files of" in source.account().sentences()[0]


def test_bad_images_are_left_out_up_to_the_limit(tmp_path: Path) -> None:
    """An empty file and a cut one among twelve: 10 % allow two, and every use leaves out the same."""
    folder = write_images(tmp_path / "images", 12)
    (folder / "004.jpg").write_bytes(b"")
    (folder / "007.jpg").write_bytes((folder / "007.jpg").read_bytes()[:200])
    source = open_frames(str(folder))
    assert source.readable(range(12)) == [0, 1, 2, 3, 5, 6, 8, 9, 10, 11]
    assert source.readable([4, 5, 6]) == [5, 6]
    assert (source.account().checked, sum(source.account().bad.values())) == (12, 2)
    with pytest.raises(DataError, match=r"2 of 12 .*max_bad_frames 1 allows 1: .*004\.jpg.*007\.jpg"):
        open_frames(str(folder), max_bad=BadFrameLimit("1")).readable(range(12))


def write_coco(folder: Path, orientation: int) -> Path:
    """Write four images of 64x48 pixels with an EXIF orientation, and labels drawn on the upright ones."""
    (folder / "images").mkdir(parents=True)
    images = []
    for index, pixels in enumerate(road_frames(4)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / "images" / f"{index}.jpg", exif=exif)
        width, height = (48, 64) if orientation >= 5 else (64, 48)
        images.append({"id": index, "file_name": f"{index}.jpg", "width": width, "height": height})
    box = {"image_id": 0, "category_id": 1, "bbox": [5, 5, 20, 20]}
    categories = [{"id": 1, "name": "car"}]
    document = {"images": images, "annotations": [box], "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))
    return folder


def test_exif_is_named_as_the_cause(tmp_path: Path) -> None:
    """A quarter turn changes the size; a half turn is seen by nobody, so a note names it."""
    manifest = load_manifest(write_detector(tmp_path / "model"))
    quarter = open_labeled(str(write_coco(tmp_path / "quarter", 6)), manifest)
    with pytest.raises(DataError, match=r"labels say 48x64; its EXIF orientation is 6, which is not applied"):
        quarter.readable(range(4))
    half = open_labeled(str(write_coco(tmp_path / "half", 3)), manifest)
    assert half.readable(range(4)) == [0, 1, 2, 3]
    assert any("4 images have an EXIF orientation (3 in 0.jpg)" in note for note in half.notes)
    upright = open_labeled(str(write_coco(tmp_path / "upright", 1)), manifest)
    assert not any("EXIF" in note for note in upright.notes)


def test_a_bad_labeled_image_is_left_out_and_reported(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "data", 1)
    (folder / "images" / "2.jpg").write_bytes(b"")
    data = open_labeled(str(folder), load_manifest(write_detector(tmp_path / "model")))
    assert data.readable(range(4)) == [0, 1, 3]
    assert any("1 of 4 frames" in note for note in data.notes)
    with pytest.raises(DataError, match=r"not a readable image: .*2\.jpg"):
        list(data.items(range(4)))


@pytest.mark.shared
def test_the_shared_cases_of_this_kind(tmp_path: Path, shared_dir: Path) -> None:
    cases = shared_dir / "cases"
    if not cases.is_dir():
        pytest.skip("the reference data holds no cases")
    source = open_frames(str(cases / "bag_one_bad_frame_stops_compress" / "some_bad.mcap"))
    assert len(source.readable(range(len(source)))) == 22
    folder = write_images(tmp_path / "images", 40)
    shutil.copy(cases / "folder_appledouble" / "._000.jpg", folder)
    assert len(open_frames(str(folder))) == 40
    data = open_labeled(
        str(next(cases.glob("label*_exif_90")) / "exif"), load_manifest(write_detector(tmp_path / "model"))
    )
    with pytest.raises(DataError, match="its EXIF orientation is 6"):
        data.readable(range(len(data)))
    mosaic = open_frames(str(cases / "image_bayer_as_jpeg" / "bayer_jpeg.mcap"))
    assert {frame.color for frame in mosaic} == {"BGR"}
    assert "Bayer mosaics" in mosaic.account().notes[0]
