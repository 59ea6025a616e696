# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detectors of other makers: tasks for a decoder, and tiny ONNX files with the heads of several families.

The tiny networks box bright cells of a 64x64 image as ``support.models.write_detector`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.importing.import_model import ImportRequest
from ad_compressed_perception.tasks import Task, create_task
from support.models import DETECTOR_LABELS


def decoder_task(decoder: str, labels: int, width: int, height: int, **options: Any) -> Task[Any]:
    """Return a detection task of an input size with a decoder and its options."""
    manifest = Manifest(
        name="m",
        task="detection",
        labels=[f"label {index}" for index in range(labels)],
        input={"width": width, "height": height},
        output={"decoder": decoder, "options": options},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )
    return create_task(manifest)


def specs(outputs: Mapping[str, NDArray[Any]]) -> tuple[TensorSpec, ...]:
    """Return outputs as a file describes them."""
    return tuple(TensorSpec(name, values.shape, values.dtype.name) for name, values in outputs.items())


# ---- tiny ONNX files. A head's channels are listed as what each computes of a cell.

_BRIGHT = ("bright", -12.8)
"""A logit that is 0 at a brightness of 128, as the objectness of ``write_detector``."""
_COLORS = ("blue", "green", "red")
_SIDE = 64


class _Graph:
    """Collects nodes and weights behind a smoothed image; a tensor has the name of its node."""

    def __init__(self) -> None:
        smooth = np.zeros((3, 3, 3, 3))
        for channel in range(3):
            smooth[channel, channel] = 1 / 9
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.op("Conv", ["images", self.const("smooth_w", smooth)], "smoothed", pads=[1, 1, 1, 1])
        self.op("Relu", ["smoothed"], "features")

    def const(self, name: str, values: Any, kind: Any = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def op(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def split(self, data: str, parts: Mapping[str, int], axis: int = 1) -> None:
        sizes = self.const(f"{data}_sizes", list(parts.values()), np.int64)
        self.nodes.append(helper.make_node("Split", [data, sizes], list(parts), f"{data}_split", axis=axis))

    def flat(self, data: str, channels: int, stride: int) -> str:
        shape = self.const(f"{data}_shape", [1, channels, (_SIDE // stride) ** 2], np.int64)
        return self.op("Reshape", [data, shape], f"{data}_flat")

    def head(self, stride: int, channels: Sequence[Any], name: str = "head") -> str:
        """Add a convolution: a number is a constant; ("bright", bias) and ("blue", bias) are logits."""
        kernel = np.zeros((len(channels), 3, stride, stride))
        bias = np.zeros(len(channels))
        for index, channel in enumerate(channels):
            what, bias[index] = ("", channel) if isinstance(channel, (int, float)) else channel
            if what == "bright":
                kernel[index] += 0.1 / (3 * stride**2)
            elif what:
                kernel[index] = -0.025 / stride**2
                kernel[index, _COLORS.index(what)] = 0.05 / stride**2
        weights = [self.const(f"{name}_{stride}_{key}", one) for key, one in (("w", kernel), ("b", bias))]
        return self.op("Conv", ["features", *weights], f"{name}_{stride}", strides=[stride, stride])

    def save(self, path: Path, outputs: Mapping[str, Sequence[int]]) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, _SIDE, _SIDE])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, one) for name, one in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        return path


Written = tuple[str, dict[str, Any]]
"""Decoder and its options."""


def _classes() -> list[Any]:
    """Return logits of three colors."""
    return [(color, 0.0) for color in _COLORS]


def _yolo(path: Path, *, objectness: bool, normalized: bool) -> Written:
    graph = _Graph()
    parts = []
    for stride in (8, 16):
        # Coarser cells ask for more, so that a small square is not boxed twice.
        scores = [("bright", -12.8 - (stride > 8) * 4.0), *_classes()]
        head = graph.flat(graph.head(stride, [0.5, 0.5, 1.0, 1.0, *scores]), 8, stride)
        graph.split(head, {f"center_{stride}": 2, f"size_{stride}": 2, f"logits_{stride}": 4})
        x, y = np.meshgrid(np.arange(_SIDE // stride), np.arange(_SIDE // stride))
        cells = graph.const(f"cells_{stride}", np.stack([x.ravel(), y.ravel()])[None])
        moved = graph.op("Add", [f"center_{stride}", cells], f"moved_{stride}")
        boxes = graph.op("Concat", [moved, f"size_{stride}"], f"in_cells_{stride}", axis=1)
        unit = graph.const(f"unit_{stride}", stride / (_SIDE if normalized else 1))
        pixels = graph.op("Mul", [boxes, unit], f"boxes_{stride}")
        shown = graph.op("Sigmoid", [f"logits_{stride}"], f"scores_{stride}")
        if not objectness:
            graph.split(shown, {f"objectness_{stride}": 1, f"class_{stride}": 3})
            shown = graph.op("Mul", [f"objectness_{stride}", f"class_{stride}"], f"product_{stride}")
        parts.append(graph.op("Concat", [pixels, shown], f"level_{stride}", axis=1))
    if objectness:
        graph.op("Transpose", [graph.op("Concat", parts, "columns", axis=2)], "output", perm=[0, 2, 1])
        graph.save(path, {"output": [1, 80, 8]})
    else:
        graph.op("Concat", parts, "output", axis=2)
        graph.save(path, {"output": [1, 7, 80]})
    options: dict[str, Any] = {"objectness": True} if objectness else {}
    return "yolo", {**options, **({"box_units": "normalized"} if normalized else {})}


def _nanodet(path: Path) -> Written:
    graph = _Graph()
    # Half of the first and of the second bin: each side is half a cell from the center.
    sides = [9.0, 9.0, *[-9.0] * 6] * 4
    parts = []
    for stride in (8, 16):
        head = graph.head(stride, [("bright", -12.8 - (stride > 8) * 4.0), *_classes(), *sides])
        graph.split(head, {f"objectness_{stride}": 1, f"logits_{stride}": 3, f"sides_{stride}": 32})
        probabilities = [
            graph.op("Sigmoid", [f"{name}_{stride}"], f"{name}_{stride}_sigmoid")
            for name in ("objectness", "logits")
        ]
        scores = graph.op("Mul", probabilities, f"scores_{stride}")
        joined = graph.op("Concat", [scores, f"sides_{stride}"], f"level_{stride}", axis=1)
        parts.append(graph.flat(joined, 35, stride))
    graph.op("Transpose", [graph.op("Concat", parts, "columns", axis=2)], "output", perm=[0, 2, 1])
    graph.save(path, {"output": [1, 80, 35]})
    return "nanodet", {"strides": [8, 16], "cell_offset": 0.5}


def _centernet(path: Path, size_cells: float) -> Written:
    graph = _Graph()
    head = graph.head(8, [_BRIGHT, *_classes(), size_cells, size_cells, 0.5, 0.5])
    graph.split(head, {"o": 1, "c": 3, "wh": 2, "reg": 2})
    graph.op("Mul", [graph.op("Sigmoid", [one], f"{one}_sigmoid") for one in ("o", "c")], "hm")
    graph.save(path, {"reg": [1, 2, 8, 8], "hm": [1, 3, 8, 8], "wh": [1, 2, 8, 8]})
    return "centernet", {"stride": 8}


def _darknet(path: Path) -> Written:
    graph, outputs = _Graph(), {}
    for stride in (8, 16):
        scores = [("bright", -12.8 - (stride > 8) * 4.0), *_classes()]
        outputs[graph.head(stride, [0.0, 0.0, 0.0, 0.0, *scores])] = [1, 8, _SIDE // stride, _SIDE // stride]
    graph.save(path, outputs)
    anchors = [[[stride, stride]] for stride in (8, 16)]
    return "grid", {"style": "yolov3", "strides": [8, 16], "anchors": anchors}


def _fastestdet(path: Path) -> Written:
    graph = _Graph()
    graph.split(graph.head(8, [_BRIGHT, 0.5, 0.5, -2.0, -2.0, *_classes()]), {"o": 1, "box": 4, "c": 3})
    scores = [graph.op("Sigmoid", ["o"], "obj"), graph.op("Softmax", ["c"], "cls", axis=1)]
    graph.op("Concat", [scores[0], "box", scores[1]], "output", axis=1)
    graph.save(path, {"output": [1, 8, 8, 8]})
    return "grid", {"style": "fastestdet", "strides": [8]}


HEADS: dict[str, Callable[[Path], Written]] = {
    "yolo": lambda path: _yolo(path, objectness=False, normalized=False),
    "yolo with objectness": lambda path: _yolo(path, objectness=True, normalized=True),
    "nanodet": _nanodet,
    "centernet": lambda path: _centernet(path, 1.0),
    "grid": _darknet,
    "single map": _fastestdet,
}
"""Writers of tiny files of three labels: blue, green and red."""
LARGE_BOXES: dict[str, Callable[[Path], Written]] = {
    **HEADS,
    # Of cells that are equal in 8 bits another one may be the peak: its box must overlap that of the first.
    "centernet": lambda path: _centernet(path, 6.0),
}


def head_request(written: Written) -> ImportRequest:
    """Return what a user says of a tiny file at its import."""
    decoder, options = written
    return ImportRequest(
        task="detection",
        labels=DETECTOR_LABELS,
        decoder=decoder,
        decoder_options=options,
        input={"color": "BGR", "resize": "letterbox", "pad_value": 0},
    )
