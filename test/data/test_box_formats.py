# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Formats of labeled boxes: each is read as its own specification says, and what is written is read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.labeled.box_files import WRITERS, read_box_labels
from ad_compressed_perception.data.labeled.box_labels import BoxLabels, LabeledBox, LabeledImage
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.coco import write_coco_instances
from ad_compressed_perception.data.labeled.label_map import LabelMap

NAMES = ["car", "traffic light"]


def images_in(folder: Path, count: int = 2, width: int = 200, height: int = 100) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((height, width, 3), np.uint8))
    return folder


def rows(labels: BoxLabels) -> list[list[tuple[str, tuple[float, ...], bool]]]:
    return [
        [
            (box.category, tuple(round(edge, 4) for edge in box.box_xyxy), box.is_ignored)
            for box in image.boxes
        ]
        for image in labels.images
    ]


# ---- reading


def write_yolo_set(root: Path) -> Path:
    """The class 1 comes first: numbers, not the order in the file, choose the name."""
    images_in(root / "images" / "val")
    (root / "labels" / "val").mkdir(parents=True)
    (root / "labels" / "val" / "0.txt").write_text("1 0.5 0.5 0.1 0.2\n0 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5\n")
    (root / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: car\n  1: traffic light\n"
    )
    return root


def test_yolo_text_is_in_shares_of_the_image_and_a_polygon_is_its_box(tmp_path: Path) -> None:
    labels = read_box_labels(write_yolo_set(tmp_path), None)
    assert rows(labels) == [
        [("traffic light", (90, 40, 110, 60), False), ("car", (20, 10, 60, 50), False)],
        [],
    ]
    assert any("1 images have no text file" in note for note in labels.notes)
    assert any("part 'val'" in note for note in labels.notes)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("names: [car, traffic light]", ["car", "traffic light"]),
        ("names: {1: traffic light, 0: car}", ["car", "traffic light"]),
        ("\ufeffnc: 2\nnames:\n  0: car\n  1: traffic light", ["car", "traffic light"]),
    ],
)
def test_names_of_a_yolo_file_are_a_list_or_numbered(
    tmp_path: Path, content: str, expected: list[str]
) -> None:
    root = write_yolo_set(tmp_path)
    (root / "data.yaml").write_text(content, encoding="utf-8")
    assert read_box_labels(root, None).categories == expected
    assert read_box_labels(root / "data.yaml", None).categories == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 100 50 20 20", "are they pixels?"),
        ("2 0.5 0.5 0.1 0.1", "none of the 2 names"),
        ("0.5 0.5 0.5 0.1 0.1", "none of the 2 names"),
        ("0 0.5 0.5 0.1", "4 numbers"),
        ("car 0.5 0.5 0.1 0.1", "not numbers"),
        ("0 nan 0.5 0.1 0.1", "not finite"),
    ],
)
def test_a_wrong_line_of_yolo_is_named(tmp_path: Path, line: str, expected: str) -> None:
    root = write_yolo_set(tmp_path)
    (root / "labels" / "val" / "1.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(DataError, match=r"1\.txt, line 2") as raised:
        read_box_labels(root, None)
    assert expected in str(raised.value)


def test_yolo_without_names_is_refused_and_not_matched_by_number(tmp_path: Path) -> None:
    root = write_yolo_set(tmp_path)
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"data\.yaml \(names:\) or classes\.txt"):
        read_box_labels(root, None)
    (root / "classes.txt").write_text("car\ntraffic light\n")
    assert read_box_labels(root, None).categories == NAMES


def write_voc_set(root: Path, folder: str) -> Path:
    images_in(root / "JPEGImages", 1)
    (root / "Annotations").mkdir()
    (root / "Annotations" / "0.xml").write_text(
        f"<annotation><folder>{folder}</folder><filename>0.png</filename>"
        "<size><width>200</width><height>100</height></size>"
        "<object><name>car</name><difficult>1</difficult>"
        "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>"
        "</annotation>"
    )
    return root


@pytest.mark.parametrize(("folder", "corner"), [("VOC2012", 10.0), ("my_images", 11.0)])
def test_voc_counts_pixels_from_one_and_other_tools_from_zero(
    tmp_path: Path, folder: str, corner: float
) -> None:
    labels = read_box_labels(write_voc_set(tmp_path, folder), None)
    assert rows(labels) == [[("car", (corner, corner + 10, 30, 40), True)]]
    assert (labels.images[0].width, labels.images[0].height) == (200, 100)


def test_voc_with_entities_is_refused(tmp_path: Path) -> None:
    root = write_voc_set(tmp_path, "VOC2012")
    file = root / "Annotations" / "0.xml"
    file.write_text('<!DOCTYPE a [<!ENTITY b "bb">]>' + file.read_text())
    with pytest.raises(DataError, match="entities"):
        read_box_labels(root, None)


def test_kitti_regions_belong_to_every_class(tmp_path: Path) -> None:
    """DontCare covers what nobody labeled: a car and a person found there are no errors."""
    images_in(tmp_path / "image_2", 2)
    (tmp_path / "label_2").mkdir()
    (tmp_path / "label_2" / "0.txt").write_text(
        "Car 0.00 0 1.85 10 20 60 50 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n"
        "DontCare -1 -1 -10 100 20 160 50 -1 -1 -1 -1000 -1000 -1000 -10\n"
        "Pedestrian 0.00 0 1.85 70 20 80 50 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n"
    )
    (tmp_path / "label_2" / "1.txt").write_text("")
    data = BoxData(tmp_path, None, ["person", "car", "pedestrian"])
    assert data.class_names == ("car", "pedestrian")
    found = data.ground_truths[0]
    assert found.class_ids.tolist() == [0, 1, 0, 1]
    assert found.is_crowd.tolist() == [False, False, True, True]
    assert found.boxes_xyxy[2:].tolist() == [[100, 20, 160, 50]] * 2
    assert len(data.ground_truths[1].class_ids) == 0
    assert any("In 1 regions" in note for note in data.notes)


def test_categories_of_a_label_map_become_regions(tmp_path: Path) -> None:
    """A van is close to a car: a model that calls it one is neither right nor wrong."""
    images_in(tmp_path / "image_2", 1)
    (tmp_path / "label_2").mkdir()
    line = "{} 0.00 0 1.85 {} 20 {} 50 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n"
    (tmp_path / "label_2" / "0.txt").write_text(line.format("Car", 10, 60) + line.format("Van", 70, 90))
    chosen = LabelMap.model_validate(
        {"classes": {"car": {"categories": ["car"], "labels": ["car"]}}, "ignore_categories": ["van"]}
    )
    found = BoxData(tmp_path, None, ["car"], chosen).ground_truths[0]
    assert found.is_crowd.tolist() == [False, True]
    with pytest.raises(ValueError, match="named more than once"):
        LabelMap.model_validate(
            {"classes": {"car": {"categories": ["car"], "labels": ["car"]}}, "ignore_categories": ["Car"]}
        )


def test_bdd100k_holds_the_last_pixel_and_lanes_are_no_objects(tmp_path: Path) -> None:
    images_in(tmp_path / "images", 2)
    frames: list[dict[str, Any]] = [
        {
            "name": "0.png",
            "labels": [
                {"category": "car", "box2d": {"x1": 10, "y1": 20, "x2": 59, "y2": 49}},
                {"category": "lane", "poly2d": []},
                {
                    "category": "traffic light",
                    "attributes": {"crowd": True},
                    "box2d": {"x1": 0, "y1": 0, "x2": 9, "y2": 9},
                },
            ],
        },
        {"name": "1.png", "labels": None},
    ]
    file = tmp_path / "det_val.json"
    for content in (frames, {"frames": frames}):
        file.write_text(json.dumps(content))
        labels = read_box_labels(file, None)
        assert rows(labels) == [
            [("car", (10, 20, 60, 50), False), ("traffic light", (0, 0, 10, 10), True)],
            [],
        ]
        assert labels.notes == ["1 labels without a box were left out."]


def test_regions_of_a_coco_file_do_not_count(tmp_path: Path) -> None:
    """Sets that were made from KITTI keep its regions under ``ignore_regions``."""
    images_in(tmp_path / "images", 1)
    document = {
        "images": [{"id": 5, "file_name": "0.png"}],
        "annotations": [{"image_id": 5, "category_id": 3, "bbox": [10, 20, 50, 30]}],
        "categories": [{"id": 3, "name": "car"}],
        "ignore_regions": [{"image_id": 5, "bbox": [100, 20, 60, 30]}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    found = BoxData(tmp_path, None, ["car"]).ground_truths[0]
    assert found.boxes_xyxy.tolist() == [[10, 20, 60, 50], [100, 20, 160, 50]]
    assert found.is_crowd.tolist() == [False, True]


def test_labels_of_no_known_format_name_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="YOLO, Pascal VOC or KITTI"):
        read_box_labels(tmp_path, None)


# ---- writing

edge = st.floats(0.0, 95.0, allow_nan=False).map(lambda value: round(value, 3))
boxes = st.builds(
    lambda left, top, name, score: LabeledBox((left, top, left + 5.0, top + 5.0), name, score=score),
    edge,
    edge,
    st.sampled_from(NAMES),
    st.floats(0.0, 1.0, allow_nan=False).map(lambda value: round(value, 4)),
)


@pytest.mark.parametrize("name", ["yolo", "voc", "kitti", "bdd100k"])
@settings(max_examples=15, deadline=None)
@given(found=st.lists(st.lists(boxes, max_size=3), min_size=2, max_size=2))
def test_written_boxes_are_read_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, found: list[list[LabeledBox]]
) -> None:
    """Nine digits are written: less than 1e-5 pixels are lost. Without any box, the format is unknown."""
    if not any(found):
        return
    root = tmp_path_factory.mktemp(name)
    folder = images_in(root / "images", 2)
    images = [
        LabeledImage(folder / f"{index}.png", each, width=200, height=100) for index, each in enumerate(found)
    ]
    written = WRITERS[name](root, "int8", BoxLabels(root, images, NAMES))
    place = written.parent / "labels" if name == "yolo" else written
    again = read_box_labels(place, str(folder))
    for before, after in zip(found, again.images, strict=True):
        assert len(before) == len(after.boxes)
        for one, other in zip(before, after.boxes, strict=True):
            assert np.abs(np.subtract(one.box_xyxy, other.box_xyxy)).max() < 1e-4
            assert other.category.replace("_", " ") == one.category
            if name != "voc":  # labels of VOC have no scores; the file's score is for readers of results
                assert other.score == pytest.approx(one.score)


def test_written_ground_truth_keeps_the_numbers_of_its_file(tmp_path: Path) -> None:
    """Results refer to images and categories by number, and those need not begin at 1."""
    images_in(tmp_path / "images", 2)
    document = {
        "images": [{"id": 50, "file_name": "0.png"}, {"id": 20, "file_name": "1.png"}],
        "annotations": [
            {"image_id": 20, "category_id": 9, "bbox": [10, 20, 50, 30]},
            {"image_id": 50, "category_id": 4, "bbox": [1, 2, 5, 3], "iscrowd": 1},
        ],
        "categories": [{"id": 9, "name": "car"}, {"id": 4, "name": "traffic light"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    labels = read_box_labels(tmp_path, None)
    (tmp_path / "out").mkdir()
    written = json.loads(write_coco_instances(tmp_path / "out", labels).read_text())
    assert [image["id"] for image in written["images"]] == [50, 20]
    assert {one["name"]: one["id"] for one in written["categories"]} == {"car": 9, "traffic light": 4}
    found = {(one["image_id"], one["category_id"], one["iscrowd"]) for one in written["annotations"]}
    assert found == {(20, 9, 0), (50, 4, 1)}


def test_images_of_one_name_are_not_written_over_each_other(tmp_path: Path) -> None:
    images = [LabeledImage(tmp_path / part / "0.png", width=9, height=9) for part in ("a", "b")]
    with pytest.raises(DataError, match="one would replace the other"):
        WRITERS["kitti"](tmp_path, "int8", BoxLabels(tmp_path, images, NAMES))
