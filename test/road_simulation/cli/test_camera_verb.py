# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp camera``: its recordings are valid data for ``adcp evaluate``, and equal seeds give equal images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from ad_compressed_perception.cli import evaluate as evaluate_verb
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.label_map import LabelMap
from ad_compressed_perception.data.labeled.masks import MaskData
from ad_compressed_perception.data.labeled.paths import PathData, read_paths
from ad_road_simulation.cli import camera as camera_verb
from ad_road_simulation.world.scene import LABELS, MASK_LABELS
from support.models import WRITERS

SMALL = ("--size", "160x90", "--frames", "12")
app = typer.Typer()
app.command("camera")(camera_verb.camera)
app.command("evaluate")(evaluate_verb.evaluate)


def adcp(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def recorded(out: Path, *arguments: object) -> Path:
    result = adcp("camera", "--out", out, *SMALL, *arguments)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("camera") / "drive", "--seed", 3, "--format", "png")


def test_a_drive_is_labeled_data_for_all_three_tasks_without_a_label_map(drive: Path) -> None:
    """Models with the labels of the ground truth need no label map."""
    boxes, masks = BoxData(drive, None, LABELS), MaskData(drive, None, MASK_LABELS)
    paths = PathData(drive, None)

    assert len(boxes) == len(masks) == len(paths) == 12
    assert masks.class_names == MASK_LABELS
    assert paths.is_series
    [mask] = [item.ground_truth for item in masks.items([0])]
    assert mask[89, 80] == MASK_LABELS.index("road")
    assert not boxes.notes
    assert not paths.notes
    [first] = paths.items([0])
    assert first.speed_mps == 8.0  # initial speed of every route
    # The first point is one step ahead: 0.15 s at 8 m/s and a little more.
    assert first.ground_truth.points_xy_m[0, 0] == pytest.approx(1.2, abs=0.1)


@pytest.mark.parametrize("task", ["detection", "segmentation", "planning"])
def test_evaluate_accepts_the_recording(drive: Path, tmp_path: Path, task: str) -> None:
    """The tiny models have other labels: a label map assigns them where the task has labels."""
    model = WRITERS[task](tmp_path / "model")
    more: list[object] = []
    if task == "segmentation":
        chosen = {"classes": {"road": {"mask_ids": [1], "labels": ["blue"]}}}
        LabelMap.model_validate(chosen)
        (tmp_path / "map.yaml").write_text(json.dumps(chosen))
        more = ["--label-map", tmp_path / "map.yaml"]

    result = adcp("evaluate", model, "--data", drive, "--json", *more)

    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["data"]["evaluated"] == 12
    if task == "planning":
        figures = document["variants"]["fp32"]["figures"]
        assert set(figures) == {"ade_m", "fde_m", "rmse_rad", "mae_rad", "correlation"}
        assert figures["fde_m"]["value"] >= figures["ade_m"]["value"] >= 0.0


def test_the_same_seed_gives_the_same_images(drive: Path, tmp_path: Path) -> None:
    again = recorded(tmp_path / "again", "--seed", 3, "--format", "png")

    for one in sorted((drive / "images").iterdir()):
        assert (again / "images" / one.name).read_bytes() == one.read_bytes()
    assert (again / "trajectories.jsonl").read_text() == (drive / "trajectories.jsonl").read_text()


def test_independent_scenes_are_not_a_series(tmp_path: Path) -> None:
    out = recorded(tmp_path / "places", "--independent", "--weather", "rain")

    entries = read_paths(out / "trajectories.jsonl")
    assert len({entry.drive for entry in entries}) == 12
    assert len({entry.speed_mps for entry in entries}) > 6
    image = cv2.imread(str(next((out / "images").iterdir())))
    assert image is not None
    assert image.shape == (90, 160, 3)


def test_a_bag_has_the_node_s_topics_and_the_frames_of_a_folder(drive: Path, tmp_path: Path) -> None:
    bag = recorded(tmp_path / "bag", "--seed", 3, "--bag")

    with BagReader(bag) as read:
        assert "/road_camera/ground_truth/trajectory" in read.topics
        assert read.count("/road_camera/odometry") == 12
    # The mask is also an image topic; the camera is the one with a camera_info.
    frames = list(open_frames(str(bag)))
    original = cv2.imread(str(sorted((drive / "images").iterdir())[5]))
    assert np.abs(frames[5].pixels.astype(int) - original.astype(int)).mean() < 6.0  # JPEG
    assert len(PathData(drive / "trajectories.jsonl", str(bag))) == 12


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--size", "640"), "WIDTHxHEIGHT"),
        (("--size", "8x8"), "each 32 to 4096"),
        (("--weather", "hail"), "hail"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_wrong_options(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    result = CliRunner().invoke(app, ["camera", "--out", str(tmp_path / "x"), *arguments])

    assert result.exit_code == 2
    assert expected in result.output
    assert not (tmp_path / "x").exists()
