# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Models that run and mean nothing to their decoder: tiny models with a few operators appended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ad_compressed_perception.importing.import_model import ImportRequest
from support.models import (
    DETECTOR_LABELS,
    SEGMENTER_LABELS,
    STRIDES,
    write_detector,
    write_planner,
    write_segmenter,
    write_trajectory_planner,
)

Weights = dict[str, Any]


def append(
    path: Path,
    output: str,
    nodes: Sequence[NodeProto],
    weights: Weights | None = None,
    shape: Sequence[int] | None = None,
    kind: int = TensorProto.FLOAT,
) -> None:
    """Append nodes behind an output: they read ``before`` and write ``output``."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["before" if name == output else name for name in node.output]
    model.graph.node.extend(nodes)
    for name, values in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    old = next(value for value in model.graph.output if value.name == output)
    shown = shape or [size.dim_value for size in old.type.tensor_type.shape.dim]
    old.CopyFrom(helper.make_tensor_value_info(output, kind, shown))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def op(kind: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    """Return a node; ``inputs`` are separated by spaces."""
    return helper.make_node(kind, inputs.split(), output.split(), **attributes)


def scaled(path: Path, output: str, factor: float, shift: float = 0.0) -> None:
    """Multiply an output and add to it."""
    weights = {"factor": np.float32(factor), "shift": np.float32(shift)}
    append(path, output, [op("Mul", "before factor", "product"), op("Add", "product shift", output)], weights)


def with_nan(path: Path, output: str, shape: Sequence[int], place: int) -> None:
    """Make one number of an output NaN: zero by zero."""
    zeros = np.ones(shape, np.float32)
    zeros.reshape(-1)[place] = 0.0
    nodes = [
        op("Sub", "before before", "zero"),
        op("Add", "zero units", "divisor"),
        op("Div", "zero divisor", "nan"),
        op("Add", "before nan", output),
    ]
    append(path, output, nodes, {"units": zeros})


# ---- detectors of three labels, 84 cells


def _detector(change: Callable[[Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_detector(folder) / "fp32.onnx"
        change(path)
        return path

    return make


def _cells() -> tuple[np.ndarray, np.ndarray]:
    cells, strides = [], []
    for stride in STRIDES:
        x, y = np.meshgrid(np.arange(64 // stride), np.arange(64 // stride))
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _decoded(divisor: float = 1.0, corners: bool = False, in_cells: bool = False) -> Callable[[Path], Path]:
    def change(path: Path) -> None:
        cells, strides = _cells()
        unit = np.ones_like(strides) if in_cells else strides / np.float32(divisor)
        weights = {"cells": cells, "unit": unit, "half": np.float32(0.5), "parts": np.array([2, 2, 4])}
        nodes = [
            op("Split", "before parts", "raw_center raw_size raw_scores", axis=2),
            op("Add", "raw_center cells", "in_cells"),
            op("Mul", "in_cells unit", "center"),
            op("Exp", "raw_size", "sizes"),
            op("Mul", "sizes unit", "size"),
        ]
        if corners:
            nodes += [
                op("Mul", "size half", "half_size"),
                op("Sub", "center half_size", "first"),
                op("Add", "center half_size", "second"),
                op("Concat", "first second raw_scores", "output", axis=2),
            ]
        else:
            nodes.append(op("Concat", "center size raw_scores", "output", axis=2))
        append(path, "output", nodes, weights)

    return _detector(change)


def _scores(nodes: Sequence[NodeProto], weights: Weights | None = None) -> Callable[[Path], Path]:
    """Change the scores alone: nodes read ``raw_scores`` and write ``scores_out``."""

    def change(path: Path) -> None:
        split = op("Split", "before parts", "raw_boxes raw_scores", axis=2)
        joined = op("Concat", "raw_boxes scores_out", "output", axis=2)
        append(path, "output", [split, *nodes, joined], {"parts": np.array([4, 4]), **(weights or {})})

    return _detector(change)


_LOGITS = [
    op("Clip", "raw_scores low high", "clipped"),
    op("Sub", "one clipped", "rest"),
    op("Div", "clipped rest", "odds"),
    op("Log", "odds", "scores_out"),
]
_LIMITS = {"low": np.float32(1e-6), "high": np.float32(1 - 1e-6), "one": np.float32(1.0)}


def _bytes(path: Path) -> None:
    nodes = [op("Mul", "before factor", "large"), op("Cast", "large", "output", to=TensorProto.UINT8)]
    append(path, "output", nodes, {"factor": np.float32(100)}, kind=TensorProto.UINT8)


def _without_objectness(path: Path) -> None:
    nodes = [
        op("Split", "before parts", "boxes_only objectness classes_only", axis=2),
        op("Concat", "boxes_only classes_only", "output", axis=2),
    ]
    append(path, "output", nodes, {"parts": np.array([4, 1, 3])}, shape=[1, 84, 7])


# ---- segmenters of four labels, 64x48


def _segmenter(change: Callable[[Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_segmenter(folder) / "fp32.onnx"
        change(path)
        return path

    return make


def _from_scores(
    *nodes: NodeProto, shape: Sequence[int], kind: int = TensorProto.FLOAT, **weights: Any
) -> Callable[[Path], Path]:
    return _segmenter(lambda path: append(path, "scores", nodes, weights, shape, kind))


_ONE_PLANE = op("ReduceMax", "before", "plane", axes=[1], keepdims=1)
_ARGMAX = op("ArgMax", "before", "ids", axis=1, keepdims=0)


def _nan_in_first_class(path: Path) -> None:
    with_nan(path, "scores", (1, 4, 48, 64), 1234)


# ---- planners


def _planner(change: Callable[[Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_planner(folder) / "fp32.onnx"
        change(path)
        return path

    return make


def _two_angles(path: Path) -> None:
    append(path, "steering", [op("Concat", "before before", "steering", axis=0)], shape=[2])


def _plan(change: Callable[[Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_trajectory_planner(folder) / "fp32.onnx"
        change(path)
        return path

    return make


def _plan_factors(index: int, factor: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        factors = np.ones(14, np.float32)
        factors[index] = factor
        append(path, "plan", [op("Mul", "before factors", "plan")], {"factors": factors})

    return change


def _plan_of_probabilities(path: Path) -> None:
    """Logits that follow the image's brightness, and then the sigmoid that the decoder applies itself."""
    mix = np.eye(14, dtype=np.float32)
    mix[[12, 13], [12, 13]] = 0.0
    mix[0, 12:] = 3.0, -2.0
    nodes = [
        op("MatMul", "before mix", "mixed"),
        op("Split", "mixed parts", "kept logits", axis=1),
        op("Sigmoid", "logits", "probabilities"),
        op("Concat", "kept probabilities", "plan", axis=1),
    ]
    append(path, "plan", nodes, {"mix": mix, "parts": np.array([12, 2])})


@dataclass(frozen=True)
class Nonsense:
    """A model file that runs, and what its refusal has to say.

    Attributes:
        make: writes the file below a folder and returns it.
        task: it is imported for.
        named: words of the refusal.
        options: decoder options.
        labels: of the manifest; those of the tiny models by default.
        decoder: None for the task's own.
    """

    make: Callable[[Path], Path]
    task: Any
    named: Sequence[str]
    options: dict[str, Any] = field(default_factory=dict)
    labels: Sequence[str] | None = None
    decoder: str | None = None

    def request(self) -> ImportRequest:
        """Return what a user would import it with."""
        usual = {"detection": DETECTOR_LABELS, "segmentation": SEGMENTER_LABELS, "planning": []}[self.task]
        # As the tiny models need it; a planner's pixels are 0..1.
        given: dict[str, Any] = {"scale": 1 / 255} if self.task == "planning" else {"color": "BGR"}
        return ImportRequest(
            self.task,
            name="nonsense",
            labels=usual if self.labels is None else self.labels,
            decoder=self.decoder,
            decoder_options=self.options,
            input=given,
        )


_HEAD = ("decode_in_inference",)
_STEERING = {"steering_output": "steering"}
MODELS = {
    "boxes decoded to pixels": Nonsense(_decoded(), "detection", _HEAD),
    "boxes decoded to 0..1": Nonsense(_decoded(divisor=64.0), "detection", _HEAD),
    "boxes decoded to corners": Nonsense(_decoded(corners=True), "detection", _HEAD),
    "boxes decoded to cells": Nonsense(_decoded(in_cells=True), "detection", _HEAD),
    "logits as scores": Nonsense(_scores(_LOGITS, _LIMITS), "detection", ["sigmoid", "instead of 0 to 1"]),
    "scores in percent": Nonsense(
        _scores([op("Mul", "raw_scores hundred", "scores_out")], {"hundred": np.float32(100)}),
        "detection", ["instead of 0 to 1"],
    ),
    "sigmoid applied twice": Nonsense(
        _scores([op("Sigmoid", "raw_scores", "scores_out")]), "detection", ["applied twice"]
    ),
    "bytes of a quantized head": Nonsense(_detector(_bytes), "detection", ["uint8"]),
    "no objectness": Nonsense(_detector(_without_objectness), "detection", ["needs output [1, 84, 8]"]),
    "too few labels": Nonsense(
        _detector(lambda path: None), "detection", ["needs output [1, 84, 7]"], labels=["a", "b"]
    ),
    "other strides": Nonsense(
        _detector(lambda path: None), "detection", ["needs output [1, 80, 8]"], {"strides": [8, 16]}
    ),
    "NaN in a box of low score": Nonsense(
        _detector(lambda path: with_nan(path, "output", (1, 84, 8), 8 * 70 + 2)), "detection", ["not finite"]
    ),
    "a probability as label ids": Nonsense(
        _from_scores(_ONE_PLANE, op("Div", "plane full", "part"), op("Sigmoid", "part", "scores"),
                     shape=[1, 1, 48, 64], full=np.float32(255)),
        "segmentation", ["probability, not label ids"], labels=["other", "road"],
    ),
    "a depth map as label ids": Nonsense(
        _from_scores(_ONE_PLANE, op("Mul", "plane factor", "scores"), shape=[1, 1, 48, 64],
                     factor=np.float32(0.37)),
        "segmentation", ["not whole numbers"],
    ),
    "a mask of 0 and 255": Nonsense(
        _from_scores(_ARGMAX, op("Cast", "ids", "real", to=TensorProto.FLOAT), op("Sign", "real", "sign"),
                     op("Mul", "sign full", "scores"), shape=[1, 48, 64], full=np.float32(255)),
        "segmentation", ["label id 255"], labels=["other", "road"],
    ),
    "ids beyond the labels": Nonsense(
        _from_scores(_ARGMAX, op("Cast", "ids", "scores", to=TensorProto.FLOAT), shape=[1, 48, 64]),
        "segmentation", ["its manifest has 2 labels"], labels=["other", "road"],
    ),
    "ids from -1": Nonsense(
        _from_scores(_ARGMAX, op("Sub", "ids one", "scores"), shape=[1, 48, 64], kind=TensorProto.INT64,
                     one=np.array(1)),
        "segmentation", ["label ids from -1"],
    ),
    "a classifier of ten classes": Nonsense(
        _from_scores(op("GlobalAveragePool", "before", "pooled"), op("Reshape", "pooled flat", "four"),
                     op("MatMul", "four head", "scores"), shape=[1, 10], flat=np.array([1, 4]),
                     head=np.ones((4, 10), np.float32)),
        "segmentation", ["classifier", "48x64"], labels=[str(i) for i in range(10)],
    ),
    "a classifier with spatial axes": Nonsense(
        _from_scores(op("GlobalAveragePool", "before", "scores"), shape=[1, 4, 1, 1]),
        "segmentation", ["classifier", "48x64"],
    ),
    "height and width exchanged": Nonsense(
        _from_scores(op("Transpose", "before", "scores", perm=[0, 1, 3, 2]), shape=[1, 4, 64, 48]),
        "segmentation", ["48x64", "64x48"],
    ),
    "one plane and one label": Nonsense(
        _from_scores(op("ReduceMax", "before", "scores", axes=[1], keepdims=1), shape=[1, 1, 48, 64]),
        "segmentation", ["background"], labels=["road"],
    ),
    "four planes and three labels": Nonsense(
        _segmenter(lambda path: None), "segmentation", ["3 labels"], labels=["a", "b", "c"]
    ),
    "NaN in the first class": Nonsense(_segmenter(_nan_in_first_class), "segmentation", ["not finite"]),
    "infinity in the last class": Nonsense(
        _from_scores(op("Div", "before zero", "scores"), shape=[1, 4, 48, 64],
                     zero=np.array([1, 1, 1, 0], np.float32).reshape(1, 4, 1, 1)),
        "segmentation", ["not finite"],
    ),
    "steering in degrees": Nonsense(
        _planner(lambda path: scaled(path, "steering", 57.2958)), "planning", ["degrees"], _STEERING
    ),
    "steering in degrees, small angles": Nonsense(
        _planner(lambda path: scaled(path, "steering", 57.2958 * 0.04, 9.0)), "planning", ["degrees"],
        _STEERING,
    ),
    "two angles": Nonsense(_planner(_two_angles), "planning", ["one number"], _STEERING),
    "angle not finite": Nonsense(
        _planner(lambda path: with_nan(path, "steering", (1,), 0)), "planning", ["not"], _STEERING
    ),
    "a logit as collision probability": Nonsense(
        _planner(lambda path: scaled(path, "collision", 20.0, -10.0)), "planning", ["instead of 0 to 1"],
        {**_STEERING, "collision_output": "collision"},
    ),
    "a plan of 13 numbers": Nonsense(
        _plan(lambda path: append(path, "plan", [op("Slice", "before first last axis", "plan")],
                                  {"first": np.array([0]), "last": np.array([13]), "axis": np.array([1])},
                                  [1, 13])),
        "planning", ["[1, 14]"], decoder="trajectory",
    ),
    "a plan with a speed in m/s": Nonsense(
        _plan(_plan_factors(11, 12.0)), "planning", ["m/s"], decoder="trajectory"
    ),
    "a plan with radii": Nonsense(
        _plan(_plan_factors(0, 2500.0)), "planning", ["curvature"], decoder="trajectory"
    ),
    "a plan of probabilities": Nonsense(
        _plan(_plan_of_probabilities), "planning", ["logits"], decoder="trajectory"
    ),
}  # fmt: skip
