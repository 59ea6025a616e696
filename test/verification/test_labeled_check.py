# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loss of accuracy on labeled data: points of a share, percent of an error, paired by frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ad_compressed_perception.compression.verification.labeled_check import (
    LabeledChoice,
    check_labeled,
    open_choice,
)
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.bags import stamps_of
from support.compression import small_recipe
from support.labeled import SCENES, steering_images, true_angle, write_boxes, write_csv, write_masks
from support.models import write_detector, write_planner, write_segmenter

COUNT = 40


def write_drive(folder: Path, factor: float) -> Path:
    """Write a drive whose ground-truth angles are ``factor`` times those of the tiny planner."""
    stamps = stamps_of(COUNT)
    rows = [(stamp, factor * true_angle(index, COUNT)) for index, stamp in enumerate(stamps)]
    write_csv(folder / "steering.csv", rows)
    (folder / "images").mkdir()
    for stamp, image in zip(stamps, steering_images(COUNT), strict=True):
        cv2.imwrite(str(folder / "images" / f"{stamp}.png"), image)
    return folder


def steers_more(folder: Path, factor: float) -> Path:
    """Write a planner that steers ``factor`` times as far."""
    path = write_planner(folder) / "fp32.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "balance_w":
            values = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    manifest = load_manifest(folder)
    manifest.variants["fp32"].sha256 = file_sha256(path)
    save_manifest(manifest, folder)
    return folder


def test_an_error_twice_as_large_is_worse_by_100_percent(tmp_path: Path) -> None:
    """The ground truth is 0.9 of the baseline's angles and 0.9 / 1.1 of the variant's.

    Errors are 0.1 and 0.2 of the angle on every frame, so the ratio is 2 in every resample.
    """
    manifest = load_manifest(write_planner(tmp_path / "baseline"))
    variant = load_manifest(steers_more(tmp_path / "variant", 1.1))
    choice = LabeledChoice(str(write_drive(tmp_path / "drive", 0.9)))
    labeled = open_choice(manifest, small_recipe(tmp_path / "r"), choice)
    assert labeled is not None and labeled.metric == "rmse_rad"
    pipelines = [open_pipeline(one) for one in (manifest, variant)]
    found = check_labeled(*pipelines, labeled)
    for pipeline in pipelines:
        pipeline.close()
    assert found.gate_drop.unit == "percent"
    for value in (found.gate_drop.value, found.gate_drop.low, found.gate_drop.high):
        assert value == pytest.approx(100.0, abs=0.5)
    mean_angle = float(np.mean([true_angle(index, COUNT) for index in range(COUNT)]))
    assert found.overall.baseline["mae_rad"].value == pytest.approx(0.1 * mean_angle, rel=1e-3)
    # The tenth with the largest true angle has the largest errors; relative to each other they are the same.
    turns = {rule.name: part for rule, part in found.slices.items()}["sharpest_turns"]
    assert turns.frames == 4
    assert turns.baseline["rmse_rad"].value > found.overall.baseline["rmse_rad"].value
    assert turns.drop["rmse_rad"].value == pytest.approx(100.0, abs=0.5)
    # The whole drive is brighter to the left the further it turns: the darkest are the straightest.
    darkest = {rule.name: part for rule, part in found.slices.items()}["darkest"]
    assert darkest.baseline["rmse_rad"].value < turns.baseline["rmse_rad"].value


def test_a_labeled_frame_without_a_result_rejects_and_no_figure_includes_it(tmp_path: Path) -> None:
    """Failed before: the command ended with an error, and the report of the variant was lost.

    On the ninth of ten images the variant's outputs are NaN.
    """
    scenes = [[("car", 3, 1), ("person", 5, 5)] for _ in range(10)]
    manifest = load_manifest(write_detector(tmp_path / "model"))
    choice = LabeledChoice(str(write_boxes(tmp_path / "coco", scenes)))
    labeled = open_choice(manifest, small_recipe(tmp_path / "r"), choice)
    assert labeled is not None
    pipelines = [open_pipeline(manifest) for _ in range(2)]
    run, seen = pipelines[1].session.infer, iter(range(len(scenes)))

    def infer(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = run(feeds)
        return {k: v * np.float32(np.nan) for k, v in outputs.items()} if next(seen) == 8 else outputs

    pipelines[1].session.infer = infer  # type: ignore[method-assign]
    found = check_labeled(*pipelines, labeled)
    for pipeline in pipelines:
        pipeline.close()
    assert found.gate_drop.frames == 9 and found.gate_drop.failed_frames == 1
    assert found.gate_drop.value == 0.0, "the others are the same"
    assert found.notes[-1].startswith("The variant gave no result on 1 of 10 labeled frames")


def test_a_named_class_may_be_gated_and_equals_cost_nothing(tmp_path: Path) -> None:
    manifest = load_manifest(write_segmenter(tmp_path / "model"))
    recipe = small_recipe(tmp_path / "r", accept={"max_accuracy_drop": 0.5, "accuracy_metric": "iou_warm"})
    folder = write_masks(tmp_path / "masks", 4)
    choice = LabeledChoice(str(folder), label_map=str(folder / "label_map.yaml"), limit=3)
    labeled = open_choice(manifest, recipe, choice)
    assert labeled is not None and len(labeled.indices) == 3
    pipelines = [open_pipeline(manifest), open_pipeline(manifest)]
    found = check_labeled(*pipelines, labeled)
    for pipeline in pipelines:
        pipeline.close()
    assert (found.gate_drop.metric, found.gate_drop.unit, found.gate_drop.frames) == ("iou_warm", "points", 3)
    assert (found.gate_drop.value, found.gate_drop.low, found.gate_drop.high) == (0.0, 0.0, 0.0)
    assert {"miou", "iou_cold", "iou_warm"} <= set(found.overall.drop)


def test_a_detector_is_evaluated_on_the_labels_of_the_recipe(tmp_path: Path) -> None:
    manifest = load_manifest(write_detector(tmp_path / "model"))
    choice = LabeledChoice(str(write_boxes(tmp_path / "coco", SCENES)))
    everything = open_choice(manifest, small_recipe(tmp_path / "a"), choice)
    cars = open_choice(manifest, small_recipe(tmp_path / "b", verify={"labels": ["car"]}), choice)
    assert everything is not None and cars is not None
    assert everything.data.class_names == ("car", "person", "sign")
    assert cars.data.class_names == ("car",)


def test_no_data_and_missing_data(tmp_path: Path) -> None:
    manifest = load_manifest(write_planner(tmp_path / "model"))
    recipe = small_recipe(tmp_path / "r")
    assert open_choice(manifest, recipe, None) is None
    with pytest.raises(DataError, match="no such data"):
        open_choice(manifest, recipe, LabeledChoice(str(tmp_path / "nowhere")))
