# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny detectors whose one output joins boxes in pixels and scores in 0..1, as Ultralytics exports them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES, BINS = 512, 3, 8
STRIDES = (64, 128)
FORMS = ("v5", "v5_vector", "v7", "v8", "v8_transposed", "v8_per_level")


class _Net:
    """Collects nodes and weights; a tensor's name is its node's."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def const(self, name: str, values: Any, kind: Any = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def conv(
        self, data: str, name: str, channels: tuple[int, int], stride: int = 1, gain: float = 1.0
    ) -> str:
        size = 3 if stride > 1 else 1
        inputs, outputs = channels
        values = self.rng.normal(0.0, gain / np.sqrt(inputs * size * size), (outputs, inputs, size, size))
        pads = [size // 2] * 4
        return self.node(
            "Conv", [data, self.const(f"{name}_w", values)], name, strides=[stride] * 2, pads=pads
        )

    def reshape(self, data: str, name: str, shape: list[int]) -> str:
        return self.node("Reshape", [data, self.const(f"{name}_shape", shape, np.int64)], name)


def _features(net: _Net) -> list[str]:
    """Return features at strides 64 and 128."""
    data, channels, levels = "images", 3, []
    data = net.node("Mul", [data, net.const("unit", 1.0 / 255.0)], "scaled")
    for index, stride in enumerate((4, 4, 4, 2)):
        data = net.conv(data, f"body_{index}", (channels, 16), stride=stride, gain=1.6)
        data = net.node("Relu", [data], f"relu_{index}")
        channels = 16
        if index >= 2:
            levels.append(data)
    return levels


def _anchors(stride: int) -> NDArray[np.float32]:
    cells = np.arange(SIDE // stride, dtype=np.float32) + 0.5
    x, y = np.meshgrid(cells, cells)
    return np.stack([x.ravel(), y.ravel()])


def ultralytics(form: str) -> onnx.ModelProto:
    """Return a detector of a 512x512 image in 0..255 with three classes.

    Args:
        form: "v5": sigmoid of all, grid and anchors, objectness, joined per level and over levels;
            "v5_vector": the same by a Mul and an Add with a number for each channel; "v7": as "v5",
            split again for a matrix product that turns centers and sizes into corners; "v8":
            distribution focal loss, joined once, (1, 4 + classes, cells); "v8_transposed": the same as
            (1, cells, 4 + classes); "v8_per_level": joined with the pixels per level first.
    """
    net = _Net()
    levels = _features(net)
    output = _v5(net, levels, form) if form.startswith(("v5", "v7")) else _v8(net, levels, form)
    shape = [1, None, None]
    graph = helper.make_graph(
        net.nodes,
        form,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        net.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _v5(net: _Net, levels: list[str], form: str) -> str:
    rows = []
    width = 5 + CLASSES
    for index, (data, stride) in enumerate(zip(levels, STRIDES, strict=True)):
        cells = (SIDE // stride) ** 2
        head = net.conv(data, f"head_{index}", (16, width), gain=6.0)
        flat = net.reshape(head, f"flat_{index}", [1, width, cells])
        turned = net.node("Transpose", [flat], f"turned_{index}", perm=[0, 2, 1])
        squashed = net.node("Sigmoid", [turned], f"squashed_{index}")
        if form == "v5_vector":
            by_channel = [2.0 * stride] * 2 + [4.0 * stride] * 2 + [1.0] * (1 + CLASSES)
            scaled = net.node("Mul", [squashed, net.const(f"channels_{index}", by_channel)], f"scale_{index}")
            offsets = np.zeros((1, cells, width), np.float32)
            offsets[0, :, :2] = (_anchors(stride).T - 1.0) * stride
            rows.append(net.node("Add", [scaled, net.const(f"offsets_{index}", offsets)], f"placed_{index}"))
            continue
        parts = [f"{name}_{index}" for name in ("xy", "wh", "conf")]
        sizes = net.const(f"sizes_{index}", [2, 2, 1 + CLASSES], np.int64)
        net.nodes.append(helper.make_node("Split", [squashed, sizes], parts, f"split_{index}", axis=2))
        grid = net.const(f"grid_{index}", _anchors(stride).T[None] - 1.0)
        twice = net.const(f"twice_{index}", 2.0)
        xy = net.node("Add", [net.node("Mul", [parts[0], twice], f"xy2_{index}"), grid], f"xyg_{index}")
        xy = net.node("Mul", [xy, net.const(f"stride_{index}", float(stride))], f"xyp_{index}")
        wh = net.node("Mul", [parts[1], net.const(f"anchor_{index}", 4.0 * stride)], f"whp_{index}")
        rows.append(net.node("Concat", [xy, wh, parts[2]], f"join_{index}", axis=2))
    if form != "v7":
        return net.node("Concat", rows, "output", axis=1)
    joined = net.node("Concat", rows, "rows", axis=1)
    sizes = net.const("parts", [4, 1 + CLASSES], np.int64)
    net.nodes.append(helper.make_node("Split", [joined, sizes], ["centers", "scores"], "parted", axis=2))
    matrix = net.const("to_corners", [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
    return net.node(
        "Concat", [net.node("MatMul", ["centers", matrix], "corners"), "scores"], "output", axis=2
    )


def _v8(net: _Net, levels: list[str], form: str) -> str:
    count = sum((SIDE // stride) ** 2 for stride in STRIDES)
    flats = []
    for index, (data, stride) in enumerate(zip(levels, STRIDES, strict=True)):
        box = net.conv(data, f"box_{index}", (16, 4 * BINS), gain=3.0)
        score = net.conv(data, f"score_{index}", (16, CLASSES), gain=9.0)
        both = net.node("Concat", [box, score], f"level_{index}", axis=1)
        flats.append(net.reshape(both, f"flat_{index}", [1, 4 * BINS + CLASSES, (SIDE // stride) ** 2]))
    joined = net.node("Concat", flats, "levels", axis=2)
    sizes = net.const("sizes", [4 * BINS, CLASSES], np.int64)
    net.nodes.append(helper.make_node("Split", [joined, sizes], ["distances", "logits"], "split", axis=1))
    bins = net.reshape("distances", "bins", [1, 4, BINS, count])
    bins = net.node("Transpose", [bins], "bins_first", perm=[0, 2, 1, 3])
    bins = net.node("Softmax", [bins], "shares", axis=1)
    expected = net.const("dfl_w", np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1))
    sides = net.reshape(net.node("Conv", [bins, expected], "dfl"), "sides", [1, 4, count])
    halves = net.const("halves", [2, 2], np.int64)
    net.nodes.append(helper.make_node("Split", [sides, halves], ["before", "after"], "corners", axis=1))
    anchors = net.const("anchors", np.concatenate([_anchors(stride) for stride in STRIDES], axis=1)[None])
    low, high = net.node("Sub", [anchors, "before"], "low"), net.node("Add", [anchors, "after"], "high")
    middle = net.node("Add", [low, high], "twice_middle")
    middle = net.node("Mul", [middle, net.const("half", 0.5)], "middle")
    size = net.node("Sub", [high, low], "size")
    strides = net.const("strides", np.repeat(STRIDES, [(SIDE // s) ** 2 for s in STRIDES])[None, None])
    scores = net.node("Sigmoid", ["logits"], "scores")
    if form == "v8_per_level":
        parts = [net.node("Mul", [one, strides], f"{one}_pixels") for one in (middle, size)]
        return net.node("Concat", [*parts, scores], "output", axis=1)
    boxes = net.node("Mul", [net.node("Concat", [middle, size], "boxes", axis=1), strides], "pixels")
    if form == "v8":
        return net.node("Concat", [boxes, scores], "output", axis=1)
    joined = net.node("Concat", [boxes, scores], "joined", axis=1)
    return net.node("Transpose", [joined], "output", perm=[0, 2, 1])


def found_objects(output: NDArray[np.float32], form: str, threshold: float = 0.5) -> set[tuple[int, int]]:
    """Return (cell, class) of all scores above a threshold; suppression would leave fewer."""
    rows = output[0] if form.startswith(("v5", "v7", "v8_tr")) else output[0].T
    scores = rows[:, 4:5] * rows[:, 5:] if form[:2] in ("v5", "v7") else rows[:, 4:]
    return {(int(cell), int(label)) for cell, label in zip(*np.nonzero(scores > threshold), strict=True)}


def f1(expected: set[tuple[int, int]], found: set[tuple[int, int]]) -> float:
    """Return 2 TP / (2 TP + FP + FN)."""
    return 2 * len(expected & found) / max(len(expected) + len(found), 1)
