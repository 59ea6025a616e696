# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoded model outputs against hand-computed results, and errors that name the mismatch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import Manifest, Variant, load_manifest
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.decoders.argmax import ArgmaxDecoder
from ad_compressed_perception.tasks.decoders.yolox import YoloxDecoder
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.tasks.planning import arc_points, curvature_of_steering
from support.models import WRITERS, draw_scene, write_detector, write_planner, write_segmenter


def manifest_of(task: str, decoder: str, labels: list[str], **options: object) -> Manifest:
    return Manifest(
        name="m",
        task=task,
        labels=labels,
        input={"width": 32, "height": 32},
        output={"decoder": decoder, "options": options},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )


def test_yolox_places_a_box_by_cell_and_stride() -> None:
    # 32x32 with strides 8 and 16: 16 + 4 cells. Cell (3, 2) of stride 8 is row 2 * 4 + 3 = 11.
    decoder = YoloxDecoder(manifest_of("detection", "yolox", ["a", "b"], strides=[8, 16]))
    raw = np.zeros((1, 20, 7), np.float32)
    raw[0, 11] = [0.25, 0.5, math.log(2.0), math.log(0.5), 0.8, 0.1, 0.5]
    raw[0, 16] = [0.0, 0.0, 0.0, 0.0, 0.9, 0.9, 0.2]  # first cell of stride 16
    boxes, scores, classes = decoder.candidates({"o": raw}, 0.3)
    # center (3.25, 2.5) * 8 = (26, 20), size (2, 0.5) * 8 = (16, 4)
    np.testing.assert_allclose(boxes[0], [18, 18, 34, 22], atol=1e-4)
    np.testing.assert_allclose(boxes[1], [-8, -8, 8, 8], atol=1e-4)
    np.testing.assert_allclose(scores, [0.4, 0.81], atol=1e-6)
    assert classes.tolist() == [1, 0]
    assert len(decoder.candidates({"o": raw}, 0.5)[0]) == 1


def test_yolox_takes_its_output_transposed_too() -> None:
    """Converters to channels-last formats transpose (1, N, 5 + classes) to (1, 5 + classes, N)."""
    raw = np.zeros((1, 20, 7), np.float32)
    raw[0, 11] = [0.25, 0.5, math.log(2.0), math.log(0.5), 0.8, 0.1, 0.5]
    found = []
    for values in (raw, raw.transpose(0, 2, 1)):
        decoder = YoloxDecoder(manifest_of("detection", "yolox", ["a", "b"], strides=[8, 16]))
        decoder.check((TensorSpec("o", values.shape, "float32"),))
        found.append(decoder.candidates({"o": values}, 0.3))
    for straight, transposed in zip(*found, strict=True):
        np.testing.assert_array_equal(straight, transposed)


@given(st.integers(0, 2**31), st.integers(2, 6))
def test_argmax_is_numpys_argmax_in_either_layout(seed: int, labels: int) -> None:
    # Few distinct values, so that ties occur: they go to the lower id, as in numpy.
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 3, (1, labels, 6, 7)).astype(np.float32)
    names = [str(i) for i in range(labels)]
    planar = ArgmaxDecoder(manifest_of("segmentation", "argmax", names, layout="NCHW"))
    last = ArgmaxDecoder(manifest_of("segmentation", "argmax", names, layout="NHWC"))
    expected = scores[0].argmax(axis=0)
    np.testing.assert_array_equal(planar.label_ids({"o": scores}), expected)
    channels_last = np.ascontiguousarray(scores.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(last.label_ids({"o": channels_last}), expected)


@given(st.floats(-8.0, 8.0), st.floats(1.0, 100.0), st.integers(2, 60))
def test_the_path_is_an_arc_of_the_curvature_and_length_asked_for(
    steering_wheel_angle_rad: float, length_m: float, points: int
) -> None:
    curvature = curvature_of_steering(steering_wheel_angle_rad, 14.8, 2.85)
    xy, headings = arc_points(curvature, length_m, points)
    assert xy.shape == (points, 2)
    np.testing.assert_allclose(headings[-1], curvature * length_m)
    # Left positive: the path bends to the side of the angle.
    if abs(steering_wheel_angle_rad) > 1e-300:  # below, the product of small numbers is 0
        assert np.sign(headings[-1]) == np.sign(steering_wheel_angle_rad)
    # Chord of an arc: 2 / k sin(k s / 2).
    chord = np.hypot(*xy[-1])
    expected = abs(np.sinc(curvature * length_m / 2 / np.pi)) * length_m
    np.testing.assert_allclose(chord, expected, rtol=1e-9, atol=1e-9)


def test_a_quarter_circle_ends_where_geometry_says() -> None:
    xy, _ = arc_points(1 / 10, math.pi / 2 * 10, 9)
    np.testing.assert_allclose(xy[-1], [10, 10], atol=1e-9)


def test_an_unsteerable_angle_stays_finite() -> None:
    assert math.isfinite(curvature_of_steering(1e9, 14.8, 2.85))


def info_with(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> SessionInfo:
    return SessionInfo("b", "1", "CPU", "CPU", "fp32", 1, None, 0.0, 0.0, inputs, outputs)


@pytest.mark.parametrize(
    ("inputs", "outputs", "named"),
    [
        ([("images", (1, 3, 32, 32), "float32")], [("o", (1, 84, 8), "float32")], "32, 32"),
        ([("images", (1, 3, 64, 64), "float16")], [("o", (1, 84, 8), "float32")], "float16"),
        ([("images", (1, 64, 64, 3), "float32")], [("o", (1, 84, 8), "float32")], "64, 3"),
        ([("images", (1, 3, 64, 64), "float32")], [("o", (1, 84, 85), "float32")], "3 labels"),
        ([("images", (1, 3, 64, 64), "float32")], [("o", (1, 7), "float32")], "84, 8"),
    ],
)
def test_a_model_that_contradicts_its_manifest_is_refused(
    tmp_path: Path, inputs: list, outputs: list, named: str
) -> None:
    task = create_task(load_manifest(write_detector(tmp_path)))
    info = info_with(
        tuple(TensorSpec(*spec) for spec in inputs), tuple(TensorSpec(*spec) for spec in outputs)
    )
    with pytest.raises(ModelFileError, match=named):
        task.bind(info)


def test_a_dynamic_batch_fits(tmp_path: Path) -> None:
    task = create_task(load_manifest(write_detector(tmp_path)))
    image = TensorSpec("images", (None, 3, 64, 64), "float32")
    task.bind(info_with((image,), (TensorSpec("output", (None, 84, 8), "float32"),)))


@pytest.mark.parametrize(
    ("task", "output", "named"),
    [
        ("detection", {"decoder": "argmax"}, "not for task 'detection'"),
        ("detection", {"decoder": "yolov99"}, "known: "),
        ("detection", {"decoder": "yolox", "options": {"stride": 8}}, "'stride'"),
        ("detection", {"decoder": "yolox", "settings": {"score_threshold": 2}}, "score_threshold"),
        ("segmentation", {"decoder": "argmax", "options": {"layout": "CHW"}}, "layout"),
    ],
)
def test_wrong_decoders_options_and_settings_are_named(
    tmp_path: Path, task: str, output: dict, named: str
) -> None:
    manifest = load_manifest(WRITERS[task](tmp_path))
    broken = manifest.model_copy(update={"output": type(manifest.output)(**output)})
    with pytest.raises(ManifestError, match=named):
        create_task(broken)


def test_the_tiny_detector_boxes_the_bright_squares(tmp_path: Path) -> None:
    pipeline = open_pipeline(load_manifest(write_detector(tmp_path)))
    detections, stages = pipeline.run(Frame(draw_scene(0), "BGR"))
    found = {detections.labels[i] for i in detections.class_ids}
    assert found == {"car", "sign"}  # blue and red
    assert (np.diff(detections.scores) <= 0).all()
    # Every box's center lies on a square: blue at x 8..40, y 8..40; red at x 88..120, y 48..80.
    for (left, top, right, bottom), class_id in zip(detections.boxes_xyxy, detections.class_ids, strict=True):
        x, y = (left + right) / 2, (top + bottom) / 2
        low_x, low_y = (8, 8) if class_id == 0 else (88, 48)
        assert low_x <= x <= low_x + 32
        assert low_y <= y <= low_y + 32
    assert set(stages) == {"prepare", "infer", "post"}


def test_the_tiny_segmenter_labels_the_squares_in_source_pixels(tmp_path: Path) -> None:
    pipeline = open_pipeline(load_manifest(write_segmenter(tmp_path)))
    mask, _ = pipeline.run(Frame(draw_scene(0), "BGR"))
    assert mask.label_ids.shape == (96, 128)
    assert mask.label_ids[24, 24] == mask.labels.index("blue")
    assert mask.label_ids[64, 104] == mask.labels.index("red")
    assert mask.label_ids[90, 5] == mask.labels.index("background")


def test_the_tiny_planner_steers_towards_the_light(tmp_path: Path) -> None:
    pipeline = open_pipeline(load_manifest(write_planner(tmp_path)))
    image = np.zeros((64, 64), np.uint8)
    image[:, :32] = 255
    path, _ = pipeline.run(Frame(image, "GRAY"))
    assert path.steering_wheel_angle_rad == pytest.approx(2.0, abs=0.1)
    assert path.points_xy_m[-1, 1] > 1.0  # y is left
    assert 0.5 < path.collision_probability < 1.0


@pytest.mark.shared
def test_the_reference_detector_finds_the_cars_of_the_drive(shared_dir: Path) -> None:
    import cv2

    models = Path(__file__).parents[2] / "config" / "reference_models"
    pipeline = open_pipeline(load_manifest(models / "yolox_nano"))
    image = sorted((shared_dir / "data" / "udacity_ch2" / "images").glob("*.jpg"))[600]
    detections, _ = pipeline.run(Frame(cv2.imread(str(image)), "BGR"))
    assert "car" in {detections.labels[i] for i in detections.class_ids}
    inside = detections.boxes_xyxy >= 0
    assert inside.all()
    assert (detections.boxes_xyxy[:, 2] <= 640).all()
    assert (detections.boxes_xyxy[:, 3] <= 480).all()
