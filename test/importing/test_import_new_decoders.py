# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of other makers' segmenters and planners: imported, run, compressed; a verdict says no."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ad_compressed_perception.analysis.evaluate import evaluate
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.verification.planning_score import PlanningScore
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.results import LabelMask, Trajectory
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.import_model import import_model
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from support.bags import stamps_of
from support.compression import small_recipe, write_images
from support.decoder_models import MODELS, RED, color_logits, planner, segmenter
from support.labeled import steering_images, write_csv, write_masks
from support.models import draw_scene
from support.nonsense import op

SEGMENTERS = [name for name, given in MODELS.items() if given.task == "segmentation"]
PLANNERS = [name for name, given in MODELS.items() if given.task == "planning"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 40 images: 8 to calibrate on, 24 to verify on, some to spare."""
    return write_images(tmp_path_factory.mktemp("images"), 40)


def imported(name: str, folder: Path) -> Manifest:
    given = MODELS[name]
    return import_model(given.write(folder / "given"), folder / "made", given.request()).manifest


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_segmenter_labels_the_squares_in_source_pixels(tmp_path: Path, name: str) -> None:
    """The red square lies at x 88 to 120, y 48 to 80, whatever the end of the graph."""
    manifest = imported(name, tmp_path)
    with closing(open_pipeline(load_manifest(manifest.folder))) as pipeline:
        mask, _ = pipeline.run(Frame(draw_scene(0), "BGR"))
    assert isinstance(mask, LabelMask)
    assert mask.label_ids.shape == (96, 128)
    red = mask.label_ids == mask.labels.index("red")
    assert red[50:78, 90:118].all()
    assert not red[:46].any() and not red[:, :86].any()


@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner_plans_towards_the_light(tmp_path: Path, name: str) -> None:
    """REP-103: the white half at the left gives y > 0, a left curvature and a left angle; and mirrored."""
    manifest = imported(name, tmp_path)
    image = np.zeros((64, 64), np.uint8)
    image[:, :32] = 255
    with closing(open_pipeline(load_manifest(manifest.folder))) as pipeline:
        left, _ = pipeline.run(Frame(image, "GRAY"))
        right, _ = pipeline.run(Frame(np.ascontiguousarray(image[:, ::-1]), "GRAY"))
    for side, plan in ((1.0, left), (-1.0, right)):
        assert isinstance(plan, Trajectory)
        assert side * plan.points_xy_m[-1, 1] > 0.5
        assert side * plan.curvature_per_m > 1e-3
        assert side * plan.steering_wheel_angle_rad > 0.01
        assert plan.points_xy_m[-1, 0] > 1.0


@pytest.mark.parametrize("name", ["one plane of probabilities", "logits at half the resolution"])
def test_a_segmenter_is_evaluated_on_masks(tmp_path: Path, name: str) -> None:
    """The right half is red: exact on labeled data, whose label map merges blue and green."""
    manifest = imported(name, tmp_path)
    labels = {"cold": [*manifest.labels[:-1]], "warm": ["red"]}
    ids = {"cold": [4], "warm": [9, 200]}
    classes = {key: {"mask_ids": ids[key], "labels": labels[key]} for key in labels}
    folder = write_masks(tmp_path / "data", label_map={"classes": classes, "ignore_ids": [255]})
    data = open_labeled(str(folder), manifest)
    with closing(open_pipeline(load_manifest(manifest.folder))) as pipeline:
        figures = evaluate(pipeline, data).figures
    assert figures["miou"].value > 0.95


@pytest.mark.parametrize("name", ["waypoints by distance", "three outputs of controls", "steering and speed"])
def test_a_planner_is_evaluated_on_a_steering_log(tmp_path: Path, name: str) -> None:
    """Against the angles that it gives itself: the error is 0, and not for want of angles."""
    manifest = imported(name, tmp_path)
    images = steering_images(24)
    (tmp_path / "data" / "images").mkdir(parents=True)
    with closing(open_pipeline(load_manifest(manifest.folder))) as pipeline:
        angles = [pipeline.run(Frame(image, "BGR"))[0].steering_wheel_angle_rad for image in images]
        rows = list(zip(stamps_of(24), angles, strict=True))
        for (stamp, _), image in zip(rows, images, strict=True):
            cv2.imwrite(str(tmp_path / "data" / "images" / f"{stamp}.png"), image)
        write_csv(tmp_path / "data" / "steering.csv", rows)
        data = open_labeled(str(tmp_path / "data"), manifest)
        figures = evaluate(pipeline, data).figures
    assert np.ptp(angles) > 0.3
    assert figures["rmse_rad"].value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    "name",
    ["one channel of logits", "logits at half the resolution", "flat normalized waypoints by time",
     "three outputs of controls", "steering and speed"],
)  # fmt: skip
def test_int8_of_each_kind_gets_a_verdict(tmp_path: Path, images: Path, name: str) -> None:
    """Tiny planners clip what 8 calibration frames did not show: a few of the 24 frames may differ."""
    manifest = imported(name, tmp_path)
    wide = {"frames": 24, "lateral_tolerance_m": 0.5}
    recipe = small_recipe(tmp_path / "recipe", verify=wide)
    result = compress_model(manifest, recipe, str(images), work=tmp_path / "work")
    entry = load_manifest(result.manifest.folder).variant("small")
    assert entry.precision == "int8"
    assert entry.verdict is not None and entry.verdict.status in ("accepted", "inconclusive"), entry.verdict
    report = json.loads((result.manifest.folder / "small.report" / "report.json").read_text("utf-8"))
    assert report["agreement"]["score"] > 0.8


@pytest.mark.parametrize(
    ("name", "row", "factor"),
    [
        ("waypoints by distance", 19, -1.0),
        ("flat normalized waypoints by time", 18, 0.5),
        ("three controls of one output", 0, -1.0),
        ("three controls of one output", 2, -1.0),
        ("steering and speed", 1, 2.0),
    ],
)
def test_a_planner_with_one_broken_number_does_not_agree(
    tmp_path: Path, images: Path, name: str, row: int, factor: float
) -> None:
    """The last waypoint mirrored or half as far, steer mirrored, brake reversed, twice the speed.

    Twice the speed agreed before: the path of a steering angle by distance does not depend on it.
    """
    baseline = imported(name, tmp_path)
    other = imported(name, tmp_path / "other")
    scale_row(other.variant_path("fp32"), row, factor)
    paths = [model.variant_path("fp32") for model in (baseline, other)]
    score = PlanningScore(0.5, 0.01)
    sessions = [create_backend("onnxruntime").load(path, {}) for path in paths]
    pipelines = [Pipeline(create_task(baseline), session, "fp32") for session in sessions]
    for file in sorted(images.iterdir()):
        frame = Frame(np.asarray(cv2.imread(str(file))), "BGR")
        score.add(*(pipeline.run(frame)[0] for pipeline in pipelines))
    for session in sessions:
        session.close()
    assert score.figures().score < 0.5  # some of the frames are as dark at the left as at the right


def scale_row(path: Path, row: int, factor: float) -> None:
    """Multiply one number of a planner's last layer."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in ("last_w", "last_b"):
            values = numpy_helper.to_array(tensor).copy()
            values[row] *= factor
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


TWICE = [*color_logits("logits"), op("Sigmoid", "logits", "once"), op("Sigmoid", "once", "scores")]
ONE_PLANE: dict[str, Any] = {"shape": [1, 1, 48, 64]}
PLAIN = [op("Identity", "numbers", "out")]


@pytest.mark.parametrize(
    ("name", "write", "options", "named"),
    [
        ("one channel of logits", None, {"scores": "probability"}, ["instead of 0 to 1", "scores: logits"]),
        ("one plane of probabilities", None, {"scores": "logits"}, ["scores: probability"]),
        ("one channel of logits", segmenter(*TWICE, **ONE_PLANE, **RED), {"scores": "probability"},
         ["applied twice"]),
        ("waypoints by distance", None, {"scale_m": 100.0}, ["m away", "scale_m"]),
        ("waypoints by distance", None, {"axes": "left_forward"}, ["axes"]),
        ("waypoints by distance", None, {"offset_m": [-40.0, 0.0]}, ["backward"]),
        ("waypoints by distance", None, {"step_s": 0.01}, ["m/s", "unit"]),
        ("flat normalized waypoints by time", None, {"scale_m": None}, ["normalized", "scale_m"]),
        ("steering and speed", None, {"speed_scale": 1.8}, ["km/h"]),
        ("steering and speed", None, {"steering_scale": 57.3}, ["degrees"]),
        ("steering and speed", None, {"speed_output": None}, ["one number", "[1, 2]"]),
        ("three controls of one output", planner([2, 0, 0], [0, 6, -6], [0, -3, -1], PLAIN, {"out": [1, 3]}),
         {}, ["throttle", "instead of 0 to 1"]),
        ("three controls of one output", None, {"order": ["steer", "throttle"]},
         ["2 numbers, steer, throttle"]),
        ("three controls of one output", None, {"max_road_wheel_rad": None}, ["max_road_wheel_rad"]),
    ],
)  # fmt: skip
def test_values_in_another_unit_are_refused_at_import(
    tmp_path: Path, name: str, write: Any, options: dict[str, Any], named: list[str]
) -> None:
    given = MODELS[name]
    path = (write or given.write)(tmp_path / "given")
    request = given.request(**options)

    with pytest.raises(AdcpError) as caught:
        import_model(path, tmp_path / "made", request)

    text = str(caught.value)
    assert "\n" not in text
    assert all(words in text for words in named), text
    assert not (tmp_path / "made").exists()
