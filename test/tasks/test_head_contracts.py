# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What decoders of detection heads refuse, in words that name the way out, and boxes that come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks import Task
from ad_compressed_perception.tasks.geometry import plan_geometry
from support.detectors import decoder_task, specs
from support.head_references import ANCHORS, CASES, CLASSES, HEIGHT, WIDTH

ANCHOR_OPTIONS = {"style": "yolov3", "anchors": list(ANCHORS.values())}


def bound(name: str, seed: int = 0) -> tuple[Task[Any], dict[str, NDArray[Any]]]:
    """Return a task and outputs that fit it."""
    kind, options, outputs, _ = CASES[name](np.random.default_rng(seed))
    task = decoder_task(kind, CLASSES, WIDTH, HEIGHT, **options)
    task.decoder.check(specs(outputs))
    return task, outputs


def decode(task: Task[Any], outputs: dict[str, NDArray[Any]]) -> Any:
    return task.decode(outputs, plan_geometry(task.manifest.input, WIDTH, HEIGHT))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_one_number_that_is_not_finite_fails_the_frame(name: str, seed: int, bad: float) -> None:
    rng = np.random.default_rng(seed)
    task, outputs = bound(name)
    chosen = list(outputs)[rng.integers(len(outputs))]
    values = outputs[chosen] = outputs[chosen].copy()
    values.reshape(-1)[rng.integers(values.size)] = bad
    with pytest.raises(OutputError, match=r"finite.*other|not finite"):
        decode(task, outputs)


@pytest.mark.parametrize("name", CASES)
def test_other_shapes_batches_and_missing_outputs_fail_the_frame(name: str) -> None:
    task, outputs = bound(name)
    assert len(decode(task, outputs).scores)
    first = next(iter(outputs))
    two = np.concatenate([outputs[first]] * 2)
    for wrong in (two, outputs[first][:, :-1, :-1], outputs[first][:0], outputs[first][0]):
        with pytest.raises(OutputError) as caught:
            decode(task, {**outputs, first: wrong})
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="no output"):
        decode(task, {key: value for key, value in outputs.items() if key != first})
    twice = tuple(TensorSpec(one.name, (2, *one.shape[1:]), one.dtype) for one in specs(outputs))
    with pytest.raises(ModelFileError, match="needs"):
        task.decoder.check(twice)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_other_precisions_are_decoded(name: str, dtype: Any) -> None:
    task, outputs = bound(name)
    expected = decode(task, outputs)
    other = {key: value.astype(dtype) for key, value in outputs.items()}
    task.decoder.check(specs(other))
    # Half precision rounds coordinates of 96 pixels to 1/16 and moves scores across the threshold.
    assert abs(len(decode(task, other).scores) - len(expected.scores)) <= 2
    integers = tuple(TensorSpec(one.name, one.shape, "uint8") for one in specs(outputs))
    with pytest.raises(ModelFileError, match="dequantized"):
        task.decoder.check(integers)


@pytest.mark.parametrize("name", CASES)
def test_dynamic_axes_are_settled_by_the_first_frame(name: str) -> None:
    task, outputs = bound(name)
    expected = decode(task, outputs)
    dynamic = tuple(TensorSpec(one.name, (None, *one.shape[1:]), one.dtype) for one in specs(outputs))
    task.decoder.check(dynamic)
    np.testing.assert_array_equal(decode(task, outputs).boxes_xyxy, expected.boxes_xyxy)
    if len(outputs) == 1:
        name, values = next(iter(outputs.items()))
        task.decoder.check((TensorSpec(name, (None,) * values.ndim, "float32"),))
        np.testing.assert_array_equal(decode(task, outputs).boxes_xyxy, expected.boxes_xyxy)


def shaped(**shapes: tuple[int | None, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, shape, "float32") for name, shape in shapes.items())


@pytest.mark.parametrize(
    ("kind", "options", "outputs", "named"),
    [
        # A label more or less must not turn a class score into an objectness.
        ("yolo", {}, shaped(o=(1, 8, 126)), "a label more, or objectness: true"),
        ("yolo", {"objectness": True}, shaped(o=(1, 126, 7)), "a label fewer, or objectness: false"),
        ("yolo", {}, shaped(o=(1, 7, 7)), "layout: rows or columns"),
        ("yolo", {}, shaped(main=(1, 7, 126), auxiliary=(1, 7, 126)), "'main', 'auxiliary' fit; name one"),
        ("yolo", {"output": "boxes"}, shaped(o=(1, 7, 126)), "output 'boxes' is not among the file's 'o'"),
        ("yolo", {}, shaped(o=(1, 3, 64, 96)), r"'o' \[1, 3, 64, 96\]"),
        ("nanodet", {}, shaped(o=(1, 127, 35)), "96 \\+ 24 \\+ 6 \\+ 2 cells"),
        ("nanodet", {"strides": [8, 16, 32]}, shaped(o=(1, 128, 35)), "96 \\+ 24 \\+ 6 cells"),
        ("nanodet", {}, shaped(cls=(1, 128, 3)), "box_output"),
        ("centernet", {}, shaped(a=(1, 3, 16, 24), b=(1, 2, 16, 24), c=(1, 2, 16, 24)), "option size_output"),
        ("centernet", {}, shaped(hm=(1, 4, 16, 24), wh=(1, 2, 16, 24)), r"heatmap \[1, 3, 16, 24\]"),
        ("centernet", {}, shaped(hm=(1, 3, 16, 24)), "widths and heights"),
        ("centernet", {"stride": 8}, shaped(hm=(1, 3, 16, 24), wh=(1, 2, 16, 24)), "stride 8 needs"),
        ("grid", ANCHOR_OPTIONS, shaped(a=(1, 16, 8, 12), b=(1, 16, 4, 6)), "stride 32: .1, 16, 2, 3."),
        ("grid", ANCHOR_OPTIONS, shaped(a=(1, 24, 8, 12), b=(1, 24, 4, 6), c=(1, 24, 2, 3)), "2 anchors"),
        ("grid", {**ANCHOR_OPTIONS, "output": ["a"]}, shaped(a=(1, 16, 8, 12)), "1 outputs instead of 3"),
    ],
)
def test_outputs_that_may_be_something_else_are_refused_with_what_is_needed(
    kind: str, options: dict[str, Any], outputs: tuple[TensorSpec, ...], named: str
) -> None:
    task = decoder_task(kind, CLASSES, WIDTH, HEIGHT, **options)
    with pytest.raises(ModelFileError, match=named) as caught:
        task.decoder.check(outputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("yolo", {"label_ids": [0, 0, 1]}, "label_ids"),
        ("yolo", {"box_format": "yxyx"}, "box_format"),
        ("nanodet", {"output": "a", "box_output": "b"}, "one or the other"),
        ("grid", {}, "style"),
        ("grid", {"style": "yolov3"}, "needs anchors"),
        ("grid", {"style": "yolov3", "anchors": [[[1, 2]]]}, "pairs for 3 strides"),
        ("grid", {"style": "fastestdet", "anchors": [[[1, 2]]]}, "no anchors"),
        ("grid", {**ANCHOR_OPTIONS, "scale_xy": [1.0, 2.0]}, "2 numbers for 3 strides"),
    ],
)
def test_options_that_contradict_each_other_are_named(kind: str, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        decoder_task(kind, CLASSES, WIDTH, HEIGHT, **options)


@pytest.mark.parametrize("name", ["v8 rows", "yolox decoded", "nanodet-plus", "centernet with sigmoid"])
def test_logits_read_as_probabilities_name_the_option(name: str) -> None:
    task, outputs = bound(name)
    with pytest.raises(OutputError, match="logits"):
        decode(task, {key: value * 9 - 4.5 for key, value in outputs.items()})


def test_raw_maps_read_as_activated_name_the_option() -> None:
    kind, options, outputs, _ = CASES["yolov5 raw"](np.random.default_rng(0))
    task = decoder_task(kind, CLASSES, WIDTH, HEIGHT, **{**options, "activated": True})
    task.decoder.check(specs(outputs))
    with pytest.raises(OutputError, match="activated: false"):
        decode(task, outputs)


def test_decoded_sizes_read_as_logarithms_name_the_decoder() -> None:
    task, outputs = bound("yolov3")
    with pytest.raises(OutputError, match="decoder yolo"):
        decode(task, {key: np.abs(value) * 40 for key, value in outputs.items()})


@pytest.mark.parametrize("name", ["v5 one output", "yolov3", "fastestdet", "yolo-fastest v2"])
@pytest.mark.parametrize("threshold", [0.0, 1e-9, 0.5, 1.0])
def test_without_objectness_there_is_no_object_at_any_threshold_above_0(name: str, threshold: float) -> None:
    task, outputs = bound(name)
    zero = 0.0 if name != "yolov3" else -90.0
    for values in outputs.values():
        if name == "v5 one output":
            values[..., 4] = zero
        elif name == "yolov3":
            values[:, [4, 4 + 5 + CLASSES]] = zero
        elif name == "fastestdet":
            values[:, 0] = zero
        else:
            values[..., 8:10] = zero
    found = len(task.decoder.candidates(outputs, threshold)[1])
    assert (found > 0) == (threshold == 0.0)


def test_outputs_of_one_shape_are_named_and_their_order_is_free() -> None:
    kind, options, outputs, _ = CASES["centernet"](np.random.default_rng(0))
    expected = decode(*bound("centernet"))
    renamed = {"x": outputs["reg"], "y": outputs["hm"], "z": outputs["wh"]}
    task = decoder_task(kind, CLASSES, WIDTH, HEIGHT, **options, size_output="z", offset_output="x")
    task.decoder.check(specs(renamed))
    np.testing.assert_array_equal(decode(task, renamed).boxes_xyxy, expected.boxes_xyxy)
    # What is left has the shape of offsets, so it is read; two of them need a name.
    task = decoder_task(kind, CLASSES, WIDTH, HEIGHT, **options, size_output="z")
    task.decoder.check(specs(renamed))
    np.testing.assert_array_equal(decode(task, renamed).boxes_xyxy, expected.boxes_xyxy)
    with pytest.raises(ModelFileError, match="offset_output"):
        task.decoder.check(specs({**renamed, "other": outputs["reg"]}))


def test_equal_neighbors_are_one_peak_also_at_the_border() -> None:
    """Scores of 8 bits are often equal; each of them would be an object of its own."""
    outputs = {
        "hm": np.full((1, 1, 16, 24), 0.01, np.float32),
        "wh": np.ones((1, 2, 16, 24), np.float32),
    }
    for rows, columns in (
        (slice(0, 2), slice(0, 2)),
        (slice(14, 16), slice(22, 24)),
        (slice(5, 6), slice(3, 9)),
    ):
        outputs["hm"][0, 0, rows, columns] = 0.75
    task = decoder_task("centernet", 1, WIDTH, HEIGHT)
    task.decoder.check(specs(outputs))
    boxes, _, _ = task.decoder.candidates(outputs, 0.3)
    assert boxes[:, :2].tolist() == [[0.0, 0.0], [12.0, 20.0], [88.0, 56.0]]


def test_columns_behind_the_scores_are_left_out_and_must_be_finite() -> None:
    """Ultralytics' segmentation networks give 32 mask coefficients for each box, pose networks key points."""
    kind, _, outputs, _ = CASES["v8 columns"](np.random.default_rng(0))
    expected = decode(*bound("v8 columns"))
    wide = np.concatenate([outputs["output0"], np.full((1, 32, 126), 9.0, np.float32)], axis=1)
    task = decoder_task(kind, CLASSES, WIDTH, HEIGHT, extra_columns=32)
    task.decoder.check(specs({"output0": wide}))
    np.testing.assert_array_equal(decode(task, {"output0": wide}).boxes_xyxy, expected.boxes_xyxy)
    wide[0, -1, 5] = np.nan
    with pytest.raises(OutputError, match="finite"):
        decode(task, {"output0": wide})


@pytest.mark.parametrize("name", ["v8 columns", "nanodet-plus", "centernet", "yolov3", "yolo-fastest v2"])
def test_scores_of_some_labels_keep_the_labels_numbers(name: str) -> None:
    kind, options, outputs, _ = CASES[name](np.random.default_rng(0))
    expected = decode(*bound(name))
    task = decoder_task(kind, 9, WIDTH, HEIGHT, **options, label_ids=[7, 0, 4])
    task.decoder.check(specs(outputs))
    found = decode(task, outputs)
    assert found.class_ids.tolist() == [[7, 0, 4][one] for one in expected.class_ids]


def test_where_each_object_comes_once_nothing_is_suppressed_and_the_strongest_stay() -> None:
    rows = np.array([[[0.5, 0.5, 0.5, 0.5, s, 0, 0] for s in (0.4, 0.9, 0.2, 0.6)]], np.float32)
    options = {"box_units": "normalized", "nms": False}
    task = decoder_task("yolo", CLASSES, WIDTH, HEIGHT, **options)
    task.decoder.check(specs({"o": rows}))
    np.testing.assert_allclose(decode(task, {"o": rows}).scores, [0.9, 0.6, 0.4])
    task.settings = task.parse_settings({"max_detections": 2})
    np.testing.assert_allclose(decode(task, {"o": rows}).scores, [0.9, 0.6])
    with_nms = decoder_task("yolo", CLASSES, WIDTH, HEIGHT, box_units="normalized")
    with_nms.decoder.check(specs({"o": rows}))
    assert len(decode(with_nms, {"o": rows}).scores) == 1


# ---- boxes that are written as a network would come back


BOXES = st.lists(
    st.tuples(
        st.floats(1, WIDTH - 1),
        st.floats(1, HEIGHT - 1),
        st.floats(2, 60),
        st.floats(2, 40),
        st.floats(0.31, 1),
    ),
    min_size=1,
    max_size=8,
)


@given(BOXES, st.sampled_from(["xywh", "xyxy", "ltwh"]), st.sampled_from(["pixels", "normalized"]))
def test_yolo_gives_back_what_was_written(boxes: list[Any], box_format: str, units: str) -> None:
    x, y, width, height, scores = np.array(boxes, np.float64).T
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
    written = {
        "xywh": np.stack([x, y, width, height], axis=1),
        "xyxy": corners,
        "ltwh": np.concatenate([corners[:, :2], np.stack([width, height], axis=1)], axis=1),
    }[box_format]
    unit = [WIDTH, HEIGHT, WIDTH, HEIGHT] if units == "normalized" else [1, 1, 1, 1]
    rows = np.concatenate([written / unit, scores[:, None]], axis=1).astype(np.float32)[None]
    task = decoder_task(
        "yolo", 1, WIDTH, HEIGHT, box_format=box_format, box_units=units, nms=False, layout="rows"
    )
    found, found_scores, _ = task.decoder.candidates({"o": rows}, 0.3)
    np.testing.assert_allclose(found, corners, atol=1e-3)
    np.testing.assert_allclose(found_scores, scores, atol=1e-6)


@given(st.tuples(st.floats(1, WIDTH - 1), st.floats(1, HEIGHT - 1), st.floats(2, 60), st.floats(2, 40)))
def test_an_anchor_grid_gives_back_the_box_of_a_cell(box: tuple[float, float, float, float]) -> None:
    x, y, width, height = box
    stride, anchor = 8, (13.0, 21.0)
    rows = np.full((1, 6, HEIGHT // stride, WIDTH // stride), -9.0, np.float32)
    column, row = int(x // stride), int(y // stride)
    inside = np.clip([x / stride - column, y / stride - row], 1e-6, 1 - 1e-6)
    rows[0, :, row, column] = [
        *np.log(inside / (1 - inside)), np.log(width / anchor[0]), np.log(height / anchor[1]), 9.0, 9.0
    ]  # fmt: skip
    task = decoder_task("grid", 1, WIDTH, HEIGHT, style="yolov3", strides=[stride], anchors=[[anchor]])
    task.decoder.check(specs({"o": rows}))
    found, _, _ = task.decoder.candidates({"o": rows}, 0.3)
    expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    np.testing.assert_allclose(found, [expected], atol=1e-3)


@given(st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(0, 50), st.floats(0, 50)))
def test_a_distribution_over_two_bins_gives_back_the_distance(sides: tuple[float, ...]) -> None:
    output = np.full((1, 96, 1 + 32), -60.0, np.float32)
    output[..., 0] = 0.0
    place = 3 * 12 + 5  # row 3, column 5 of stride 8: x 40, y 24
    output[0, place, 0] = 1.0
    for index, side in enumerate(sides):
        low = min(int(side / 8), 6)
        share = side / 8 - low
        output[0, place, 1 + 8 * index + low] = np.log(max(1 - share, 1e-20))
        output[0, place, 1 + 8 * index + low + 1] = np.log(max(share, 1e-20))
    task = decoder_task("nanodet", 1, WIDTH, HEIGHT, strides=[8])
    task.decoder.check(specs({"o": output}))
    found, _, _ = task.decoder.candidates({"o": output}, 0.3)
    left, top, right, bottom = sides
    expected = np.clip([40 - left, 24 - top, 40 + right, 24 + bottom], 0, [WIDTH, HEIGHT] * 2)
    np.testing.assert_allclose(found, [expected], atol=1e-3)
