# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labeled data: reading, matching by name or time, and the error message of each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.dataset import choose_indices, split_data_spec
from ad_compressed_perception.data.labeled.drive import nearest
from ad_compressed_perception.data.labeled.label_map import LabelMap, load_label_map, shipped_label_maps
from ad_compressed_perception.data.labeled.masks import MaskData, read_mask
from ad_compressed_perception.data.labeled.steering import SteeringData, read_steering
from ad_compressed_perception.metrics.confusion import IGNORE
from support.bags import road_frames, stamps_of, write_bag
from support.labeled import LABEL_MAP, SCENES, write_boxes, write_csv, write_masks
from support.models import DETECTOR_LABELS, SEGMENTER_LABELS


def refused(call: Any, *arguments: Any, **named: Any) -> str:
    """Return the one line of the DataError that a call ends with."""
    with pytest.raises(DataError) as error:
        call(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- choosing


@given(st.integers(1, 300), st.floats(0, 0.9), st.floats(0.05, 1.0), st.integers(1, 50))
def test_chosen_frames_are_in_the_part_and_spread(total: int, start: float, share: float, limit: int) -> None:
    stop = min(1.0, start + share)
    if int(total * stop) - int(total * start) < 1:
        assert "nothing left" in refused(choose_indices, total, start, stop)
        return
    every = choose_indices(total, start, stop)
    some = choose_indices(total, start, stop, limit)
    assert every == list(range(int(total * start), int(total * stop)))
    assert len(some) == min(limit, len(every))
    assert set(some) <= set(every)
    steps = np.diff(some)
    assert steps.size == 0 or steps.min() >= 1
    assert steps.size == 0 or steps.max() - steps.min() <= 1, "even steps"


def test_invalid_parts() -> None:
    assert "0 <= from < to <= 1" in refused(choose_indices, 10, 0.5, 0.5)
    assert "0 <= from < to <= 1" in refused(choose_indices, 10, 0.5, 1.5)
    assert "at least 1" in refused(choose_indices, 10, limit=0)


def test_data_spec(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    (tmp_path / "l.csv").touch()
    assert split_data_spec(f"{tmp_path}/a@b") == (tmp_path / "a@b", None)
    assert split_data_spec(f"{tmp_path}/l.csv@bag:/image") == (tmp_path / "l.csv", "bag:/image")
    assert "no such labels" in refused(split_data_spec, f"{tmp_path}/none.csv@images")
    assert "no such data" in refused(split_data_spec, f"{tmp_path}/none")


# ---- label maps


def test_shipped_map_reads() -> None:
    assert "camvid_road" in shipped_label_maps()
    chosen = load_label_map("camvid_road")
    assert chosen.classes["road"].labels == ["road", "marking"]
    assert (chosen.classes["road"].mask_ids, chosen.ignore_ids) == ([3], [11])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"klasses": {}}, "unknown key 'klasses'"),
        ({"classes": {}}, "classes"),
        ({"classes": {"road": {"mask_ids": [1]}}}, "classes.road.labels"),
        ({"classes": {"road": {"labels": ["a"], "mask_ids": [-1]}}}, "classes.road.mask_ids.0"),
        ({"classes": {"background": {"labels": ["a"]}}}, "rest must not be the name of a class"),
        ({"classes": {"x": {"labels": ["a"]}, "y": {"labels": ["a"]}}}, "label a is named more than once"),
        ({"classes": {"x": {"labels": ["a"], "mask_ids": [1]}}, "ignore_ids": [1]}, "mask id 1 is named"),
    ],
)
def test_malformed_maps(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    file = tmp_path / "map.yaml"
    file.write_text(yaml.safe_dump({"classes": {"road": {"labels": ["road"], "mask_ids": [3]}}, **change}))
    message = refused(load_label_map, file)
    assert expected in message
    assert str(file) in message


def test_missing_map(tmp_path: Path) -> None:
    assert "camvid_road" in refused(load_label_map, "nowhere")
    (tmp_path / "list.yaml").write_text("- 1")
    assert "must hold a mapping" in refused(load_label_map, tmp_path / "list.yaml")


# ---- boxes


def test_boxes_are_matched_by_name_not_by_index(tmp_path: Path) -> None:
    """Category ids begin at 7 and the model orders its labels otherwise: only names count."""
    folder = write_boxes(tmp_path / "coco", SCENES)
    data = BoxData(folder, None, ["sign", "tree", "Person", "car"])

    assert data.class_names == ("sign", "Person", "car")
    assert data.classes.of_label.tolist() == [0, -1, 1, 2]
    items = list(data.items(range(4)))
    assert [item.ground_truth.class_ids.tolist() for item in items] == [[2, 1], [0], [2], []]
    assert items[0].ground_truth.boxes_xyxy.tolist() == [[8, 8, 16, 16], [40, 40, 48, 48]]
    assert items[0].frame.pixels.shape == (64, 64, 3)
    assert data.notes == []


def test_categories_the_model_lacks_are_reported(tmp_path: Path) -> None:
    data = BoxData(write_boxes(tmp_path / "coco", SCENES), None, ["car"])
    assert data.class_names == ("car",)
    assert any("person, sign" in note for note in data.notes)
    assert len(data) == 4, "images without an object of the model's stay: they can give false alarms"


def test_label_map_joins_categories_and_labels(tmp_path: Path) -> None:
    chosen = LabelMap.model_validate(
        {"classes": {"thing": {"categories": ["Car", "sign"], "labels": ["lorry", "post"]}}}
    )
    data = BoxData(write_boxes(tmp_path / "coco", SCENES), None, ["lorry", "post", "person"], chosen)
    assert data.classes.of_label.tolist() == [0, 0, -1]
    assert [item.ground_truth.class_ids.tolist() for item in data.items(range(4))] == [[0], [0], [0], []]


def test_json_can_lie_elsewhere(tmp_path: Path) -> None:
    folder = write_boxes(tmp_path / "coco", SCENES)
    file = (folder / "instances.json").rename(folder / "other.json")
    assert len(BoxData(folder, None, DETECTOR_LABELS)) == 4
    assert len(BoxData(file, None, DETECTOR_LABELS)) == 4
    moved = file.rename(tmp_path / "moved.json")
    assert len(BoxData(moved, str(folder / "images"), DETECTOR_LABELS)) == 4


def test_boxes_without_area_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"image_id": 0, "category_id": 7, "bbox": [1, 1, 0, 5]},
        {"image_id": 0, "category_id": 7, "bbox": [1, 1, 4, 5], "iscrowd": 1},
    ]
    data = BoxData(write_boxes(tmp_path / "coco", [[]], annotations=rows), None, DETECTOR_LABELS)
    ground_truth = next(data.items([0])).ground_truth
    assert ground_truth.is_crowd.tolist() == [True]
    assert data.notes == ["1 boxes without an area were left out."]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": []}, "is no COCO file: images"),
        ({"annotations": [{"image_id": 0}]}, "annotations.0.category_id: Field required (and 1 more)"),
        ({"annotations": [{"image_id": 9, "category_id": 7, "bbox": [0, 0, 1, 1]}]}, "image 9, which is not"),
        ({"annotations": [{"image_id": 0, "category_id": 99, "bbox": [0, 0, 1, 1]}]}, "unknown category 99"),
        ({"images": [{"id": 0, "file_name": "gone.jpg"}]}, "1 images, 1 of them missing"),
        ({"categories": [{"id": 7, "name": "tram"}], "annotations": []}, "a label map"),
    ],
)
def test_malformed_coco(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    folder = write_boxes(tmp_path / "coco", [[]], **changes)
    assert expected in refused(BoxData, folder, None, DETECTOR_LABELS)


def test_no_coco_at_all(tmp_path: Path) -> None:
    assert "holds no instances.json" in refused(BoxData, tmp_path, None, DETECTOR_LABELS)
    (tmp_path / "instances.json").write_text("{")
    assert "is no JSON file" in refused(BoxData, tmp_path, None, DETECTOR_LABELS)
    (tmp_path / "instances.json").write_text(json.dumps([1]))
    assert "is no COCO file: top level" in refused(BoxData, tmp_path, None, DETECTOR_LABELS)


def test_maps_that_do_not_fit_the_boxes(tmp_path: Path) -> None:
    folder = write_boxes(tmp_path / "coco", SCENES)
    cases = [
        (
            {"x": {"categories": ["tram"], "labels": ["car"]}},
            "does not have: tram; it has: car, person, sign",
        ),
        ({"x": {"categories": ["car"], "labels": ["tram"]}}, "the model has no label 'tram'"),
        ({"x": {"mask_ids": [1], "labels": ["car"]}}, "names no categories"),
    ]
    for classes, expected in cases:
        chosen = LabelMap.model_validate({"classes": classes})
        assert expected in refused(BoxData, folder, None, DETECTOR_LABELS, chosen)


def test_image_of_another_size_than_its_labels(tmp_path: Path) -> None:
    folder = write_boxes(tmp_path / "coco", SCENES)
    cv2.imwrite(str(folder / "images" / "1.png"), np.zeros((32, 64, 3), np.uint8))
    data = BoxData(folder, None, DETECTOR_LABELS)
    assert "is 64x32 pixels, its labels say 64x64" in refused(lambda: list(data.items([0, 1])))


# ---- masks


def test_masks_become_classes(tmp_path: Path) -> None:
    data = MaskData(write_masks(tmp_path / "m"), None, SEGMENTER_LABELS)
    assert data.class_names == ("cold", "warm", "background")
    assert data.classes.of_label.tolist() == [2, 0, 0, 1]
    ground_truth = next(data.items([1])).ground_truth
    assert (ground_truth[0] == IGNORE).all()
    assert (ground_truth[1:, :32] == 0).all()
    assert (ground_truth[1:, 32:] == 1).all()


def test_masks_and_images_in_folders_of_their_own(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "m")
    (folder / "images" / "2.png").rename(folder / "images" / "unpaired.png")
    chosen = LabelMap.model_validate(LABEL_MAP)
    data = MaskData(folder / "masks", str(folder / "images"), SEGMENTER_LABELS, chosen)
    assert len(data) == 2
    assert data.notes == ["1 images without a mask were left out."]


def test_palette_indices_are_the_ids(tmp_path: Path) -> None:
    """VOC and many tools save ids as a palette image: the colors are for people only."""
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(ids, mode="P")
    image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    image.save(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), ids)
    cv2.imwrite(str(tmp_path / "deep.png"), ids.astype(np.uint16) * 1000)
    assert np.array_equal(read_mask(tmp_path / "deep.png"), ids.astype(int) * 1000)


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "colors.png"), np.zeros((4, 4, 3), np.uint8))
    assert "mode RGB" in refused(read_mask, tmp_path / "colors.png")
    (tmp_path / "text.png").write_text("no")
    assert "not a readable mask" in refused(read_mask, tmp_path / "text.png")


def test_mask_data_that_cannot_be_used(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "m", label_map=None)
    assert "no masks in" in refused(MaskData, tmp_path, None, SEGMENTER_LABELS)
    assert "camvid_road" in refused(MaskData, folder, None, SEGMENTER_LABELS)
    for classes, expected in (
        ({"x": {"labels": ["violet"], "mask_ids": [1]}}, "no label 'violet'"),
        ({"x": {"labels": ["blue"]}}, "names no mask_ids"),
    ):
        chosen = LabelMap.model_validate({"classes": classes})
        assert expected in refused(MaskData, folder, None, SEGMENTER_LABELS, chosen)
    chosen = LabelMap.model_validate(LABEL_MAP)
    cv2.imwrite(str(folder / "masks" / "1.png"), np.zeros((48, 32), np.uint8))
    data = MaskData(folder, None, SEGMENTER_LABELS, chosen)
    assert "32x48 pixels, its image 64x48" in refused(lambda: list(data.items([1])))
    for index in range(3):
        (folder / "masks" / f"{index}.png").rename(folder / "masks" / f"m{index}.png")
    assert "has a mask of its name" in refused(MaskData, folder, None, SEGMENTER_LABELS, chosen)


# ---- steering


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=20, unique=True),
    st.lists(st.integers(-50, 1050), min_size=1, max_size=20),
)
def test_nearest_is_the_nearest(stamps: list[int], queries: list[int]) -> None:
    log = np.array(sorted(stamps))
    found = nearest(log, np.array(queries))
    for time, index in zip(queries, found, strict=True):
        assert abs(int(log[index]) - time) == min(abs(stamp - time) for stamp in stamps)


def test_frames_are_matched_by_time(tmp_path: Path) -> None:
    """Labels at 10 ms after each frame, one missing; a frame further than the tolerance is left out."""
    stamps = stamps_of(4)
    bag = write_bag(tmp_path / "bag", road_frames(4))
    rows = [(stamp + 10_000_000, float(index)) for index, stamp in enumerate(stamps) if index != 2]
    log = write_csv(tmp_path / "log.csv", rows[::-1])

    data = SteeringData(log, str(bag), tolerance_ms=20.0)
    items = list(data.items(range(len(data))))
    assert [item.ground_truth for item in items] == [0.0, 1.0, 3.0]
    assert [item.frame.stamp_ns for item in items] == [stamps[0], stamps[1], stamps[3]]
    assert data.notes == ["1 frames without a label within 20 ms were left out."]
    assert [item.ground_truth for item in data.items([0, 2])] == [0.0, 3.0]


def test_labels_of_another_time(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", road_frames(2))
    log = write_csv(tmp_path / "log.csv", [(5, 0.0), (7, 1.0)])
    message = refused(SteeringData, log, str(bag))
    assert "no frame of" in message
    assert "labels 5..7" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no column stamp_ns and steering_angle_rad; it has: none"),
        ("stamp_ns,angle\n1,2\n", "has no column steering_angle_rad; it has: stamp_ns, angle"),
        ("stamp_ns,steering_angle_rad\n", "holds no steering angles"),
        ("stamp_ns,steering_angle_rad\n1,0.5\n2.5,0.5\n", "line 3: expected an integer stamp"),
        ("stamp_ns,steering_angle_rad\n1,nan\n", "line 2"),
        ("stamp_ns,steering_angle_rad\n1\n", "line 2"),
        ("stamp_ns,steering_angle_rad\n99999999999999999999,1\n", "line 2"),
    ],
)
def test_malformed_logs(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "steering.csv").write_text(text)
    assert expected in refused(read_steering, tmp_path / "steering.csv")


def test_missing_log(tmp_path: Path) -> None:
    assert "holds no steering.csv" in refused(SteeringData, tmp_path, None)
    (tmp_path / "steering.csv").write_bytes(b"\xff\xfe\x00")
    assert "cannot read" in refused(read_steering, tmp_path / "steering.csv")


def test_spaces_and_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbfstamp_ns, steering_angle_rad, more\n3, -0.25, x\n")
    stamps, angles = read_steering(tmp_path / "log.csv")
    assert (stamps.tolist(), angles.tolist()) == ([3], [-0.25])
