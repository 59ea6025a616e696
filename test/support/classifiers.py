# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny classifier (Conv, pool, dense, softmax) that knows ten colors, and images of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import helper

from support.models import _describe, _save, _weights

COLORS_BGR = {
    "black": (10, 10, 10),
    "white": (245, 245, 245),
    "gray": (128, 128, 128),
    "red": (20, 20, 230),
    "green": (20, 200, 20),
    "blue": (230, 40, 20),
    "yellow": (20, 220, 230),
    "cyan": (220, 220, 20),
    "magenta": (220, 20, 220),
    "brown": (20, 70, 130),
}
LABELS = list(COLORS_BGR)
SIZE = 16


def write_classifier(
    folder: Path,
    *,
    end: Literal["softmax", "logits", "twice", "sigmoid"] = "softmax",
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    bias_of: dict[str, float] | None = None,
    sharpness: float = 30.0,
    **output: Any,
) -> Path:
    """Write a 16x16 classifier of the frame's mean color, which is the nearest of ten.

    The nearest color ``c`` of ``x`` has the largest ``c x - c c / 2``: a dense layer.

    Args:
        folder: of the model.
        end: what the file's last operators are.
        layout: of the input; NHWC begins with a Transpose, as exports of Keras do.
        bias_of: label to what is added to its logit.
        sharpness: factor on the logits.
        output: decoder options.
    """
    colors = np.array(list(COLORS_BGR.values()), np.float64) / 255.0
    kernel = np.zeros((3, 3, 3, 3))
    for channel in range(3):
        kernel[channel, channel] = 1 / 9
    cells = (SIZE // 2) ** 2
    dense = np.repeat(sharpness * colors.T, cells, axis=0) / cells
    bias = sharpness * -0.5 * np.square(colors).sum(axis=1)
    for label, more in (bias_of or {}).items():
        bias[LABELS.index(label)] += more
    weights = [_weights("w", kernel), _weights("dense_w", dense), _weights("dense_b", bias)]
    first, shape = "image", [1, 3, SIZE, SIZE]
    nodes = []
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
        first, shape = "planes", [1, SIZE, SIZE, 3]
    last = "logits" if end == "logits" else "scores"
    nodes += [
        helper.make_node("Conv", [first, "w"], ["smoothed"], "smooth", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["smoothed"], ["features"], "relu"),
        helper.make_node("MaxPool", ["features"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "dense_w", "dense_b"], ["logits"], "dense"),
    ]
    if end == "twice":
        nodes.append(helper.make_node("Softmax", ["logits"], ["once"], axis=1))
        nodes.append(helper.make_node("Softmax", ["once"], ["scores"], axis=1))
    elif end != "logits":
        nodes.append(
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1)
            if end == "softmax"
            else helper.make_node("Sigmoid", ["logits"], ["scores"])
        )
    path = _save(folder, nodes, weights, ("image", shape), {last: [1, len(LABELS)]}, 13)
    return _describe(
        folder,
        path,
        name="tiny_classifier",
        task="classification",
        labels=LABELS,
        input={"width": SIZE, "height": SIZE, "color": "BGR", "scale": 1 / 255, "layout": layout},
        output={"decoder": "classes", "options": output},
    )


def draw_color(index: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """Draw a BGR image of label ``index % 10`` with noise of 8 gray levels."""
    noise = np.random.default_rng(index).normal(0.0, 8.0, (height, width, 3))
    color = np.array(COLORS_BGR[LABELS[index % len(LABELS)]])
    return np.clip(color + noise, 0, 255).astype(np.uint8)


def write_colors(folder: Path, count: int) -> Path:
    """Write a folder of ``count`` images, one label after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:04d}.png"), draw_color(index))
    return folder


def write_class_folders(root: Path, per_class: int) -> Path:
    """Write ROOT/LABEL/*.png with so many images of each label."""
    for place, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for number in range(per_class):
            cv2.imwrite(str(root / label / f"{number}.png"), draw_color(place + len(LABELS) * number))
    return root
