# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A YOLOX file with raw boxes, laid out anew as other exporters write them: the same detections.

Decoding, selection and suppression go into the graph behind the raw output, so the answer of every layout is
known: what the raw file gives with the decoder ``yolox``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.manifest import Manifest, OutputSpec

MOST = 300
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "columns": ("yolo", {}),  # Ultralytics v8, v9, 11: (1, 4 + classes, N), pixels and scores in one tensor
    "normalized": ("yolo", {"box_units": "normalized"}),
    "objectness": ("yolo", {"objectness": True}),  # YOLOv5, YOLOX decoded: (1, N, 5 + classes)
    "beside": ("ssd", {"background": "none", "box_units": "normalized"}),  # boxes and scores, two outputs
    "strongest": ("end_to_end", {}),  # as YOLOv10: TopK, (1, 300, 6), nothing suppressed
    "suppressed": ("end_to_end", {}),  # NonMaxSuppression inside: (1, M, 6)
    "ready": ("end_to_end", {}),  # the same in three outputs without a batch axis
}
"""Layout to decoder and options."""


class _Tail:
    """Appends nodes and constants behind a graph's output."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph

    def const(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), f"relaid_{name}"))
        return f"relaid_{name}"

    def node(
        self, operator: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any
    ) -> str:
        names = [f"relaid_{name}", *(f"relaid_{name}_{index}" for index in range(1, outputs))]
        self.graph.node.append(helper.make_node(operator, list(inputs), names, names[0], **attributes))
        return names[0]

    def cut(self, data: str, name: str, first: int, last: int) -> str:
        bounds = [
            self.const(f"{name}_{part}", [value], np.int64)
            for part, value in (("first", first), ("last", last), ("axis", 2))
        ]
        return self.node("Slice", [data, *bounds], name)

    def shape(self, data: str, name: str, sizes: list[int]) -> str:
        return self.node("Reshape", [data, self.const(f"{name}_shape", sizes, np.int64)], name)


def relay(model: onnx.ModelProto, manifest: Manifest, layout: str, iou: float = 0.45) -> onnx.ModelProto:
    """Return a copy of a raw YOLOX graph with another layout of its outputs.

    Args:
        model: with one output (1, N, 5 + classes) as the decoder ``yolox`` reads it.
        manifest: of that model.
        layout: a key of LAYOUTS.
        iou: above which the layouts that suppress drop the weaker box of a class.
    """
    model = type(model).FromString(model.SerializeToString())
    raw, classes = model.graph.output[0].name, len(manifest.labels)
    cells, strides = _cells(manifest)
    tail = _Tail(model)
    moved = tail.node("Add", [tail.cut(raw, "xy", 0, 2), tail.const("cells", cells[None])], "moved")
    step = tail.const("strides", strides[None])
    center = tail.node("Mul", [moved, step], "center")
    size = tail.node("Mul", [tail.node("Exp", [tail.cut(raw, "log_size", 2, 4)], "exp"), step], "size")
    objectness, likely = tail.cut(raw, "objectness", 4, 5), tail.cut(raw, "classes", 5, 5 + classes)
    if layout == "objectness":
        _finish(model, {tail.node("Concat", [center, size, objectness, likely], "rows", axis=2): None})
        return model
    scores = tail.node("Mul", [objectness, likely], "scores")
    if layout in ("columns", "normalized"):
        boxes = tail.node("Concat", [center, size], "boxes", axis=2)
        if layout == "normalized":
            boxes = tail.node("Div", [boxes, _sides(tail, manifest)], "shares")
        joined = tail.node("Concat", [boxes, scores], "joined", axis=2)
        _finish(model, {tail.node("Transpose", [joined], "columns", perm=[0, 2, 1]): None})
        return model
    half = tail.node("Mul", [size, tail.const("half", 0.5)], "half_size")
    ends = [tail.node(operator, [center, half], name) for operator, name in (("Sub", "low"), ("Add", "high"))]
    corners = tail.node("Concat", ends, "corners", axis=2)
    if layout == "beside":
        shares = tail.node("Div", [corners, _sides(tail, manifest)], "shares")
        _finish(model, {shares: "output_boxes", scores: "output_scores"})
        return model
    best = tail.shape(tail.node("ReduceMax", [scores], "best", axes=[2], keepdims=0), "row", [1, -1])
    label = tail.node("ArgMax", [scores], "label", axis=2, keepdims=1)
    label = tail.node("Cast", [label], "class", to=TensorProto.FLOAT)
    if layout == "strongest":
        most = tail.const("most", [min(MOST, len(cells))], np.int64)
        tail.node("TopK", [best, most], "top", outputs=2, axis=1)
        chosen = tail.shape("relaid_top_1", "chosen", [-1])
    else:
        chosen = _suppressed(tail, corners, label, best, manifest, iou)
    picked = [
        tail.node("Gather", [data, chosen], f"picked_{name}", axis=1)
        for name, data in (("boxes", corners), ("score", best), ("class", label))
    ]
    if layout == "ready":
        names = ("output_boxes", "output_scores", "output_labels")
        whole = tail.node("Cast", [picked[2]], "whole", to=TensorProto.INT64)
        flat = [
            tail.shape(picked[0], "four", [-1, 4]),
            *(tail.shape(p, f"flat_{p}", [-1]) for p in (picked[1], whole)),
        ]
        _finish(model, dict(zip(flat, names, strict=True)))
        return model
    column = tail.shape(picked[1], "column", [1, -1, 1])
    _finish(model, {tail.node("Concat", [picked[0], column, picked[2]], "rows", axis=2): None})
    return model


def relaid_manifest(manifest: Manifest, layout: str) -> Manifest:
    """Return the manifest with the decoder of a layout; its variants are still those of the raw file."""
    decoder, options = LAYOUTS[layout]
    settings = manifest.output.settings
    return manifest.model_copy(
        update={"output": OutputSpec(decoder=decoder, options=options, settings=settings)}
    )


def _suppressed(tail: _Tail, corners: str, label: str, best: str, manifest: Manifest, iou: float) -> str:
    """Return the places of the boxes left; boxes of different classes are moved apart so that none meet."""
    apart = tail.const("apart", 4.0 * (manifest.input.width + manifest.input.height))
    moved = tail.node("Add", [corners, tail.node("Mul", [label, apart], "shift")], "apart_boxes")
    limits = [
        tail.const("most_boxes", [100], np.int64),
        tail.const("iou", [iou]),
        tail.const("least_score", [0.01]),
    ]
    found = tail.node(
        "NonMaxSuppression", [moved, tail.shape(best, "one_class", [1, 1, -1]), *limits], "suppressed"
    )
    return tail.shape(
        tail.node("Gather", [found, tail.const("third", 2, np.int64)], "third_column", axis=1), "places", [-1]
    )


def _cells(manifest: Manifest) -> tuple[Any, Any]:
    cells, strides = [], []
    for stride in manifest.output.options.get("strides", [8, 16, 32]):
        x, y = np.meshgrid(
            np.arange(manifest.input.width // stride), np.arange(manifest.input.height // stride)
        )
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


def _sides(tail: _Tail, manifest: Manifest) -> str:
    return tail.const("sides", [manifest.input.width, manifest.input.height] * 2)


def _finish(model: onnx.ModelProto, outputs: dict[str, str | None]) -> None:
    """Make tensors the graph's outputs, under their given names; the shapes are inferred."""
    for tensor, name in outputs.items():
        for node in model.graph.node:
            for index, made in enumerate(node.output):
                if made == tensor and name is not None:
                    node.output[index] = name
    del model.graph.output[:]
    inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for tensor, name in outputs.items():
        model.graph.output.append(inferred[name or tensor])
    model.ir_version = max(model.ir_version, 7)
    onnx.checker.check_model(model, full_check=True)
