# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A number that is not finite or out of range fails the frame wherever it stands; no valid output does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.driving.plan_vector import SPEED
from ad_compressed_perception.tasks import Task, create_task
from ad_compressed_perception.tasks.geometry import Geometry, plan_geometry
from ad_compressed_perception.tasks.output_contract import check_boxes, check_label_ids, check_trajectory
from support.road import straight_trajectory

HEIGHT, WIDTH = 32, 64
BAD = st.sampled_from([np.nan, np.inf, -np.inf])


def task_of(task: str, decoder: str, labels: int, **options: Any) -> Task[Any]:
    manifest = Manifest(
        name="m",
        task=task,
        labels=[f"label {index}" for index in range(labels)],
        input={"width": WIDTH, "height": HEIGHT},
        output={"decoder": decoder, "options": options},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )
    return create_task(manifest)


def geometry(task: Task[Any]) -> Geometry:
    return plan_geometry(task.manifest.input, 100, 50)


def yolox_rows(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (1, 40, 8): 8x4 cells of stride 8, 4x2 of stride 16; raw boxes and probabilities."""
    rows = rng.normal(0.0, 1.0, (1, 40, 8))
    rows[..., 4:] = rng.random((1, 40, 4))
    return rows.astype(np.float32)


def ready_rows(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (1, 30, 6): x1 y1 x2 y2 score class of three labels."""
    low, size = rng.uniform(0.0, 20.0, (30, 2)), rng.uniform(4.0, 20.0, (30, 2))
    others = [rng.random((30, 1)), rng.integers(0, 3, (30, 1))]
    return np.concatenate([low, low + size, *others], axis=1)[None].astype(np.float32)


# Task, its decoder and labels with options, and a valid output for it.
CASES: dict[str, tuple[tuple[str, str, int, dict[str, Any]], Any]] = {
    "yolox": (("detection", "yolox", 3, {"strides": [8, 16]}), yolox_rows),
    "end_to_end": (("detection", "end_to_end", 3, {}), ready_rows),
    "NCHW": (
        ("segmentation", "argmax", 4, {"layout": "NCHW"}),
        lambda rng: rng.normal(0, 9, (1, 4, 8, 16)).astype(np.float32),
    ),
    "NHWC": (
        ("segmentation", "argmax", 4, {"layout": "NHWC"}),
        lambda rng: rng.normal(0, 9, (1, 8, 16, 4)).astype(np.float32),
    ),
    "LABELS": (
        ("segmentation", "argmax", 4, {"layout": "LABELS"}),
        lambda rng: rng.integers(0, 4, (1, 32, 64)).astype(np.float32),
    ),
    "sigmoid": (
        ("segmentation", "sigmoid", 3, {}),
        lambda rng: rng.random((1, 2, 8, 16)).astype(np.float32),
    ),
    "bilinear": (
        ("segmentation", "sigmoid", 2, {"scores": "logits", "upsampling": "bilinear"}),
        lambda rng: rng.normal(0, 9, (1, 1, 8, 16)).astype(np.float32),
    ),
    "waypoints": (
        ("planning", "waypoints", 0, {}),
        lambda rng: np.cumsum(rng.uniform(0.5, 2.0, (1, 8, 2)), axis=1).astype(np.float32),
    ),
    "controls": (
        ("planning", "controls", 0, {"steer_positive": "left", "max_road_wheel_rad": 0.6}),
        lambda rng: rng.random((1, 3)).astype(np.float32),
    ),
    "steering": (("planning", "steering", 0, {}), lambda rng: rng.uniform(-9, 9, 1).astype(np.float32)),
    "trajectory": (
        ("planning", "trajectory", 0, {}),
        lambda rng: np.concatenate([rng.uniform(-10, 10, SPEED), rng.random(1), rng.normal(0, 9, 2)]).astype(
            np.float32
        )[None],
    ),
}


@pytest.mark.parametrize("name", CASES)
@given(st.integers(0, 2**31), st.data())
def test_one_number_that_is_not_finite_fails_the_frame(name: str, seed: int, data: st.DataObject) -> None:
    """In any class, pixel or box: argmax saw NaN in the last class only, casts took inf for a label id."""
    (task_name, decoder, labels, options), make = CASES[name]
    task = task_of(task_name, decoder, labels, **options)
    values = make(np.random.default_rng(seed))
    task.decode({"o": values}, geometry(task))

    places = data.draw(st.lists(st.integers(0, values.size - 1), min_size=1, max_size=3))
    values.reshape(-1)[places] = data.draw(BAD)

    with pytest.raises(OutputError, match="finite") as caught:
        task.decode({"o": values}, geometry(task))
    assert "\n" not in str(caught.value)
    assert "model 'm'" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_other_precisions_are_decoded_and_checked(name: str, dtype: Any) -> None:
    (task_name, decoder, labels, options), make = CASES[name]
    task = task_of(task_name, decoder, labels, **options)
    values = make(np.random.default_rng(0)).astype(dtype)
    task.decode({"o": values}, geometry(task))
    values.reshape(-1)[0] = np.nan
    with pytest.raises(OutputError, match="finite"):
        task.decode({"o": values}, geometry(task))


def changed(name: str, place: tuple[Any, ...], value: float) -> tuple[Task[Any], dict[str, NDArray[Any]]]:
    (task_name, decoder, labels, options), make = CASES[name]
    values = make(np.random.default_rng(0))
    values[place] = value
    return task_of(task_name, decoder, labels, **options), {"o": values}


@pytest.mark.parametrize(
    ("name", "place", "value", "named"),
    [
        ("yolox", (0, 3, 2), 25.0, "no logarithms"),
        ("yolox", (0, slice(None), slice(0, 2)), 900.0, "decoded to pixels already"),
        ("yolox", (0, slice(None), 4), 1.2, "scores from"),
        ("yolox", (0, slice(None), 4), -0.2, "sigmoid"),
        ("yolox", (0, slice(None), 6), 3.0, "sigmoid"),
        ("LABELS", (0, 5, 5), 0.5, "not whole numbers"),
        ("LABELS", (0, 5, 5), 4.0, "label id 4, its manifest has 4 labels"),
        ("LABELS", (0, 5, 5), 256.0, "within 0 to 255"),
        ("LABELS", (0, 5, 5), -1.0, "within 0 to 255"),
        ("LABELS", slice(None), 0.25, "a probability, not label ids"),
        ("steering", (0,), 90.0, "degrees"),
        ("trajectory", (0, 3), 51.0, "curvature of 1.02 1/m"),
        ("trajectory", (0, SPEED), 12.0, "m/s"),
    ],
)
def test_values_that_the_decoder_cannot_mean_are_named(
    name: str, place: Any, value: float, named: str
) -> None:
    task, outputs = changed(name, place, value)
    with pytest.raises(OutputError, match=named):
        task.decode(outputs, geometry(task))


def test_rounding_of_a_quantized_score_is_no_fault() -> None:
    """A head quantized in steps of 0.03 gives -0.03 or 1.02; a published score stays within 1."""
    task, outputs = changed("yolox", (0, slice(None), slice(4, 8)), 1.02)
    outputs["o"][0, 7:, 4] = -0.03
    result = task.decode(outputs, geometry(task))
    assert result.scores.max() == 1.0


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("yolox", (1, 39, 8)),
        ("yolox", (1, 0, 8)),
        ("NCHW", (1, 3, 8, 16)),
        ("NCHW", (1, 4, 16, 8)),
        ("NHWC", (2, 8, 16, 4)),
        ("LABELS", (1, 64, 32)),
        ("LABELS", (1, 10)),
        ("steering", (2,)),
        ("trajectory", (1, 13)),
    ],
)
def test_a_shape_that_changes_at_run_time_fails_the_frame(name: str, shape: tuple[int, ...]) -> None:
    """Files with open axes pass the check at load."""
    (task_name, decoder, labels, options), _ = CASES[name]
    task = task_of(task_name, decoder, labels, **options)
    with pytest.raises(OutputError):
        task.decode({"o": np.zeros(shape, np.float32)}, geometry(task))
    with pytest.raises(OutputError, match="no output"):
        task.decode({}, geometry(task))


@pytest.mark.parametrize(
    ("layout", "shape", "fits"),
    [
        ("NCHW", (1, 4, 32, 64), True),
        ("NCHW", (1, 4, 4, 8), True),
        ("NCHW", (1, 4, 32, 32), True),
        ("NCHW", (1, 4, 5, 9), True),
        ("NCHW", (1, 4, 32, 16), False),
        ("NCHW", (1, 4, 64, 32), False),
        ("NCHW", (1, 4, 1, 1), False),
        ("NHWC", (1, None, None, 4), True),
        ("LABELS", (32, 64), True),
        ("LABELS", (1, 32, 64), True),
        ("LABELS", (1, 1, 32, 64), True),
        ("LABELS", (1, 32, 64, 1), True),
        ("LABELS", (1, 4, 32, 64), False),
        ("LABELS", (1, 2), False),
        ("LABELS", (1, 1000), False),
        ("LABELS", (1, 64, 32), False),
    ],
)
def test_a_mask_has_the_shape_of_the_image(layout: str, shape: tuple[int | None, ...], fits: bool) -> None:
    """A classifier's 1x10 was taken as a mask of one row."""
    decoder = task_of("segmentation", "argmax", 4, layout=layout).decoder
    outputs = (TensorSpec("o", shape, "float32"),)
    if fits:
        decoder.check(outputs)
    else:
        with pytest.raises(ModelFileError, match="'o'"):
            decoder.check(outputs)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int8, np.bool_, np.float32])
def test_ready_ids_of_any_type_are_taken_as_they_are(dtype: Any) -> None:
    task = task_of("segmentation", "argmax", 2, layout="LABELS")
    ids = np.random.default_rng(0).integers(0, 2, (1, HEIGHT, WIDTH)).astype(dtype)
    np.testing.assert_array_equal(task.decoder.label_ids({"o": ids}), ids[0])


# ---- results of any decoder, third-party ones too


def boxes(**changes: Any) -> dict[str, Any]:
    return {
        "boxes_xyxy": np.array([[0, 0, 9, 9]], np.float32),
        "scores": np.array([0.5], np.float32),
        "class_ids": np.array([0]),
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes_xyxy": np.array([[0, np.nan, 9, 9]], np.float32)},
        {"boxes_xyxy": np.array([[0, 0, 9e6, 9]], np.float32)},
        {"scores": np.array([np.nan], np.float32)},
        {"scores": np.array([3.0], np.float32)},
        {"class_ids": np.array([-1])},
        {"class_ids": np.array([2])},
        {"class_ids": np.array([0, 1])},
    ],
)
def test_boxes_of_any_decoder_are_checked(changes: dict[str, Any]) -> None:
    """Class id -1 was published under the last label."""
    check_boxes(**boxes(), labels=2, model="m", size=64)
    with pytest.raises(OutputError):
        check_boxes(**boxes(**changes), labels=2, model="m", size=64)


def test_masks_and_trajectories_of_any_decoder_are_checked() -> None:
    check_label_ids(np.full((4, 4), 1, np.uint8), 2, "m")
    with pytest.raises(OutputError, match="label id 2"):
        check_label_ids(np.full((4, 4), 2, np.uint8), 2, "m")
    plan = straight_trajectory(10.0)
    check_trajectory(plan, "m")
    assert plan.speeds_mps is not None
    for changes in (
        {"points_xy_m": plan.points_xy_m * np.nan},
        {"headings_rad": plan.headings_rad + np.inf},
        {"headings_rad": plan.headings_rad[1:]},
        {"speeds_mps": plan.speeds_mps * 1e3},
        {"speed_mps": np.inf},
        {"curvature_per_m": np.nan},
        {"curvature_per_m": 1e3},
    ):
        with pytest.raises(OutputError):
            check_trajectory(replace(plan, **changes), "m")
