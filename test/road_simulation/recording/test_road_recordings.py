# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of frames with ground truth, as a folder or a bag, are read back by the evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.analysis.evaluate import EvaluationResult, evaluate
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.data.labeled.paths import PathData, read_paths
from ad_compressed_perception.metrics.displacement import displacements_m
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.atomic_folder import atomic_folder
from ad_road_simulation.recording.road_bag import PREFIX, RoadBag
from ad_road_simulation.recording.road_folder import RoadFolder
from support.models import WRITERS
from support.road import STEP_S, drawn_frame, straight_trajectory

FRAMES = 6


def write_folder(folder: Path, image_format: Any = "png") -> Path:
    recorder = RoadFolder(folder, image_format)
    for index in range(FRAMES):
        recorder.add(drawn_frame(index))
    recorder.close()
    return folder


def evaluated(task: str, tmp_path: Path, data: str) -> EvaluationResult:
    manifest = load_manifest(WRITERS[task](tmp_path / task))
    pipeline = open_pipeline(manifest)
    try:
        return evaluate(pipeline, open_labeled(data, manifest))
    finally:
        pipeline.close()


def test_one_folder_is_labeled_data_for_all_three_tasks(tmp_path: Path) -> None:
    """Without a label map, categories and mask ids are matched to the models' labels by name."""
    folder = str(write_folder(tmp_path / "drive"))

    boxes = evaluated("detection", tmp_path, folder)
    masks = evaluated("segmentation", tmp_path, folder)
    paths = evaluated("planning", tmp_path, folder)

    assert boxes.figures["map"].value == pytest.approx(1.0)
    # The segmenter's input is 64x48 pixels; edges of the cells fall between its rows.
    assert masks.figures["iou_blue"].value > 0.7
    # The image is equally bright left and right: straight ahead, as in the ground truth.
    assert paths.figures["ade_m"].value == pytest.approx(0.0, abs=1e-6)
    assert paths.figures["rmse_rad"].value == pytest.approx(0.0, abs=1e-6)
    assert any("its positions are compared, not their times" in note for note in paths.notes)


def test_file_names_of_a_jpeg_recording_are_the_stamps(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "drive", "jpg")

    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names[0] == "000001000000000.jpg"
    assert [entry.stamp_ns for entry in read_paths(folder / "trajectories.jsonl")] == [
        int(name.split(".")[0]) for name in names
    ]
    shares = {
        one["visible_share"] for one in json.loads((folder / "instances.json").read_text())["annotations"]
    }
    assert shares == {1.0, 0.5}


def test_a_bag_holds_all_messages_of_a_frame_with_one_stamp(tmp_path: Path) -> None:
    """The messages can be read back, and trajectories of a folder are matched to the frames of the bag."""
    frames = [drawn_frame(index) for index in range(FRAMES)]
    matrix = np.array([[60.0, 0.0, 32.0], [0.0, 60.0, 32.0], [0.0, 0.0, 1.0]])
    with RoadBag(tmp_path / "bag", matrix) as bag:
        for frame in frames:
            bag.add(frame)

    with BagReader(tmp_path / "bag") as bag_read:
        stamps: dict[int, set[str]] = {}
        seen: dict[str, Any] = {}
        for topic, time_ns, cdr in bag_read.messages(list(bag_read.topics)):
            message = bag_read.deserialize(topic, cdr)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            assert stamp == time_ns
            stamps.setdefault(stamp, set()).add(topic.removeprefix(PREFIX + "/"))
            seen.setdefault(topic.removeprefix(PREFIX + "/"), message)
    every = {
        "image/compressed",
        "camera_info",
        "odometry",
        "ground_truth/detections",
        "ground_truth/mask",
        "ground_truth/trajectory",
    }
    assert sorted(stamps) == [frame.stamp_ns for frame in frames]
    assert all(every <= topics for topics in stamps.values())
    assert seen["ground_truth/detections"].detections[1].bbox.center.position.x == 6.5 * 8
    assert seen["ground_truth/detections"].detections[1].results[0].hypothesis.class_id == "car"
    assert seen["odometry"].twist.twist.linear.x == 8.0
    assert seen["odometry"].child_frame_id == "base_link"
    assert seen["camera_info"].k[2] == 32.0
    assert np.array_equal(seen["ground_truth/mask"].data.reshape(64, 64), frames[0].mask.label_ids)
    assert [entry.class_name for entry in seen["ground_truth/mask/label_info"].class_map] == list(
        frames[0].mask.labels
    )
    assert len(seen["ground_truth/trajectory"].poses) == 20

    folder = write_folder(tmp_path / "drive")
    data = PathData(folder / "trajectories.jsonl", str(tmp_path / "bag"))
    assert [item.speed_mps for item in data.items(range(len(data)))] == [8.0] * FRAMES


def test_frames_of_several_drives_are_not_a_series(tmp_path: Path) -> None:
    """Their intervals are bootstrapped from single frames, those of one drive from blocks."""
    recorder = RoadFolder(tmp_path / "places")
    for index in range(3):
        recorder.add(drawn_frame(index, drive=index))
    recorder.close()

    assert not PathData(tmp_path / "places", None).is_series
    assert PathData(write_folder(tmp_path / "drive"), None).is_series


def test_a_recording_is_written_atomically(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "drive") as path:
        write_folder(path)
        raise RuntimeError("the renderer broke")
    assert not list(tmp_path.iterdir())

    with atomic_folder(tmp_path / "drive") as path:
        write_folder(path)
    assert (tmp_path / "drive" / "instances.json").is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == ["drive"]

    with pytest.raises(DataError, match="is not empty"), atomic_folder(tmp_path / "drive"):
        pass


def test_a_frame_without_times_is_rejected(tmp_path: Path) -> None:
    arc = replace(straight_trajectory(8.0), step_s=float("nan"))

    with pytest.raises(DataError, match="no times"):
        RoadFolder(tmp_path / "drive").add(replace(drawn_frame(0), trajectory=arc))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "holds no trajectories"),
        ("{", "line 1: not JSON"),
        ('{"stamp_ns": 1}', "line 1: speed_mps"),
        (
            '{"stamp_ns": 1, "speed_mps": 1, "steering_angle_rad": 0, "step_s": 0.1, '
            '"points_xy_m": [[1, 0]], "speeds_mps": [1, 2]}',
            "2 speeds for 1 points",
        ),
    ],
)
def test_malformed_trajectories(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "trajectories.jsonl").write_text(line)

    with pytest.raises(DataError, match=expected) as error:
        read_paths(tmp_path / "trajectories.jsonl")
    assert "\n" not in str(error.value)


# ---- displacement


def test_displacement_of_a_slower_plan_grows_with_time() -> None:
    """8 m/s and 6 m/s: 2 m/s times the time of the point."""
    ground_truth, plan = straight_trajectory(8.0), straight_trajectory(6.0)

    apart_m = displacements_m(ground_truth.points_xy_m, STEP_S, plan.points_xy_m, STEP_S)

    assert apart_m == pytest.approx(2.0 * STEP_S * np.arange(1, 21))


def test_plans_with_another_step_are_interpolated_to_the_same_times() -> None:
    ground_truth = straight_trajectory(8.0)
    plan = np.stack([8.0 * 0.1 * np.arange(1, 11), np.zeros(10)], axis=1)  # 1 s long, 0.1 s steps

    apart_m = displacements_m(ground_truth.points_xy_m, STEP_S, plan, 0.1)

    assert apart_m == pytest.approx(np.zeros(6), abs=1e-9)  # 0.15 ... 0.9 s


def test_a_path_without_times_is_compared_by_arc_length_and_extended_straight() -> None:
    """A path 0.5 m to the left after 1 m; the ground truth runs 24 m, the path is 10 m long."""
    ground_truth = straight_trajectory(8.0)
    plan = np.array([[0.0, 0.5], [10.0, 0.5]])

    apart_m = displacements_m(ground_truth.points_xy_m, STEP_S, plan, float("nan"))

    assert len(apart_m) == 20
    assert apart_m[-1] == pytest.approx(
        np.hypot(0.5, 0.5)
    )  # half a meter of arc length is the lateral segment
