# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny models for the decoders that came later: what each gives for an image is known by construction.

Segmenters are those of support.models with other ends. Planners steer towards the brighter half of a 32x32
gray image (0..1): ``balance`` is +1 where only the left half is white, ``light`` the mean brightness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ad_compressed_perception.importing.import_model import ImportRequest
from support.models import SEGMENTER_LABELS, write_segmenter
from support.nonsense import append, op

POINTS = 10


@dataclass(frozen=True)
class Given:
    """A model file and what a user imports it with."""

    write: Callable[[Path], Path]
    task: Any
    decoder: str
    options: dict[str, Any] = field(default_factory=dict)
    labels: Sequence[str] = ()

    def request(self, **options: Any) -> ImportRequest:
        """Return the request, with other decoder options."""
        return ImportRequest(
            self.task,
            name="given",
            labels=self.labels,
            decoder=self.decoder,
            decoder_options={**self.options, **options},
            input={"scale": 1 / 255} if self.task == "planning" else {"color": "BGR"},
        )


def segmenter(
    *nodes: NodeProto, shape: Sequence[int], kind: int = TensorProto.FLOAT, **weights: Any
) -> Callable[[Path], Path]:
    """Return a writer of the tiny segmenter with nodes from ``before`` to ``scores``."""

    def write(folder: Path) -> Path:
        path = write_segmenter(folder) / "fp32.onnx"
        append(path, "scores", nodes, weights, shape, kind)
        return path

    return write


def color_logits(output: str) -> list[NodeProto]:
    """Return nodes that make logits of some colors, with the weights of ``color_weights``."""
    return [
        op("Slice", "before first last axis", "planes"),
        op("Sub", "planes limit", "above"),
        op("Mul", "above gain", output),
    ]


def color_weights(first: int, count: int, limit: float) -> dict[str, Any]:
    """Return weights for ``count`` colors from label ``first`` on; logit 0 at brightness ``limit``."""
    return {
        "first": np.array([first]), "last": np.array([first + count]), "axis": np.array([1]),
        "limit": np.float32(limit), "gain": np.float32(0.02),
    }  # fmt: skip


RED = color_weights(3, 1, 180.0)
"""Above the red of the blue square, 160, below that of red ones, 200 and 255."""


def write_with_auxiliary_head(folder: Path) -> Path:
    """Write the tiny segmenter with a second output: the same scores at an eighth of the size."""
    path = write_segmenter(folder) / "fp32.onnx"
    model = onnx.load(path)
    model.graph.node.append(op("AveragePool", "scores", "auxiliary", kernel_shape=[48, 64], strides=[48, 64]))
    model.graph.output.append(helper.make_tensor_value_info("auxiliary", TensorProto.FLOAT, [1, 4, 1, 1]))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def planner(
    balance: Any, light: Any, bias: Any, nodes: Sequence[NodeProto], outputs: dict[str, list[int]],
    **weights: Any,
) -> Callable[[Path], Path]:  # fmt: skip
    """Return a writer of numbers ``balance * b + light * l + bias``; nodes read ``numbers`` (1, K)."""

    def write(folder: Path) -> Path:
        count = len(bias)
        identity = np.zeros((1, 1, 3, 3))
        identity[0, 0, 1, 1] = 1.0
        weight = np.zeros((count, 1, 32, 32))
        weight += np.asarray(light, np.float64).reshape(-1, 1, 1, 1) / 1024
        sides = np.asarray(balance, np.float64).reshape(-1, 1, 1, 1) / 512
        weight[..., :16] += sides
        weight[..., 16:] -= sides
        stored = {"first_w": identity, "last_w": weight, "last_b": np.asarray(bias)}
        initializers = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in stored.items()]
        initializers += [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
        body = [
            op("Conv", "gray first_w", "copied", pads=[1, 1, 1, 1]),
            op("Relu", "copied", "features"),
            op("Conv", "features last_w last_b", "maps"),
            op("Flatten", "maps", "numbers", axis=1),
            *nodes,
        ]
        graph = helper.make_graph(
            body,
            "planner",
            [helper.make_tensor_value_info("gray", TensorProto.FLOAT, [1, 1, 32, 32])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(model, folder / "fp32.onnx")
        return folder / "fp32.onnx"

    return write


def waypoints(scale: float = 1.0) -> tuple[Any, Any, Any]:
    """Return balance, light and bias of points 2 m apart that bend to the brighter half."""
    balance, bias = np.zeros((POINTS, 2)), np.zeros((POINTS, 2))
    bias[:, 0] = 2.0 * np.arange(1, POINTS + 1)
    balance[:, 1] = 0.02 * bias[:, 0] ** 2
    return balance.ravel() * scale, np.zeros(2 * POINTS), bias.ravel() * scale


SHAPED = [op("Reshape", "numbers shape", "waypoints")]
LISTED = np.array([1, POINTS, 2])
# Steer follows the balance, throttle the light, brake the darkness: numbers before their activations.
_CONTROLS = ([2.0, 0.0, 0.0], [0.0, 6.0, -6.0], [0.0, -3.0, -1.0])
_ACTIVATED = [
    op("Split", "numbers ones", "steer_raw throttle_raw brake_raw", axis=1),
    op("Tanh", "steer_raw", "steer"),
    op("Sigmoid", "throttle_raw", "throttle"),
    op("Sigmoid", "brake_raw", "brake"),
]
_ONES = np.array([1, 1, 1])
CONTROL_OPTIONS = {"steer_positive": "left", "max_road_wheel_rad": 0.05}
BINARY = ["other", "red"]

MODELS = {
    "one channel of logits": Given(
        segmenter(*color_logits("scores"), shape=[1, 1, 48, 64], **RED),
        "segmentation", "sigmoid", {"scores": "logits"}, BINARY,
    ),
    "one plane of probabilities": Given(
        segmenter(*color_logits("logits"), op("Sigmoid", "logits", "chances"),
                  op("Reshape", "chances plane", "scores"), shape=[48, 64], plane=np.array([48, 64]), **RED),
        "segmentation", "sigmoid", {}, BINARY,
    ),
    "three channels": Given(
        segmenter(*color_logits("logits"), op("Sigmoid", "logits", "scores"), shape=[1, 3, 48, 64],
                  **color_weights(1, 3, 60.0)),
        "segmentation", "sigmoid", {}, SEGMENTER_LABELS,
    ),
    "logits at half the resolution": Given(
        segmenter(op("AveragePool", "before", "scores", kernel_shape=[2, 2], strides=[2, 2]),
                  shape=[1, 4, 24, 32]),
        "segmentation", "argmax", {"upsampling": "bilinear"}, SEGMENTER_LABELS,
    ),
    "scores without batch": Given(
        segmenter(op("Squeeze", "before batch", "scores"), shape=[4, 48, 64], batch=np.array([0])),
        "segmentation", "argmax", {}, SEGMENTER_LABELS,
    ),
    "ids of int64": Given(
        segmenter(op("ArgMax", "before", "scores", axis=1, keepdims=0), shape=[1, 48, 64],
                  kind=TensorProto.INT64),
        "segmentation", "argmax", {}, SEGMENTER_LABELS,
    ),
    "an auxiliary head": Given(
        write_with_auxiliary_head, "segmentation", "argmax", {"layout": "NCHW"}, SEGMENTER_LABELS
    ),
    "waypoints by distance": Given(
        planner(*waypoints(), SHAPED, {"waypoints": [1, POINTS, 2]}, shape=LISTED), "planning", "waypoints"
    ),
    "flat normalized waypoints by time": Given(
        planner(*waypoints(1 / 20), [op("Identity", "numbers", "waypoints")], {"waypoints": [1, 2 * POINTS]}),
        "planning", "waypoints", {"scale_m": 20.0, "step_s": 0.2},
    ),
    "three controls of one output": Given(
        planner(*_CONTROLS, [*_ACTIVATED, op("Concat", "steer throttle brake", "controls", axis=1)],
                {"controls": [1, 3]}, ones=_ONES),
        "planning", "controls", CONTROL_OPTIONS,
    ),
    "three outputs of controls": Given(
        planner(*_CONTROLS, _ACTIVATED, {"steer": [1, 1], "throttle": [1, 1], "brake": [1, 1]}, ones=_ONES),
        "planning", "controls",
        {**CONTROL_OPTIONS, "steer_output": "steer", "throttle_output": "throttle", "brake_output": "brake"},
    ),
    "steering and speed": Given(
        planner([2.0, 0.0], [0.0, 30.0], [0.0, 20.0], [op("Identity", "numbers", "both")], {"both": [1, 2]}),
        "planning", "steering",
        {"steering_output": "both", "speed_output": "both", "speed_scale": 1 / 3.6},
    ),
}  # fmt: skip
