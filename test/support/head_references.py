# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the networks' own code makes of random outputs of their heads, box by box in plain loops.

Each case is a pair: random numbers as the network's file gives them, and the boxes that its own code makes of
them. Nothing here uses a helper of the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, CLASSES = 96, 64, 3
THRESHOLD = 0.3

Outputs = dict[str, NDArray[np.float32]]
Found = list[tuple[float, float, float, float, float, int]]
"""Left, top, right, bottom, score and class."""
Case = tuple[str, dict[str, Any], Outputs, Found]
"""Decoder, its options, outputs and what must be found."""


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def softmax(values: Any) -> list[float]:
    powers = [math.exp(float(value)) for value in values]
    return [power / sum(powers) for power in powers]


def cells(stride: int) -> list[tuple[int, int]]:
    """Return (row, column) of a grid, row by row."""
    return [(row, column) for row in range(HEIGHT // stride) for column in range(WIDTH // stride)]


def add(found: Found, box: tuple[float, float, float, float], scores: list[float]) -> None:
    best = max(range(len(scores)), key=lambda one: scores[one])
    if scores[best] >= THRESHOLD:
        found.append((*box, scores[best], best))


def centered(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


# ---- decoded in the file: decoder yolo


def ultralytics_v8(rng: np.random.Generator, layout: str, unit: float, scores: str) -> Case:
    """Ultralytics Detect: DFL (softmax over 16 bins, expectation), dist2bbox from cell + 0.5, by stride."""
    columns, found = [], Found()
    for stride in (8, 16, 32):
        for row, column in cells(stride):
            sides = []
            for _ in range(4):
                sides.append(sum(bin_ * p for bin_, p in enumerate(softmax(rng.normal(0, 2, 16)))))
            logits = rng.normal(-1, 2, CLASSES)
            left, top = (column + 0.5 - sides[0]) * stride, (row + 0.5 - sides[1]) * stride
            right, bottom = (column + 0.5 + sides[2]) * stride, (row + 0.5 + sides[3]) * stride
            center = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            by = [WIDTH, HEIGHT, WIDTH, HEIGHT] if unit == "normalized" else [1, 1, 1, 1]
            probabilities = [sigmoid(value) for value in logits]
            shown = list(logits) if scores == "logits" else probabilities
            columns.append([value / size for value, size in zip(center, by, strict=True)] + shown)
            add(found, (left, top, right, bottom), probabilities)
    output = np.array(columns, np.float32)[None]
    output = output if layout == "rows" else output.transpose(0, 2, 1)
    return "yolo", {"box_units": unit, "scores": scores}, {"output0": output}, found


def ultralytics_rtdetr(rng: np.random.Generator) -> Case:
    """Ultralytics RTDETRDecoder: 300 queries of cx, cy, w, h in 0..1 and the sigmoid of classes."""
    rows, found = [], Found()
    for _ in range(300):
        box, probabilities = (
            rng.uniform(0.1, 0.9, 4),
            [sigmoid(value) for value in rng.normal(-2, 2, CLASSES)],
        )
        rows.append([*box, *probabilities])
        x, y, width, height = box * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        add(found, centered(x, y, width, height), probabilities)
    options = {"box_units": "normalized", "nms": False}
    return "yolo", options, {"output0": np.array(rows, np.float32)[None]}, found


ANCHORS = {8: [(10, 13), (16, 30)], 16: [(30, 61), (62, 45)], 32: [(116, 90), (56, 98)]}


def v5_box(raw: Any, row: int, column: int, stride: int, anchor: tuple[float, float]) -> Any:
    """YOLOv5 and YOLOv7 Detect.forward: xy = (2 s - 0.5 + cell) stride, wh = (2 s)^2 anchor."""
    x = (2 * sigmoid(raw[0]) - 0.5 + column) * stride
    y = (2 * sigmoid(raw[1]) - 0.5 + row) * stride
    return x, y, (2 * sigmoid(raw[2])) ** 2 * anchor[0], (2 * sigmoid(raw[3])) ** 2 * anchor[1]


def yolov5_export(rng: np.random.Generator, per_scale: bool) -> Case:
    outputs, found, every = {}, Found(), []
    for stride, anchors in ANCHORS.items():
        rows = []
        for anchor in anchors:
            for row, column in cells(stride):
                raw = rng.normal(0, 2, 5 + CLASSES)
                box = v5_box(raw, row, column, stride, anchor)
                numbers = [sigmoid(value) for value in raw[4:]]
                rows.append([*box, *numbers])
                add(found, centered(*box), [numbers[0] * one for one in numbers[1:]])
        every += rows
        outputs[f"out_{stride}"] = np.array(rows, np.float32)[None]
    joined = {"output": np.array(every, np.float32)[None]}
    return "yolo", {"objectness": True}, outputs if per_scale else joined, found


def yolox_decoded(rng: np.random.Generator) -> Case:
    """YOLOX demo_utils.demo_postprocess: (raw + grid) stride, exp(raw) stride."""
    rows, found = [], Found()
    for stride in (8, 16, 32):
        for row, column in cells(stride):
            raw = rng.normal(0, 1, 4)
            numbers = [sigmoid(value) for value in rng.normal(0, 2, 1 + CLASSES)]
            box = (raw[0] + column) * stride, (raw[1] + row) * stride
            box = (*box, math.exp(raw[2]) * stride, math.exp(raw[3]) * stride)
            rows.append([*box, *numbers])
            add(found, centered(*box), [numbers[0] * one for one in numbers[1:]])
    return "yolo", {"objectness": True}, {"output": np.array(rows, np.float32)[None]}, found


# ---- distributions: decoder nanodet


def nanodet(rng: np.random.Generator, form: str, offset: float, reg_max: int = 7) -> Case:
    """NanoDetPlusHead.get_bboxes: priors at column * stride without half a cell; GFLHead's at the center."""
    strides = [8, 16, 32, 64] if offset == 0.0 else [8, 16, 32]
    levels, found = [], Found()
    for stride in strides:
        rows = []
        for row in range(math.ceil(HEIGHT / stride)):
            for column in range(math.ceil(WIDTH / stride)):
                logits, bins = rng.normal(-1, 2, CLASSES), rng.normal(0, 2, (4, reg_max + 1))
                sides = [sum(k * p for k, p in enumerate(softmax(one))) * stride for one in bins]
                x, y = (column + offset) * stride, (row + offset) * stride
                box = (
                    min(max(x - sides[0], 0), WIDTH),
                    min(max(y - sides[1], 0), HEIGHT),
                    min(max(x + sides[2], 0), WIDTH),
                    min(max(y + sides[3], 0), HEIGHT),
                )
                probabilities = [sigmoid(value) for value in logits]
                rows.append([*probabilities, *bins.ravel()])
                add(found, box, probabilities)
        levels.append(np.array(rows, np.float32)[None])
    options: dict[str, Any] = {"strides": strides, "cell_offset": offset, "reg_max": reg_max}
    joined = np.concatenate(levels, axis=1)
    outputs: Outputs = {"output": joined}
    if form == "per stride, reversed":
        outputs = {f"level_{index}": level for index, level in reversed(list(enumerate(levels)))}
    elif form == "apart":
        outputs = {"boxes": joined[..., CLASSES:], "scores": joined[..., :CLASSES].transpose(0, 2, 1)}
    elif form == "apart per stride":
        outputs = {f"dis_{index}": level[..., CLASSES:] for index, level in enumerate(levels)}
        outputs |= {f"cls_{index}": level[..., :CLASSES] for index, level in enumerate(levels)}
    elif form == "maps":
        sizes = [(math.ceil(HEIGHT / stride), math.ceil(WIDTH / stride)) for stride in strides]
        outputs = {
            f"map_{index}": level.transpose(0, 2, 1).reshape(1, -1, *size)
            for index, (level, size) in enumerate(zip(levels, sizes, strict=True))
        }
    return "nanodet", options, outputs, found


# ---- heatmaps: decoder centernet


def centernet(
    rng: np.random.Generator, logits: bool, offsets: bool, each_class: bool = False, last: bool = False
) -> Case:
    """CenterNet ctdet_decode: a maximum of 3 x 3 around it, cell + reg (0.5 without), all times 4."""
    rows, columns = HEIGHT // 4, WIDTH // 4
    heat = rng.normal(-2, 2, (CLASSES, rows, columns))
    size = rng.uniform(0.5, 8, (2 * CLASSES if each_class else 2, rows, columns))
    reg = rng.uniform(0, 1, (2, rows, columns))
    found = Found()
    for label in range(CLASSES):
        for row in range(rows):
            for column in range(columns):
                around = [
                    heat[label, r, c]
                    for r in range(max(row - 1, 0), min(row + 2, rows))
                    for c in range(max(column - 1, 0), min(column + 2, columns))
                ]
                if heat[label, row, column] < max(around) or sigmoid(heat[label, row, column]) < THRESHOLD:
                    continue
                x = column + (reg[0, row, column] if offsets else 0.5)
                y = row + (reg[1, row, column] if offsets else 0.5)
                first = 2 * label if each_class else 0
                box = centered(x, y, size[first, row, column], size[first + 1, row, column])
                found.append((*(4 * one for one in box), sigmoid(heat[label, row, column]), label))
    shown = heat if logits else 1 / (1 + np.exp(-heat))
    outputs = {"wh": size, "hm": shown} | ({"reg": reg} if offsets else {})
    turned = {name: one.transpose(1, 2, 0) if last else one for name, one in outputs.items()}
    return (
        "centernet",
        {"scores": "logits" if logits else "probability"},
        {name: one[None].astype(np.float32) for name, one in turned.items()},
        found,
    )


# ---- raw maps: decoder grid


def darknet(rng: np.random.Generator, version: str, form: str, activated: bool = False) -> Case:
    """Darknet's get_region_box and get_yolo_box, and YOLOv5's raw maps.

    The x of YOLOv2 and v3 is (column + sigmoid) / columns of the input's width, the width exp * anchor, in
    cells for v2. YOLOv4 stretches: sigmoid * s - (s - 1) / 2.
    """
    stretch = {8: 1.2, 16: 1.1, 32: 1.05}
    outputs, found = {}, Found()
    strides = [32] if version == "yolov2" else list(ANCHORS)
    for stride in strides:
        anchors, rows, columns = ANCHORS[stride], HEIGHT // stride, WIDTH // stride
        raw = rng.normal(0, 1.5, (len(anchors), rows, columns, 5 + CLASSES))
        shown = raw.copy()
        for place in np.ndindex(*raw.shape[:3]):
            number, row, column = place
            t, anchor = raw[place], anchors[number]
            if version == "yolov5":
                box = v5_box(t, row, column, stride, anchor)
            else:
                s = stretch[stride] if version == "yolov4" else 1.0
                x = (column + sigmoid(t[0]) * s - (s - 1) / 2) / columns * WIDTH
                y = (row + sigmoid(t[1]) * s - (s - 1) / 2) / rows * HEIGHT
                box = x, y, math.exp(t[2]) * anchor[0], math.exp(t[3]) * anchor[1]
            classes = softmax(t[5:]) if version == "yolov2" else [sigmoid(value) for value in t[5:]]
            add(found, centered(*box), [sigmoid(t[4]) * one for one in classes])
            if activated:
                keeps_size = version != "yolov5"
                shown[place] = [
                    t[k] if keeps_size and k in (2, 3) else sigmoid(t[k]) for k in range(5)
                ] + classes
        count, width = len(anchors), 5 + CLASSES
        axes = {
            "AN H W": lambda m, c=count, w=width: m.transpose(0, 3, 1, 2).reshape(c * w, *m.shape[1:3]),
            "H W AN": lambda m, c=count, w=width: m.transpose(1, 2, 0, 3).reshape(*m.shape[1:3], c * w),
            "A H W N": lambda m: m,
            "H W A N": lambda m: m.transpose(1, 2, 0, 3),
            "A N H W": lambda m: m.transpose(0, 3, 1, 2),
        }
        outputs[f"map_{stride}"] = axes[form](shown)[None].astype(np.float32)
    options: dict[str, Any] = {"style": "yolov3" if version == "yolov4" else version, "strides": strides}
    options["anchors"] = [ANCHORS[stride] for stride in strides]
    if version == "yolov2":  # its cfg gives anchors in cells
        options["anchors"] = [[(w / 32, h / 32) for w, h in ANCHORS[32]]]
        options["anchor_units"] = "cells"
    if version == "yolov4":
        options["scale_xy"] = [stretch[stride] for stride in strides]
    if activated:
        options["activated"] = True
    return "grid", options, dict(reversed(outputs.items())), found


def yolo_fastest_v2(rng: np.random.Generator) -> Case:
    """Yolo-FastestV2 exported for ONNX: sigmoid of boxes and objectness, softmax of all anchors' classes."""
    outputs, found = {}, Found()
    strides = (16, 32)
    for stride in strides:
        anchors, rows, columns = ANCHORS[stride], HEIGHT // stride, WIDTH // stride
        numbers = np.zeros((rows, columns, 5 * len(anchors) + CLASSES))
        for row, column in cells(stride):
            boxes, objectness = rng.normal(0, 2, (len(anchors), 4)), rng.normal(1, 2, len(anchors))
            classes = softmax(rng.normal(0, 2, CLASSES))
            for raw, score, anchor in zip(boxes, objectness, anchors, strict=True):
                box = v5_box(raw, row, column, stride, anchor)
                add(found, centered(*box), [sigmoid(score) * one for one in classes])
            flat = [sigmoid(value) for value in (*boxes.ravel(), *objectness)]
            numbers[row, column] = [*flat, *classes]
        outputs[f"map_{stride}"] = numbers[None].astype(np.float32)
    options = {"style": "yolo_fastest_v2", "strides": list(strides), "anchors": [ANCHORS[s] for s in strides]}
    return "grid", options, outputs, found


def fastestdet(rng: np.random.Generator, weighted: bool) -> Case:
    """FastestDet handle_preds: tanh of the center, sigmoid of the size as a share of the input."""
    rows, columns = HEIGHT // 16, WIDTH // 16
    numbers, found = np.zeros((5 + CLASSES, rows, columns)), Found()
    for row, column in cells(16):
        objectness, reg = sigmoid(rng.normal(1, 2)), rng.normal(0, 2, 4)
        classes = softmax(rng.normal(0, 2, CLASSES))
        x, y = (math.tanh(reg[0]) + column) / columns, (math.tanh(reg[1]) + row) / rows
        box = centered(x, y, sigmoid(reg[2]), sigmoid(reg[3]))
        box = (box[0] * WIDTH, box[1] * HEIGHT, box[2] * WIDTH, box[3] * HEIGHT)
        scores = [objectness**0.6 * one**0.4 if weighted else objectness**0.5 * one**0.5 for one in classes]
        add(found, box, scores)
        numbers[:, row, column] = [objectness, *reg, *classes]
    options: dict[str, Any] = {"style": "fastestdet", "strides": [16]}
    if not weighted:
        options["objectness_weight"] = 0.5
    return "grid", options, {"output": numbers[None].astype(np.float32)}, found


CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    "v8 columns": lambda rng: ultralytics_v8(rng, "columns", "pixels", "probability"),
    "v8 rows": lambda rng: ultralytics_v8(rng, "rows", "pixels", "probability"),
    "v8 normalized": lambda rng: ultralytics_v8(rng, "rows", "normalized", "probability"),
    "v8 logits": lambda rng: ultralytics_v8(rng, "columns", "pixels", "logits"),
    "rtdetr": ultralytics_rtdetr,
    "v5 one output": lambda rng: yolov5_export(rng, False),
    "v5 an output a scale": lambda rng: yolov5_export(rng, True),
    "yolox decoded": yolox_decoded,
    "nanodet-plus": lambda rng: nanodet(rng, "joined", 0.0),
    "nanodet-plus, reg_max 10": lambda rng: nanodet(rng, "joined", 0.0, 10),
    "nanodet-plus a stride": lambda rng: nanodet(rng, "per stride, reversed", 0.0),
    "nanodet-plus maps": lambda rng: nanodet(rng, "maps", 0.0),
    "nanodet-plus apart": lambda rng: nanodet(rng, "apart", 0.0),
    "nanodet 2020": lambda rng: nanodet(rng, "apart per stride", 0.5),
    "centernet": lambda rng: centernet(rng, logits=True, offsets=True),
    "centernet with sigmoid": lambda rng: centernet(rng, logits=False, offsets=True),
    "centernet without offsets": lambda rng: centernet(rng, logits=True, offsets=False),
    "centernet, sizes of classes": lambda rng: centernet(rng, logits=True, offsets=True, each_class=True),
    "centernet, channels last": lambda rng: centernet(rng, logits=True, offsets=True, last=True),
    "yolov2": lambda rng: darknet(rng, "yolov2", "AN H W"),
    "yolov3": lambda rng: darknet(rng, "yolov3", "AN H W"),
    "yolov3, sigmoid in the file": lambda rng: darknet(rng, "yolov3", "H W AN", activated=True),
    "yolov4": lambda rng: darknet(rng, "yolov4", "H W A N"),
    "yolov5 raw": lambda rng: darknet(rng, "yolov5", "A H W N"),
    "yolov5 raw, numbers first": lambda rng: darknet(rng, "yolov5", "A N H W"),
    "yolov5 raw, sigmoid in the file": lambda rng: darknet(rng, "yolov5", "AN H W", activated=True),
    "yolo-fastest v2": yolo_fastest_v2,
    "fastestdet": lambda rng: fastestdet(rng, weighted=True),
    "fastestdet, other weight": lambda rng: fastestdet(rng, weighted=False),
}
