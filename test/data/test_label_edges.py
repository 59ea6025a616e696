# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labels as tools and people leave them, and labels that cannot be ground truth of their images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrame
from ad_compressed_perception.data.labeled import cityscapes
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.classes import ClassData
from ad_compressed_perception.data.labeled.masks import MaskData, read_mask
from ad_compressed_perception.metrics.confusion import IGNORE

LABELS = ["car", "person"]
SIZE = (100, 50)
YOLO_BOX = [40.0, 20.0, 60.0, 30.0]
KITTI = "Car 0 0 -10 {} -1 -1 -1 -1000 -1000 -1000 -10"


def write_image(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def yolo(root: Path, line: str, image: str = "a.jpg", more: str = "") -> BoxData:
    write_image(root / "images" / image)
    write(root / "labels" / f"{Path(image).stem}.txt", line)
    write(root / "data.yaml", f"names: [car, person]\n{more}")
    return BoxData(root, None, LABELS)


def kitti(root: Path, line: str) -> BoxData:
    write_image(root / "image_2/000.png")
    write(root / "label_2/000.txt", line)
    return BoxData(root, None, LABELS)


def coco(root: Path, box: list[float], names: tuple[str, ...] = ("a.jpg",)) -> BoxData:
    for name in names:
        write_image(root / "images" / name)
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    images = [{**one, "width": SIZE[0], "height": SIZE[1]} for one in images]
    boxes = [{"image_id": 0, "category_id": 1, "bbox": box}]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "car"}]}
    write(root / "instances.json", json.dumps(content))
    return BoxData(root, None, LABELS)


def voc(root: Path, inside: str = "") -> BoxData:
    for name in ("a.jpg", "b.jpg"):
        write_image(root / "JPEGImages" / name)
    edges = "<xmin>10</xmin><ymin>10</ymin><xmax>20</xmax><ymax>20</ymax>"
    one = f"<object><name>car</name>{inside}<bndbox>{edges}</bndbox></object>"
    write(root / "Annotations/a.xml", f"<annotation>\r\n{one}</annotation>")
    return BoxData(root, None, LABELS)


@pytest.mark.parametrize("image", ["a.jpg", "a.JPG", "ä ö.PNG"])
@pytest.mark.parametrize("line", ["0 .5 .5 .2 .2", "0 .5 .5 .2 .2  \r\n\r\n", "\ufeff0.0\t.5 .5 .2 .2\n"])
def test_lines_and_names_as_other_systems_write_them(tmp_path: Path, image: str, line: str) -> None:
    data = yolo(tmp_path, line, image)
    assert data.ground_truths[0].boxes_xyxy.tolist() == [pytest.approx(YOLO_BOX)]
    assert not isinstance(next(iter(data.read([0]))), BadFrame)


def test_linked_folders_and_empty_files_are_read(tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere/b.jpg")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/images").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "set/labels/b.txt", "")
    data = yolo(tmp_path / "set", "0 .5 .5 .2 .2")
    assert [len(one.boxes_xyxy) for one in data.ground_truths] == [1, 0]


def test_keypoints_after_a_box_are_no_polygon(tmp_path: Path) -> None:
    """Two points with a visibility are six numbers: ten in all, as a polygon of five points has."""
    keypoints = "0 .5 .5 .2 .2 .1 .1 1 .9 .9 1"
    data = yolo(tmp_path, keypoints, more="kpt_shape: [2, 3]\n")
    assert data.ground_truths[0].boxes_xyxy.tolist() == [pytest.approx(YOLO_BOX)]


def test_labels_and_images_that_are_left_out_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "yolo/labels/of_another_set.txt", "0 .5 .5 .2 .2")
    write(tmp_path / "yolo/labels/drive/b.txt", "0 .5 .5 .2 .2")
    assert "2 text files" in " ".join(yolo(tmp_path / "yolo", "0 .5 .5 .2 .2").notes)
    assert voc(tmp_path / "voc").notes == ["1 images without an XML file were left out."]


def test_detections_are_no_ground_truth(tmp_path: Path) -> None:
    """Against its own results any detector is perfect."""
    with pytest.raises(DataError, match="have scores: they are detections"):
        yolo(tmp_path / "yolo", "0 .5 .5 .2 .2 0.93")
    with pytest.raises(DataError, match="have scores"):
        kitti(tmp_path / "kitti", KITTI.format("10 10 30 30") + " 0.9\r\n")
    with pytest.raises(DataError, match="have scores"):
        voc(tmp_path / "voc", "<score>0.9</score>")


def test_a_table_of_results_is_named(tmp_path: Path) -> None:
    for suffix in ("JPG", "png"):
        write_image(tmp_path / f"images/{suffix}.{suffix}")
    write(tmp_path / "labels.csv", "file,label,score\r\nJPG.JPG,car ,0.9\r\npng.png,person,0.8\r\n")
    data = ClassData(tmp_path, None, LABELS)
    assert len(data) == 2
    assert "has a column score" in data.notes[0]


def test_boxes_in_other_units_are_refused(tmp_path: Path) -> None:
    """Such boxes match nothing, and two models that find nothing right lose no accuracy to each other."""
    for number, refused in enumerate((kitti, coco)):
        box = "0.1 0.1 0.3 0.3"
        content = KITTI.format(box) if refused is kitti else [float(edge) for edge in box.split()]
        with pytest.raises(DataError, match="look like shares of its size"):
            refused(tmp_path / str(number), content)  # type: ignore[operator]
    with pytest.raises(DataError, match="1 of 1 boxes reach beyond their images"):
        coco(tmp_path / "corners", [60.0, 30.0, 90.0, 45.0])
    with pytest.raises(DataError, match="1 of 1 boxes reach beyond their images"):
        yolo(tmp_path / "corners_in_shares", "0 .6 .6 .95 .95")


def test_an_image_with_a_box_outside_is_a_bad_frame_and_one_partly_outside_is_not(tmp_path: Path) -> None:
    """KITTI's images are 1242 wide; a box at 310 of an image of 100 is one of a larger image."""
    (frame,) = kitti(tmp_path / "outside", KITTI.format("310 10 430 30")).read([0])
    assert isinstance(frame, BadFrame) and "'Car' at 310, 10, 430, 30 is outside" in frame.reason
    (frame,) = kitti(tmp_path / "partly", KITTI.format("80 10 130 30")).read([0])
    assert not isinstance(frame, BadFrame)


def test_an_image_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lists the image .*a.jpg twice"):
        coco(tmp_path, [10.0, 10.0, 20.0, 20.0], ("a.jpg", "a.jpg"))


def masks(root: Path, ids: np.ndarray, suffix: str = "png") -> MaskData:
    write_image(root / "images/a.JPG")
    (root / "masks").mkdir()
    Image.fromarray(ids).save(root / f"masks/a.{suffix}")
    write(root / "labels.json", json.dumps(["background", "road"]))
    return MaskData(root, None, ["background", "road"])


@pytest.mark.parametrize(
    ("scale", "expected"), [(1, ""), (255, "of two names the ids are 0 and 1"), (7, "the id 7, which has no")]
)
def test_ids_without_a_name_do_not_vanish(tmp_path: Path, scale: int, expected: str) -> None:
    """They would not count, and a model that knows no road would be right wherever something counts."""
    ids = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    ids[20:] = scale
    (frame,) = masks(tmp_path, ids, "PNG").read([0])
    if expected:
        assert isinstance(frame, BadFrame) and expected in frame.reason
    else:
        assert np.array_equal(frame.ground_truth, ids)


def test_a_mask_as_jpeg_is_refused(tmp_path: Path) -> None:
    """Its 2000 pixels of background became 2100."""
    Image.fromarray(np.eye(64, dtype=np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="is a JPEG, whose compression changes ids"):
        read_mask(tmp_path / "a.jpg")


def write_cityscapes(root: Path, end: str, ids: np.ndarray, image: str = ".png") -> None:
    for part, frame in (("val", "aachen_000000_000019"), ("train", "ulm_000001_000019")):
        city = frame.partition("_")[0]
        write_image(root / f"leftImg8bit/{part}/{city}/{frame}_leftImg8bit{image}")
        mask = root / f"gtFine/{part}/{city}/{frame}_gtFine{end}"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids).save(mask)
        # Files beside the masks that are none.
        Image.fromarray(ids).save(mask.parent / f"{frame}_gtFine_instanceIds.png")
        write(mask.parent / f"._{mask.name}", "of macOS")


@pytest.mark.parametrize("image", [".png", ".PNG"])
@pytest.mark.parametrize(("end", "road", "car"), [("_labelIds.png", 7, 26), ("_labelTrainIds.png", 0, 13)])
def test_a_folder_of_cityscapes(tmp_path: Path, end: str, road: int, car: int, image: str) -> None:
    """Ids of labels.py: road is 7 (train id 0), car 26 (13); 3 is out of the region of interest, 255 void."""
    assert (cityscapes.NAMES[7], cityscapes.NAMES[26], cityscapes.TRAIN_NAMES[13]) == ("road", "car", "car")
    assert len(cityscapes.TRAIN_NAMES) == 19
    void = 3 if end == "_labelIds.png" else IGNORE
    ids = np.full((SIZE[1], SIZE[0]), void, np.uint8)
    ids[10:30], ids[30:] = road, car
    write_cityscapes(tmp_path, end, ids, image)
    data = MaskData(tmp_path, None, ["car", "road"])
    assert data.class_names[:2] == ("road", "car") and len(data) == 1  # of the part val
    (frame,) = data.read([0])
    found = [data.class_names[one] if one != IGNORE else "" for one in frame.ground_truth[[0, 20, 40], 0]]
    assert found == ["", "road", "car"]


def test_cityscapes_of_one_folder_with_images_of_another_or_none(tmp_path: Path) -> None:
    ids = np.full((SIZE[1], SIZE[0]), 7, np.uint8)
    write_cityscapes(tmp_path, "_labelIds.png", ids)
    val = tmp_path / "gtFine/val"
    assert len(MaskData(val, str(tmp_path / "leftImg8bit"), ["road"])) == 1
    with pytest.raises(DataError, match="no images of Cityscapes"):
        MaskData(val, None, ["road"])
    with pytest.raises(DataError, match=r"mask .*aachen.* has no image aachen_000000_000019_leftImg8bit.png"):
        MaskData(val, str(tmp_path / "leftImg8bit/train"), ["road"])
