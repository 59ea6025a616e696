# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Habits of labeling tools and of people's folders: what would change a figure is read right or named."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import list_images_and_others
from ad_compressed_perception.data.labeled.bdd100k import read_bdd100k
from ad_compressed_perception.data.labeled.box_files import read_box_labels
from ad_compressed_perception.data.labeled.masks import read_names


def image_at(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((100, 200, 3), np.uint8))
    return path


def voc_file(
    root: Path, difficult: str = "0", width: str = "200", file: str = "a.png", stem: str = "a"
) -> Path:
    image_at(root / "JPEGImages" / "a.png")
    (root / "Annotations").mkdir()
    (root / "Annotations" / f"{stem}.xml").write_text(
        f"<annotation><filename>{file}</filename><size><width>{width}</width><height>100</height></size>"
        f"<object><name>car</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>",
        encoding="utf-8",
    )
    return root


@pytest.mark.parametrize(
    ("mark", "is_ignored"),
    [("0", False), ("false", False), ("Unspecified", False), ("", False), ("1", True), ("True", True)],
)
def test_words_say_whether_an_object_is_difficult_or_a_crowd(tmp_path: Path, mark, is_ignored) -> None:
    """Every word but 0 made it one that does not count, and the object was missing from the figures."""
    labels = read_box_labels(voc_file(tmp_path, mark), None)
    assert [box.is_ignored for image in labels.images for box in image.boxes] == [is_ignored]
    corners = {"x1": 1, "y1": 1, "x2": 9, "y2": 9}
    entry = {"category": "car", "box2d": corners, "attributes": {"crowd": mark}}
    frames = [{"name": "a.png", "labels": [entry]}]
    crowds = read_bdd100k(tmp_path / "l.json", frames, tmp_path / "JPEGImages").images[0].boxes
    assert [box.is_ignored for box in crowds] == [is_ignored]


def test_sizes_and_paths_that_tools_write_into_voc_files(tmp_path: Path) -> None:
    assert read_box_labels(voc_file(tmp_path / "size", width="\u00b2"), None).images[0].width is None
    labels = read_box_labels(voc_file(tmp_path / "path", file="C:\\drive\\a.png", stem="other"), None)
    assert labels.images[0].path == tmp_path / "path" / "JPEGImages" / "a.png"


def test_images_that_share_a_text_file_are_named(tmp_path: Path) -> None:
    """0.png beside 0.jpg, left by a conversion, counts every object twice."""
    for suffix in ("png", "JPG"):
        image_at(tmp_path / "images" / f"0.{suffix}")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "classes.txt").write_text("car\n")
    assert (
        "1 names have several images (0), each of which counts with the labels."
        in read_box_labels(tmp_path, None).notes
    )
    (tmp_path / "labels" / "0.txt").write_text("0 nan .5 .1 .1\n")
    with pytest.raises(DataError, match="line 1: numbers that are not finite"):
        read_box_labels(tmp_path, None)


def test_folders_of_images_within_a_folder_of_images_are_listed_as_not_read(tmp_path: Path) -> None:
    first = image_at(tmp_path / "0.png")
    image_at(tmp_path / "more" / "1.png")
    (tmp_path / "empty").mkdir()
    assert list_images_and_others(tmp_path) == ([first], ["more/"])


def test_names_of_masks_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text("\ufeff" + json.dumps(["road", "car"]), encoding="utf-8")
    assert read_names(path) == ["road", "car"]
