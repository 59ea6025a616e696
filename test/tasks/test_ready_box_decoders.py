# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders detr, ssd and end_to_end against the public reference arithmetic, written from its sources.

The references compute in double precision, some one box at a time; boxes agree to 1e-3 pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import AdcpError, ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks import create_task

WIDTH, HEIGHT = 320, 192
Outputs = dict[str, NDArray[Any]]
Found = list[tuple[NDArray[np.float64], float, int]]


def decoder_of(name: str, labels: int, **options: Any) -> Any:
    manifest = Manifest(
        name="m",
        task="detection",
        labels=[f"label {index}" for index in range(labels)],
        input={"width": WIDTH, "height": HEIGHT},
        output={"decoder": name, "options": options},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )
    return create_task(manifest).decoder


def specs(outputs: Outputs) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, value.shape, str(value.dtype)) for name, value in outputs.items())


def decode(name: str, labels: int, outputs: Outputs, threshold: float, **options: Any) -> Any:
    decoder = decoder_of(name, labels, **options)
    decoder.check(specs(outputs))
    return decoder.candidates(outputs, threshold)


def require_equal(found: Any, expected: Found) -> None:
    """Compare as sets: by class, then by score."""
    boxes, scores, classes = found
    assert len(boxes) == len(expected) > 3
    order = np.lexsort((scores, classes))
    expected = sorted(expected, key=lambda one: (one[2], one[1]))
    assert classes[order].tolist() == [one[2] for one in expected]
    np.testing.assert_allclose(scores[order], [one[1] for one in expected], atol=1e-5)
    np.testing.assert_allclose(boxes[order], [one[0] for one in expected], atol=1e-3)


def sigmoid(values: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-np.asarray(values, np.float64)))


def softmax(values: NDArray[Any]) -> NDArray[np.float64]:
    powers = np.exp(values.astype(np.float64) - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def corners_of_center(box: NDArray[Any]) -> NDArray[np.float64]:
    """Return pixels of cx cy w h in 0..1 (DETR, util/box_ops.py: box_cxcywh_to_xyxy)."""
    x, y, w, h = box.astype(np.float64)
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]


def queries(rng: np.random.Generator, classes: int, count: int = 50) -> Outputs:
    return {
        "logits": rng.normal(-1.0, 2.0, (1, count, classes)).astype(np.float32),
        "pred_boxes": rng.uniform(0.05, 0.95, (1, count, 4)).astype(np.float32),
    }


def test_detr_takes_the_strongest_class_of_a_query_but_no_object() -> None:
    """models/detr.py of facebookresearch/detr, PostProcess: softmax(-1)[..., :-1].max(-1)."""
    outputs = queries(np.random.default_rng(0), 92)
    expected: Found = []
    for logits, box in zip(outputs["logits"][0], outputs["pred_boxes"][0], strict=True):
        shares = softmax(logits)[:-1]
        if shares.max() >= 0.15:
            expected.append((corners_of_center(box), shares.max(), int(shares.argmax())))
    require_equal(decode("detr", 91, outputs, 0.15, activation="softmax"), expected)


def test_later_detrs_take_the_strongest_pairs_of_query_and_class() -> None:
    """sigmoid, topk over (queries * classes), id % classes, id // classes.

    The same in rtdetr_postprocessor.py of lyuwenyu/RT-DETR, postprocessor.py of Peterande/D-FINE and
    PostProcess of roboflow/rf-detr.
    A query may be reported under two classes, and no more pairs than queries are.
    """
    outputs = queries(np.random.default_rng(1), 6)
    scores = sigmoid(outputs["logits"][0]).reshape(-1)
    expected: Found = [
        (corners_of_center(outputs["pred_boxes"][0, place // 6]), scores[place], int(place % 6))
        for place in np.argsort(-scores)[:50]
    ]
    found = decode("detr", 6, outputs, 0.01)
    require_equal(found, expected)
    assert len({tuple(box) for box in found[0].tolist()}) < 50  # some query twice
    strong = [one for one in expected if one[1] >= 0.6]
    require_equal(decode("detr", 6, outputs, 0.6), strong)


def test_classes_without_a_label_are_not_reported() -> None:
    """91 classes of COCO's numbers hold eleven without a name; label_ids has -1 for them."""
    outputs = queries(np.random.default_rng(2), 5)
    everything = decode("detr", 5, outputs, 0.3)
    boxes, _, classes = decode("detr", 3, outputs, 0.3, label_ids=[-1, 2, 0, -1, 1])
    kept = np.isin(everything[2], [1, 2, 4])
    np.testing.assert_array_equal(boxes, everything[0][kept])
    assert classes.tolist() == [{1: 2, 2: 0, 4: 1}[one] for one in everything[2][kept].tolist()]


def tensorflow_anchors() -> list[list[float]]:
    """Return cy cx h w in 0..1 of two maps (anchor_generators/multiple_grid_anchor_generator.py)."""
    anchors = []
    for rows, columns, sizes in ((6, 10, [(0.1, 0.1), (0.2, 0.1)]), (3, 5, [(0.4, 0.3)])):
        for row in range(rows):
            for column in range(columns):
                anchors += [[(row + 0.5) / rows, (column + 0.5) / columns, h, w] for h, w in sizes]
    return anchors


def test_ssd_of_tensorflow() -> None:
    """box_coders/faster_rcnn_box_coder.py with scale factors 10, 10, 5, 5; sigmoid scores, background first.

    ty, tx, th, tw: ycenter = ty / 10 * ha + ycenter_a, h = exp(th / 5) * ha.
    """
    rng, anchors = np.random.default_rng(3), tensorflow_anchors()
    count = len(anchors)
    outputs = {
        "raw_box_encodings": rng.normal(0.0, 2.0, (1, count, 4)).astype(np.float32),
        "class_logits": rng.normal(-3.0, 2.0, (1, count, 4)).astype(np.float32),
    }
    expected: Found = []
    for (ay, ax, ah, aw), (ty, tx, th, tw), logits in zip(
        anchors, outputs["raw_box_encodings"][0].astype(np.float64), outputs["class_logits"][0], strict=True
    ):
        y, x, h, w = ty / 10 * ah + ay, tx / 10 * aw + ax, np.exp(th / 5) * ah, np.exp(tw / 5) * aw
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        scores = sigmoid(logits)
        expected += [(box, scores[k], k - 1) for k in (1, 2, 3) if scores[k] >= 0.3]
    levels = [
        {"grid": [10, 6], "sizes": [[0.1 * WIDTH, 0.1 * HEIGHT], [0.1 * WIDTH, 0.2 * HEIGHT]]},
        {"grid": [5, 3], "sizes": [[0.3 * WIDTH, 0.4 * HEIGHT]]},
    ]
    options = {"activation": "sigmoid", "box_order": "yxyx"}
    require_equal(decode("ssd", 3, outputs, 0.3, anchors=levels, **options), expected)
    # The same with the anchors as the file's own output, corners in 0..1.
    corners = [[y - h / 2, x - w / 2, y + h / 2, x + w / 2] for y, x, h, w in anchors]
    outputs["anchors"] = np.array([corners], np.float32)
    given_by_file = {"anchors_output": "anchors", "box_units": "normalized", **options}
    require_equal(decode("ssd", 3, outputs, 0.3, **given_by_file), expected)


def test_retinanet_of_torchvision() -> None:
    """models/detection/anchor_utils.py and _utils.py (BoxCoder with weights 1): anchors at cell * stride.

    Sizes are rounded halves, a sigmoid without a background, log sizes end at log(1000 / 16).
    """
    rng = np.random.default_rng(4)
    base = [(float(np.rint(w / 2) * 2), float(np.rint(h / 2) * 2)) for w, h in ((45.25, 22.63), (32.0, 32.0))]
    anchors = [
        (column * stride, row * stride, w * stride / 64, h * stride / 64)
        for stride in (64, 128)
        for row in range(-(-HEIGHT // stride))
        for column in range(-(-WIDTH // stride))
        for w, h in base
    ]
    outputs = {
        "bbox_regression": rng.normal(0.0, 0.5, (1, len(anchors), 4)).astype(np.float32),
        "cls_logits": rng.normal(-1.0, 1.5, (1, len(anchors), 4)).astype(np.float32),
    }
    outputs["bbox_regression"][0, 3, 2] = 9.0
    expected: Found = []
    for (x, y, w, h), (dx, dy, dw, dh), logits in zip(
        anchors, outputs["bbox_regression"][0].astype(np.float64), outputs["cls_logits"][0], strict=True
    ):
        dw, dh = min(dw, np.log(1000 / 16)), min(dh, np.log(1000 / 16))
        cx, cy, width, height = x + dx * w, y + dy * h, np.exp(dw) * w, np.exp(dh) * h
        box = np.array([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2])
        expected += [(box, score, k) for k, score in enumerate(sigmoid(logits)) if score >= 0.2]
    levels = [
        {"stride": s, "center": 0.0, "sizes": [[w * s / 64, h * s / 64] for w, h in base]} for s in (64, 128)
    ]
    options = {"activation": "sigmoid", "background": "none", "variances": [1, 1, 1, 1], "anchors": levels}
    require_equal(decode("ssd", 4, outputs, 0.2, **options), expected)


@pytest.mark.parametrize("transposed", [False, True])
def test_ready_boxes_beside_scores_with_a_background(transposed: bool) -> None:
    """UltraFace (run_video_face_detection_onnx.py): boxes in 0..1, softmax done, column 1 a face."""
    rng = np.random.default_rng(5)
    face = rng.random(200)
    low, size = rng.uniform(0.0, 0.7, (200, 2)), rng.uniform(0.05, 0.3, (200, 2))
    outputs = {
        "scores": np.stack([1.0 - face, face], axis=1)[None].astype(np.float32),
        "boxes": np.concatenate([low, low + size], axis=1)[None].astype(np.float32),
    }
    expected: Found = [
        (box.astype(np.float64) * [WIDTH, HEIGHT, WIDTH, HEIGHT], float(score), 0)
        for box, (_, score) in zip(outputs["boxes"][0], outputs["scores"][0], strict=True)
        if score >= 0.7
    ]
    if transposed:
        outputs = {name: values.transpose(0, 2, 1) for name, values in outputs.items()}
    require_equal(decode("ssd", 1, outputs, 0.7, box_units="normalized"), expected)


def detections(rng: np.random.Generator, count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return boxes xyxy in pixels, scores in descending order and class numbers 0..3."""
    low, size = rng.uniform(0, 100, (count, 2)), rng.uniform(8, 90, (count, 2))
    boxes = np.concatenate([low, low + size], axis=1)
    return boxes, np.sort(rng.uniform(0.31, 0.99, count))[::-1], rng.integers(0, 4, count)


def columns(*parts: NDArray[Any]) -> NDArray[np.float32]:
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1).astype(np.float32)


def padded(values: NDArray[Any], rows: int) -> NDArray[Any]:
    return np.concatenate([values, np.zeros((rows - len(values), *values.shape[1:]), values.dtype)])


SIZE = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])


def ready_forms() -> dict[str, tuple[Outputs, dict[str, Any]]]:
    """Return outputs of exporters of ready detections, the same twelve each, with decoder options."""
    boxes, scores, classes = detections(np.random.default_rng(6), 12)
    centers = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    ids = np.zeros(12)
    yxyx = (boxes / SIZE)[:, [1, 0, 3, 2]].astype(np.float32)
    one = np.float32
    return {
        # Ultralytics, nn/modules/head.py: postprocess of end2end heads, (1, 300, 6), padded with zeros.
        "YOLOv10": ({"output0": padded(columns(boxes, scores, classes), 300)[None]}, {}),
        # Ultralytics 8.4, RTDETRDecoder: the same shape, but cx cy w h in 0..1.
        "RT-DETR of Ultralytics": (
            {"output0": columns(centers / SIZE, scores, classes)[None]},
            {"box_order": "center", "box_units": "normalized"},
        ),
        # WongKinYiu/yolov7, models/experimental.py, ONNX_ORT: batch, box, class, score; N is dynamic.
        "YOLOv7": (
            {"output": columns(ids, boxes, classes, scores)},
            {"columns": ["image", "box", "class", "score"]},
        ),
        # OpenVINO, DetectionOutput: image, class, score, box in 0..1; an image of -1 ends the detections.
        "DetectionOutput": (
            {
                "detection_out": np.concatenate(
                    [
                        columns(ids, classes + 1, scores, boxes / SIZE),
                        np.full((1, 7), -1),
                        np.ones((3, 7)) * -1,
                    ]
                ).astype(one)[None, None]
            },
            {"columns": ["image", "class", "score", "box"], "box_units": "normalized", "first_class": 1},
        ),
        # PaddleDetection, ppdet/modeling/post_process.py: class, score, box, and the number of boxes.
        "PaddleDetection": (
            {
                "multiclass_nms3_0.tmp_0": columns(classes, scores, boxes),
                "bbox_num": np.array([12], np.int32),
            },
            {"columns": ["class", "score", "box"]},
        ),
        # TensorFlow Object Detection API, meta_architectures/ssd_meta_arch.py: yxyx in 0..1, classes from 1.
        "TensorFlow": (
            {
                "detection_boxes": padded(yxyx, 20)[None],
                "detection_classes": padded((classes + 1).astype(one), 20)[None],
                "detection_scores": padded(scores.astype(one), 20)[None],
                "num_detections": np.array([12.0], one),
            },
            {"box_order": "yxyx", "box_units": "normalized", "first_class": 1},
        ),
        # NVIDIA TensorRT, plugin/efficientNMSPlugin/README.md; what lies behind the count is arbitrary.
        "EfficientNMS": (
            {
                "num_dets": np.array([[12]], np.int32),
                "det_boxes": np.concatenate([boxes, np.full((8, 4), 7e9)]).astype(one)[None],
                "det_scores": np.concatenate([scores, np.full(8, np.nan)]).astype(one)[None],
                "det_classes": np.concatenate([classes, np.full(8, -1)]).astype(np.int32)[None],
            },
            {},
        ),
        # torchvision, models/detection: a dynamic number without a batch axis.
        "torchvision": (
            {"boxes": boxes.astype(one), "labels": classes.astype(np.int64), "scores": scores.astype(one)},
            {},
        ),
        # OpenMMLab mmdeploy, mmcv/ops/nms.py: dets (1, N, 5) with the score, labels (1, N); -1 fills up.
        "mmdeploy": (
            {
                "dets": np.concatenate([columns(boxes, scores), np.full((2, 5), -1)]).astype(one)[None],
                "labels": np.concatenate([classes, [-1, -1]])[None].astype(np.int64),
            },
            {},
        ),
    }


@pytest.mark.parametrize("form", ready_forms())
def test_ready_detections_of_every_exporter_are_the_same_twelve(form: str) -> None:
    outputs, options = ready_forms()[form]
    boxes, scores, classes = detections(np.random.default_rng(6), 12)
    expected = [(box, score, int(label)) for box, score, label in zip(boxes, scores, classes, strict=True)]
    require_equal(decode("end_to_end", 4, outputs, 0.3, **options), expected)
    decoder = decoder_of("end_to_end", 4, **options)
    assert not decoder.needs_nms
    # A file often leaves the number of detections open.
    decoder.check(
        tuple(
            TensorSpec(s.name, tuple(None if n in (12, 20, 300) else n for n in s.shape), s.dtype)
            for s in specs(outputs)
        )
    )
    require_equal(decoder.candidates(outputs, 0.3), expected)


@pytest.mark.parametrize("form", ["YOLOv7", "torchvision"])
def test_no_detection_at_all_is_a_valid_output(form: str) -> None:
    outputs, options = ready_forms()[form]
    decoder = decoder_of("end_to_end", 4, **options)
    decoder.check(specs(outputs))
    found = decoder.candidates({name: values[:0] for name, values in outputs.items()}, 0.3)
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)]


@given(st.integers(0, 2**31), st.sampled_from(["xyxy", "yxyx", "center"]), st.booleans())
def test_order_and_units_of_boxes_are_only_a_way_to_write_them(
    seed: int, order: str, normalized: bool
) -> None:
    boxes, scores, classes = detections(np.random.default_rng(seed), 5)
    written = boxes / SIZE if normalized else boxes
    if order == "center":
        written = np.concatenate(
            [(written[:, :2] + written[:, 2:]) / 2, written[:, 2:] - written[:, :2]], axis=1
        )
    elif order == "yxyx":
        written = written[:, [1, 0, 3, 2]]
    options = {"box_order": order, "box_units": "normalized" if normalized else "pixels"}
    found = decode("end_to_end", 4, {"o": columns(written, scores, classes)[None]}, 0.3, **options)
    np.testing.assert_allclose(found[0], boxes, atol=1e-3)


WRONG_VALUES: dict[str, tuple[str, dict[str, Any], Any, str]] = {
    "center read as corners": (
        "RT-DETR of Ultralytics",
        {"box_units": "normalized"},
        None,
        "end before they begin",
    ),
    "0..1 read as pixels": ("RT-DETR of Ultralytics", {"box_order": "center"}, None, "box_units: normalized"),
    "class before score": ("YOLOv10", {"columns": ["box", "class", "score"]}, None, "in another order"),
    "classes from 1": ("TensorFlow", {"box_order": "yxyx", "box_units": "normalized"}, None, "first_class"),
    "a class of 2.5": ("YOLOv10", {}, ("output0", (0, 3, 5), 2.5), "no whole numbers"),
    "a class beyond the labels": ("YOLOv10", {}, ("output0", (0, 3, 5), 9.0), "class numbers 0 to 9"),
    "a score of 7": ("torchvision", {}, ("scores", 2, 7.0), "scores from"),
    "a box that is not finite": ("torchvision", {}, ("boxes", (2, 1), np.inf), "not finite"),
    "a count beyond the rows": ("EfficientNMS", {}, ("num_dets", (0, 0), 21), "21 detections of 20"),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_values_that_ready_detections_cannot_mean_fail_the_frame(case: str) -> None:
    form, options, change, named = WRONG_VALUES[case]
    outputs, _ = ready_forms()[form]
    if change is not None:
        name, place, value = change
        outputs[name][place] = value
    with pytest.raises(OutputError, match=named) as caught:
        decode("end_to_end", 4, outputs, 0.3, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("decoder", ["detr", "ssd"])
def test_scores_that_the_activation_does_not_fit_fail_the_frame(decoder: str) -> None:
    """A sigmoid of probabilities is 0.5 to 0.73: every query would be an object, without a word."""
    outputs = queries(np.random.default_rng(7), 4)
    boxes = {"box_order": "center", "box_units": "normalized"}
    extra: dict[str, Any] = {"background": "none", **boxes} if decoder == "ssd" else {}
    assert len(decode(decoder, 4, outputs, 0.3, activation="sigmoid", **extra)[0])
    with pytest.raises(OutputError, match="are they logits"):
        decode(decoder, 4, outputs, 0.3, activation="none", **extra)
    outputs["logits"] = sigmoid(outputs["logits"]).astype(np.float32)
    for activation in ("sigmoid", "softmax"):
        with pytest.raises(OutputError, match="probabilities already"):
            decode(
                decoder,
                4,
                outputs,
                0.3,
                activation=activation,
                **(extra or {"no_object": "none"}),
            )
    for name in outputs:
        broken = {**outputs, name: outputs[name].copy()}
        broken[name][0, 3, 1] = np.nan
        with pytest.raises(OutputError, match="not finite"):
            decode(decoder, 4, broken, 0.3, activation="none", **extra)


def shapes(**outputs: tuple[int | None, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, shape, "float32") for name, shape in outputs.items())


def test_outputs_are_found_among_others_by_shape_and_word() -> None:
    # RF-DETR for segmentation has masks too, transformers the encoder's state; four classes look like boxes.
    decoder = decoder_of("detr", 4)
    decoder.check(shapes(state=(1, 256, 64), logits=(1, 50, 4), pred_boxes=(1, 50, 4), masks=(1, 50, 56, 56)))
    assert len(decoder.candidates(queries(np.random.default_rng(0), 4), 0.5)[0])
    decoder = decoder_of(
        "ssd", 4, background="none", box_units="normalized", box_order="center", activation="sigmoid"
    )
    decoder.check(shapes(mbox_loc=(1, 50, 4), mbox_conf=(1, 50, 4)))
    outputs = queries(np.random.default_rng(0), 4)
    named = {"mbox_loc": outputs["pred_boxes"], "mbox_conf": outputs["logits"]}
    assert len(decoder.candidates(named, 0.5)[0])


REFUSED: dict[str, tuple[str, dict[str, Any], tuple[TensorSpec, ...], str]] = {
    "no boxes": ("detr", {}, shapes(a=(1, 84, 100)), "needs boxes"),
    "other classes": ("detr", {}, shapes(logits=(1, 50, 80), boxes=(1, 50, 4)), "class scores .1, 50, 4."),
    "no object is missing": (
        "detr",
        {"activation": "softmax"},
        shapes(logits=(1, 50, 4), boxes=(1, 50, 4)),
        "and 'no object' needs class scores .1, 50, 5.",
    ),
    "which is which": ("detr", {}, shapes(a=(1, 50, 4), b=(1, 50, 4)), "option boxes_output"),
    "wrong name": ("ssd", {"boxes_output": "x"}, shapes(a=(1, 50, 4), b=(1, 50, 5)), "'x' is not among"),
    "other anchors": (
        "ssd",
        {"anchors": [{"stride": 32, "sizes": [[32, 32]]}]},  # 10 x 6 cells
        shapes(boxes=(1, 50, 4), scores=(1, 50, 5)),
        "the 60 anchors of its options",
    ),
    "columns": ("end_to_end", {}, shapes(output0=(1, 84, 8400)), "rows .1, N, 6."),
    "scores or classes": ("end_to_end", {}, shapes(boxes=(1, 9, 4), a=(1, 9), b=(1, 9)), "scores_output"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_do_not_fit_are_refused_by_what_is_needed(case: str) -> None:
    name, options, outputs, named = REFUSED[case]
    with pytest.raises(ModelFileError, match=named) as caught:
        decoder_of(name, 4, **options).check(outputs)
    assert "\n" not in str(caught.value)
    assert outputs[0].name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("end_to_end", {"columns": ["box", "score"]}, "box, score and class once"),
        ("ssd", {"anchors": [{"sizes": [[8, 8]]}]}, "stride or grid"),
        ("ssd", {"anchors": [{"stride": 8, "sizes": [[8, 8]]}], "anchors_output": "a"}, "not both"),
        ("detr", {"label_ids": [0, 0, 1]}, "different numbers"),
        ("detr", {"label_ids": [-1]}, "different numbers"),
        ("ssd", {"label_ids": [4]}, "0..3"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    name: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ManifestError, match=named) as caught:
        decoder_of(name, 4, **options)
    assert isinstance(caught.value, AdcpError)
