# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny models with outputs known by construction, generated with their manifests.

The detector boxes bright cells, the segmenter labels a pixel by its strongest color, the planner
steers towards the brighter half. They are real ONNX files of a few kilobytes, made of convolutions
so that they can be quantized, and use the package's real decoders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.manifest import Manifest, Variant, file_sha256
from ad_compressed_perception.driving.plan_vector import CURVATURE_SCALE, LENGTH, SPEED
from ad_compressed_perception.driving.speed_profile import RULES
from ad_compressed_perception.workspace.save_manifest import save_manifest

DETECTOR_LABELS = ["car", "person", "sign"]
SEGMENTER_LABELS = ["background", "blue", "green", "red"]
STRIDES = (8, 16, 32)


def _weights(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def _save(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    input_shape: tuple[str, list[int]],
    outputs: dict[str, list[int]],
    opset: int,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_shape[0], TensorProto.FLOAT, input_shape[1])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name="test"
    )
    onnx.checker.check_model(model, full_check=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fp32.onnx"
    onnx.save(model, path)
    return path


def _describe(folder: Path, path: Path, **fields: Any) -> Path:
    manifest = Manifest(
        baseline="fp32",
        variants={"fp32": Variant(file=path.name, sha256=file_sha256(path))},
        **fields,
    )
    save_manifest(manifest, folder)
    return folder


def write_detector(folder: Path, *, opset: int = 13) -> Path:
    """Write a 64x64 YOLOX-style detector; a cell brighter than about 128 becomes a box of its size.

    The class follows the strongest color of the cell: blue car, green person, red sign.
    """
    smooth = np.zeros((3, 3, 3, 3))
    for channel in range(3):
        smooth[channel, channel] = 1 / 9
    nodes = [
        helper.make_node("Conv", ["images", "smooth_w"], ["smoothed"], "smooth", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["smoothed"], ["features"], "relu"),
    ]
    weights = [_weights("smooth_w", smooth)]
    parts = []
    for stride in STRIDES:
        cells = (64 // stride) ** 2
        kernel = np.zeros((8, 3, stride, stride))
        kernel[4] = 0.1 / (3 * stride * stride)  # objectness: brightness of the cell
        for channel in range(3):  # class: the channel against the other two
            kernel[5 + channel] = -0.025 / stride**2
            kernel[5 + channel, channel] = 0.05 / stride**2
        # A center of half a cell, a size of exp(0) = 1 stride; objectness is 0.5 at brightness 128,
        # and coarser strides ask for more so that a small blob is not boxed three times.
        bias = [0.5, 0.5, 0.0, 0.0, -12.8 - (stride > 8) * 4.0, 1.0, 0.0, 0.0]
        suffix = f"_{stride}"
        weights += [_weights("head_w" + suffix, kernel), _weights("head_b" + suffix, bias)]
        weights.append(numpy_helper.from_array(np.array([1, 8, cells], np.int64), "head_shape" + suffix))
        nodes += [
            helper.make_node(
                "Conv",
                ["features", "head_w" + suffix, "head_b" + suffix],
                ["head" + suffix],
                "head" + suffix,
                strides=[stride, stride],
            ),
            helper.make_node("Reshape", ["head" + suffix, "head_shape" + suffix], ["row" + suffix]),
        ]
        parts.append("row" + suffix)
    weights.append(numpy_helper.from_array(np.array([4, 4], np.int64), "halves"))
    nodes += [
        helper.make_node("Concat", parts, ["rows"], axis=2),
        helper.make_node("Split", ["rows", "halves"], ["boxes", "logits"], axis=1),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["channels"], axis=1),
        helper.make_node("Transpose", ["channels"], ["output"], perm=[0, 2, 1]),
    ]
    path = _save(folder, nodes, weights, ("images", [1, 3, 64, 64]), {"output": [1, 84, 8]}, opset)
    return _describe(
        folder,
        path,
        name="tiny_detector",
        task="detection",
        labels=DETECTOR_LABELS,
        input={"width": 64, "height": 64, "color": "BGR", "resize": "letterbox", "pad_value": 0},
        output={"decoder": "yolox", "options": {"strides": list(STRIDES)}},
    )


def write_segmenter(folder: Path, *, opset: int = 13) -> Path:
    """Write a 64x48 segmenter: the strongest of blue, green, red when it exceeds 60, else background."""
    smooth = np.zeros((3, 3, 3, 3))
    for channel in range(3):
        smooth[channel, channel, 1, 1] = 1.0
    head = np.zeros((4, 3, 1, 1))
    for channel in range(3):
        head[1 + channel, channel] = 1.0
    nodes = [
        helper.make_node("Conv", ["image", "smooth_w"], ["smoothed"], "smooth", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["smoothed"], ["features"], "relu"),
        helper.make_node("Conv", ["features", "head_w", "head_b"], ["scores"], "head"),
    ]
    weights = [
        _weights("smooth_w", smooth),
        _weights("head_w", head),
        _weights("head_b", [60.0, 0.0, 0.0, 0.0]),
    ]
    path = _save(folder, nodes, weights, ("image", [1, 3, 48, 64]), {"scores": [1, 4, 48, 64]}, opset)
    return _describe(
        folder,
        path,
        name="tiny_segmenter",
        task="segmentation",
        labels=SEGMENTER_LABELS,
        input={"width": 64, "height": 48, "color": "BGR", "resize": "stretch"},
        output={"decoder": "argmax", "options": {"layout": "NCHW"}},
    )


def write_planner(folder: Path, *, opset: int = 13) -> Path:
    """Write a 32x32 gray planner: +2 rad when only the left half is white, -2 rad when the right is."""
    identity = np.zeros((1, 1, 3, 3))
    identity[0, 0, 1, 1] = 1.0
    balance = np.zeros((2, 1, 32, 32))
    balance[0, 0, :, :16] = 2.0 / 512
    balance[0, 0, :, 16:] = -2.0 / 512
    balance[1] = 1.0 / 1024
    nodes = [
        helper.make_node("Conv", ["gray", "first_w"], ["copied"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["copied"], ["features"], "relu"),
        helper.make_node("Conv", ["features", "balance_w"], ["both"], "balance"),
        helper.make_node("Reshape", ["both", "flat"], ["pair"]),
        helper.make_node("Split", ["pair", "ones"], ["steering", "brightness"], axis=0),
        helper.make_node("Sigmoid", ["brightness"], ["collision"]),
    ]
    weights = [
        _weights("first_w", identity),
        _weights("balance_w", balance),
        numpy_helper.from_array(np.array([2], np.int64), "flat"),
        numpy_helper.from_array(np.array([1, 1], np.int64), "ones"),
    ]
    outputs = {"steering": [1], "collision": [1]}
    path = _save(folder, nodes, weights, ("gray", [1, 1, 32, 32]), outputs, opset)
    return _describe(
        folder,
        path,
        name="tiny_planner",
        task="planning",
        input={"width": 32, "height": 32, "color": "GRAY", "scale": 1 / 255, "resize": "stretch"},
        output={
            "decoder": "steering",
            "options": {"steering_output": "steering", "collision_output": "collision"},
        },
    )


WRITERS = {"detection": write_detector, "segmentation": write_segmenter, "planning": write_planner}


def draw_scene(index: int, width: int = 128, height: int = 96) -> NDArray[np.uint8]:
    """Draw a BGR image that changes with the index: a blue and a red square on dark gray."""
    image = np.full((height, width, 3), 25, np.uint8)
    left = 8 + (index * 5) % (width // 2)
    image[8:40, left : left + 32] = (255, 160, 160)
    right = width - 40 - (index * 3) % (width // 3)
    image[48:80, right : right + 32] = (150, 150, 255)
    return image


def write_trajectory_planner(
    folder: Path,
    *,
    curvature_per_m: float = 0.0,
    allowed_mps: float = 12.0,
    stop: float = -5.0,
    give_way: float = -5.0,
) -> Path:
    """Write a 32x32 planner whose plan is the same for a black image, and bends left where it is bright.

    A fully white image adds 0.02 1/m to every curvature.

    Args:
        folder: of the model.
        curvature_per_m: of the whole path on a black image.
        allowed_mps: allowed speed of the plan; 12 is cruise speed.
        stop: logit of having to stop.
        give_way: logit of being allowed to go on after a stop.
    """
    identity = np.zeros((1, 1, 3, 3))
    identity[0, 0, 1, 1] = 1.0
    weight, bias = np.zeros((LENGTH, 1, 32, 32)), np.zeros(LENGTH)
    weight[:SPEED] = 0.02 * CURVATURE_SCALE / 1024
    bias[:SPEED] = curvature_per_m * CURVATURE_SCALE
    bias[SPEED:] = allowed_mps / RULES.cruise_mps, stop, give_way
    nodes = [
        helper.make_node("Conv", ["gray", "first_w"], ["copied"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["copied"], ["features"], "relu"),
        helper.make_node("Conv", ["features", "plan_w", "plan_b"], ["numbers"], "last"),
        helper.make_node("Flatten", ["numbers"], ["plan"], axis=1),
    ]
    weights = [_weights("first_w", identity), _weights("plan_w", weight), _weights("plan_b", bias)]
    path = _save(folder, nodes, weights, ("gray", [1, 1, 32, 32]), {"plan": [1, LENGTH]}, 13)
    return _describe(
        folder,
        path,
        name="tiny_trajectory_planner",
        task="planning",
        input={"width": 32, "height": 32, "color": "GRAY", "scale": 1 / 255, "resize": "stretch"},
        output={"decoder": "trajectory"},
    )
