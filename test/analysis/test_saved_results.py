# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp evaluate --save``: what is written says the same as the figures, to other programs too."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from ad_compressed_perception.cli import evaluate as verb
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.data.labeled.box_files import read_box_labels
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.bags import stamps_of
from support.classifiers import write_class_folders, write_classifier
from support.labeled import SCENES, steering_images, true_angle, write_boxes, write_csv, write_masks
from support.models import write_detector, write_planner, write_segmenter

app = typer.Typer()
app.command("evaluate")(verb.evaluate)
REPOSITORY = Path(__file__).parents[2]
MISSED = [*SCENES[:1], [("sign", 3, 6), ("car", 0, 0)], *SCENES[2:]]
"""The scenes; in the second one the labels have a car that is not in the image."""


def adcp(*arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, words, catch_exceptions=False)


def document(*arguments: object) -> dict[str, Any]:
    result = adcp(*arguments, "--json")
    assert result.exit_code == 0, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def imperfect(folder: Path) -> Path:
    """Write the scenes' labels with one car that no detector can find: mAP is below 1."""
    data = write_boxes(folder, SCENES)
    labels = json.loads((data / "instances.json").read_text())
    other = json.loads((write_boxes(folder / "other", MISSED) / "instances.json").read_text())
    (data / "instances.json").write_text(json.dumps({**labels, "annotations": other["annotations"]}))
    return data


def reference_map(labels: Path, results: Path) -> float:
    """Return mAP by the evaluator of COCO's own file formats, as a user of the files calls it."""
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        # Labels of some tools lack what COCO's own files have.
        dataset = json.loads(labels.read_text())
        for number, one in enumerate(dataset["annotations"], start=1):
            area = one["bbox"][2] * one["bbox"][3]
            one |= {"id": number, "iscrowd": one.get("iscrowd", 0), "area": one.get("area", area)}
        ground_truth = COCO(dataset)
        found = ground_truth.loadRes(str(results))
        evaluation = COCOeval_faster(ground_truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def test_map_of_written_coco_results_is_the_figure(tmp_path: Path) -> None:
    """Against the written ground truth and against the data's own file, whose numbers the results keep."""
    model, data = write_detector(tmp_path / "model"), imperfect(tmp_path / "data")
    parsed = document(model, "--data", data, "--save", tmp_path / "out")
    figure = parsed["variants"]["fp32"]["figures"]["map"]["value"]
    assert 0.2 < figure < 0.95, "neither perfect nor hopeless, or a wrong file would look right"
    assert parsed["saved"] == [str(tmp_path / "out" / name) for name in ("fp32.json", "instances.json")]
    for labels in (tmp_path / "out" / "instances.json", data / "instances.json"):
        assert reference_map(labels, tmp_path / "out" / "fp32.json") == pytest.approx(figure, abs=1e-6)


def test_map_of_written_results_of_a_real_detector_is_the_figure(tmp_path: Path, shared_dir: Path) -> None:
    model = REPOSITORY / "config" / "reference_models" / "yolox_nano"
    data = shared_dir / "data" / "coco64"
    parsed = document(model, "--data", data, "--limit", 12, "--save", tmp_path / "out")
    figure = parsed["variants"]["fp32"]["figures"]["map"]["value"]
    found = reference_map(tmp_path / "out" / "instances.json", tmp_path / "out" / "fp32.json")
    assert found == pytest.approx(figure, abs=1e-6)


def test_results_of_a_file_have_the_figures_of_their_variant(tmp_path: Path) -> None:
    """A file that was written is a second variant: the paired difference is zero."""
    model, data = write_detector(tmp_path / "model"), imperfect(tmp_path / "data")
    document(model, "--data", data, "--save", tmp_path / "out")
    parsed = document(model, "--data", data, "--results", tmp_path / "out" / "fp32.json")
    assert parsed["variants"]["fp32.json"]["figures"] == parsed["variants"]["fp32"]["figures"]
    assert parsed["comparison"]["fp32.json"]["difference"]["map"]["value"] == 0.0
    assert parsed["variants"]["fp32.json"]["backend"] == "file"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{}", "is no COCO results file"),
        ('[{"image_id": 99, "category_id": 7, "bbox": [0, 0, 1, 1], "score": 0.5}]', "of image 99"),
        ('[{"image_id": 0, "category_id": 7, "bbox": [0, 0, 1, 1], "score": 5}]', "result 0: score"),
        ('[{"image_id": 0, "category_id": 7, "bbox": [0, 0, NaN, 1], "score": 0.5}]', "result 0: bbox.2"),
        ('[{"image_id": 0, "category_id": 7, "bbox": [0.1, 0, 0.3, 1], "score": 0.5}]', "in pixels"),
        ("[]", "no detection of an evaluated category"),
        ("nonsense", "cannot read results"),
    ],
)
def test_results_that_are_none_are_refused(tmp_path: Path, content: str, expected: str) -> None:
    """Numbers of another file's images would give an mAP near 0 that looks like a bad detector."""
    model, data = write_detector(tmp_path / "model"), imperfect(tmp_path / "data")
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(DataError, match=expected):
        adcp(model, "--data", data, "--results", tmp_path / "other.json")


@pytest.mark.parametrize("name", ["yolo", "voc", "kitti", "bdd100k"])
def test_detections_are_written_in_the_formats_of_other_tools(tmp_path: Path, name: str) -> None:
    model, data = write_detector(tmp_path / "model"), imperfect(tmp_path / "data")
    adcp(model, "--data", data, "--save", tmp_path / "out", "--save-format", name)
    place = {"yolo": "fp32/labels", "bdd100k": "fp32.json"}.get(name, "fp32")
    found = read_box_labels(tmp_path / "out" / place, str(data / "images"))
    strongest = [{box.category for box in image.boxes} for image in found.images]
    assert [{"car", "person"} <= strongest[0], "sign" in strongest[1], "car" in strongest[2]] == [True] * 3


def test_masks_are_written_with_their_labels_and_read_again(tmp_path: Path) -> None:
    model, data = write_segmenter(tmp_path / "model"), write_masks(tmp_path / "data")
    parsed = document(model, "--data", data, "--save", tmp_path / "out")
    masks = tmp_path / "out" / "fp32"
    assert parsed["saved"] == [str(masks)]
    assert json.loads((masks / "labels.json").read_text()) == load_manifest(model).labels
    again = document(model, "--data", f"{masks}@{data / 'images'}")
    assert again["variants"]["fp32"]["figures"]["miou"]["value"] == 1.0, "a model agrees with itself"


def test_masks_as_ids_of_cityscapes(tmp_path: Path) -> None:
    """Labels that Cityscapes does not have become 0, unlabeled; road is 7 and sky 23 there."""
    model, data = write_segmenter(tmp_path / "model"), write_masks(tmp_path / "data", label_map=None)
    manifest = load_manifest(model)
    manifest.labels = ["background", "road", "green", "sky"]
    save_manifest(manifest, model)
    (data / "labels.json").write_text(json.dumps([str(n) for n in range(4)] + ["road", *"abcd", "sky"]))
    adcp(model, "--data", data, "--save", tmp_path / "out", "--save-format", "cityscapes")
    mask = cv2.imread(str(tmp_path / "out" / "fp32" / "0_labelIds.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (48, 64)
    assert set(np.unique(mask[:, :28])) == {7}
    assert set(np.unique(mask[:, 36:])) == {23}


def test_a_drive_is_written_as_one_line_a_frame(tmp_path: Path) -> None:
    stamps = stamps_of(6)
    angles = [true_angle(index, 6) for index in range(6)]
    write_csv(tmp_path / "drive" / "steering.csv", list(zip(stamps, angles, strict=True)))
    (tmp_path / "drive" / "images").mkdir()
    for stamp, image in zip(stamps, steering_images(6), strict=True):
        cv2.imwrite(str(tmp_path / "drive" / "images" / f"{stamp}.png"), image)
    model = write_planner(tmp_path / "model")
    adcp(model, "--data", tmp_path / "drive", "--save", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "fp32.jsonl").read_text().splitlines()]
    assert [line["stamp_ns"] for line in lines] == list(stamps)
    assert [line["steering_angle_rad"] for line in lines] == pytest.approx(angles, abs=0.02)
    assert all(len(line["points_xy_m"][0]) == 2 for line in lines)


def test_a_folder_with_files_is_not_written_to(tmp_path: Path) -> None:
    model, data = write_detector(tmp_path / "model"), imperfect(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        adcp(model, "--data", data, "--save", tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    with pytest.raises(DataError, match="not as 'masks'"):
        adcp(model, "--data", data, "--save", tmp_path / "new", "--save-format", "masks")
    assert "needs --save DIR" in adcp(model, "--data", data, "--save-format", "coco").output


def test_classes_are_written_as_csv_and_read_again(tmp_path: Path) -> None:
    model, data = write_classifier(tmp_path / "model"), write_class_folders(tmp_path / "data", 2)
    adcp(model, "--data", data, "--save", tmp_path / "out")
    with (tmp_path / "out" / "fp32.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    assert {row["label"] for row in rows} <= set(load_manifest(model).labels)
