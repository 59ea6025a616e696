# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lays a YOLOX file out as other exporters do, so that what an import should guess is known.

The network stays the same: operators before it turn another color order and scale back to its own, operators
behind it decode, join and scale its boxes. The mean average precision of each form is the original's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FORMS = (
    "raw",
    "v8",
    "v8_rows",
    "v5",
    "normalized",
    "normalized_imagenet",
    "end_to_end",
    "signed",
    "nhwc_uint8",
)


class _Graph:
    """Appends operators and constants to a model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self._has_sizes_as_input = model.opset_import[0].version >= 13
        self._count = 0

    def const(self, values: Any, kind: Any = np.float32) -> str:
        self._count += 1
        name = f"layout_const_{self._count}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def op(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self.ops(operator, inputs, 1, **attributes)[0]

    def split(self, data: str, sizes: Sequence[int], axis: int) -> list[str]:
        if self._has_sizes_as_input:
            return self.ops("Split", [data, self.const(sizes, np.int64)], len(sizes), axis=axis)
        return self.ops("Split", [data], len(sizes), axis=axis, split=list(sizes))

    def ops(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        self._count += 1
        names = [f"layout_{self._count}_{index}" for index in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, f"layout_{self._count}", **attributes)
        self.graph.node.append(node)
        return names


def relay(source: Path, target: Path, form: str, names: Sequence[str] = ()) -> Path:
    """Write a YOLOX file in another form.

    Args:
        source: with one input (1, 3, H, W) of BGR pixels in 0..255 and one output (1, N, 5 + classes), raw.
        target: to write.
        form: "raw" as it is, without anything that names it; "v8" columns (1, 4 + C, N), RGB / 255, with
            Ultralytics' metadata where names are given; "v8_rows" the same transposed, no metadata; "v5"
            (1, N, 5 + C) in pixels, RGB / 255; "normalized" boxes of 1, RGB / 255; "normalized_imagenet"
            likewise with ImageNet's mean and std; "end_to_end" (1, n, 6) after suppression; "signed" as v8
            with pixel / 127.5 - 1; "nhwc_uint8" as raw with channels last and bytes.
        names: of the classes, for the metadata.
    """
    model = onnx.load(str(source))
    size = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim]
    before, after = _Graph(model), _Graph(model)
    own = list(model.graph.node)
    del model.graph.node[:]
    first = _input(before, model, form)
    image = model.graph.input[0].name
    for node in own:
        node.input[:] = [first if name == image else name for name in node.input]
    model.graph.node.extend(own)
    after._count = before._count
    output = model.graph.output[0].name
    shape = [dimension.dim_value for dimension in model.graph.output[0].type.tensor_type.shape.dim]
    made, made_shape = _output(after, form, output, shape, (size[3], size[2]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, made_shape))
    del model.graph.value_info[:]
    model.producer_name = "pytorch"
    _metadata(model, form, names, size)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    return target


def _input(graph: _Graph, model: onnx.ModelProto, form: str) -> str:
    """Append what turns the form's image back to BGR pixels; return the tensor's name."""
    image = model.graph.input[0].name
    if form == "raw":
        return image
    if form == "nhwc_uint8":
        tensor = model.graph.input[0].type.tensor_type
        sizes = [dimension.dim_value for dimension in tensor.shape.dim]
        tensor.elem_type = TensorProto.UINT8
        for dimension, side in zip(tensor.shape.dim, (sizes[0], sizes[2], sizes[3], sizes[1]), strict=True):
            dimension.dim_value = side
        image = graph.op("Cast", [image], to=TensorProto.FLOAT)
        return graph.op("Transpose", [image], perm=[0, 3, 1, 2])
    if form == "normalized_imagenet":
        by = np.array(IMAGENET_STD).reshape(1, 3, 1, 1)
        image = graph.op("Mul", [image, graph.const(by)])
        image = graph.op("Add", [image, graph.const(np.array(IMAGENET_MEAN).reshape(1, 3, 1, 1))])
    if form == "signed":
        image = graph.op("Add", [image, graph.const(1.0)])
        image = graph.op("Mul", [image, graph.const(127.5)])
    else:
        image = graph.op("Mul", [image, graph.const(255.0)])
    return graph.op("Gather", [image, graph.const([2, 1, 0], np.int64)], axis=1)


def _output(
    graph: _Graph, form: str, output: str, shape: list[int], size: tuple[int, int]
) -> tuple[str, list[int | str]]:
    """Append what decodes and joins; return the output's name and shape."""
    if form in ("raw", "nhwc_uint8"):
        return output, list(shape)
    rows, classes = shape[1], shape[2] - 5
    parts = graph.split(output, [2, 2, 1, classes], 2)
    cells, strides = _cells(size)
    unit = np.array(size, np.float32) if form.startswith("normalized") else np.ones(2, np.float32)
    center = graph.op("Add", [parts[0], graph.const(cells[None])])
    center = graph.op("Mul", [center, graph.const(strides[None] / unit)])
    sides = graph.op("Mul", [graph.op("Exp", [parts[1]]), graph.const(strides[None] / unit)])
    if form == "v5":
        joined = graph.op("Concat", [center, sides, parts[2], parts[3]], axis=2)
        return joined, [1, rows, 5 + classes]
    scores = graph.op("Mul", [parts[2], parts[3]])
    if form == "end_to_end":
        return _suppressed(graph, center, sides, scores)
    joined = graph.op("Concat", [center, sides, scores], axis=2)
    if form in ("v8_rows", "normalized"):
        return joined, [1, rows, 4 + classes]
    return graph.op("Transpose", [joined], perm=[0, 2, 1]), [1, 4 + classes, rows]


def _cells(size: tuple[int, int]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    cells, strides = [], []
    for stride in (8, 16, 32):
        x, y = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _suppressed(graph: _Graph, center: str, sides: str, scores: str) -> tuple[str, list[int | str]]:
    """Append suppression as of the original's evaluation: strongest class alone, IoU 0.65, score 0.01."""
    half = graph.op("Mul", [sides, graph.const(0.5)])
    boxes = graph.op("Concat", [graph.op("Sub", [center, half]), graph.op("Add", [center, half])], axis=2)
    best = graph.op("ReduceMax", [scores], axes=[2], keepdims=1)
    strongest = graph.op("Cast", [graph.op("Equal", [scores, best])], to=TensorProto.FLOAT)
    alone = graph.op("Mul", [scores, strongest])
    by_class = graph.op("Transpose", [alone], perm=[0, 2, 1])
    kept = graph.op(
        "NonMaxSuppression",
        [boxes, by_class, graph.const([300], np.int64), graph.const([0.65]), graph.const([0.01])],
    )
    columns = graph.split(kept, [1, 1, 1], 1)
    index = graph.op("Reshape", [columns[2], graph.const([-1], np.int64)])
    taken = graph.op("Gather", [boxes, index], axis=1)
    score = graph.op("Gather", [best, index], axis=1)
    label = graph.op("Cast", [columns[1]], to=TensorProto.FLOAT)
    label = graph.op("Reshape", [label, graph.const([1, -1, 1], np.int64)])
    return graph.op("Concat", [taken, score, label], axis=2), [1, "objects", 6]


def _metadata(model: onnx.ModelProto, form: str, names: Sequence[str], size: list[int]) -> None:
    del model.metadata_props[:]
    if not names:
        return
    entries = {
        "description": "Ultralytics YOLO model",
        "author": "Ultralytics",
        "version": "8.3.0",
        "task": "detect",
        "stride": "32",
        "batch": "1",
        "imgsz": json.dumps(size[2:]),
        "names": str(dict(enumerate(names))),
    }
    if form == "end_to_end":
        entries["end2end"] = "True"
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
