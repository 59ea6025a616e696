# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny models with two heads on one encoder, and a planner with four kinds of inputs; answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.manifest import Manifest, Variant, Verdict, file_sha256, load_manifest
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.bags import _STORE, _header, raw_message, write_messages
from support.models import DETECTOR_LABELS, SEGMENTER_LABELS, STRIDES, write_detector

HIDDEN_OFFSET = 1e6
"""Beside it the 0..255 of a color are less than a step of eight bits, and 4,000 steps of float32."""
HEADS: dict[str, Any] = {
    "objects": {
        "task": "detection",
        "labels": DETECTOR_LABELS,
        "decoder": "yolox",
        "options": {"strides": list(STRIDES)},
        "outputs": ["output"],
    },
    "surface": {
        "task": "segmentation",
        "labels": SEGMENTER_LABELS,
        "decoder": "argmax",
        "options": {"layout": "NCHW"},
        "outputs": ["mask_scores"],
    },
}


def add_mask_head(path: Path, *, fragile: bool = False) -> None:
    """Add the tiny segmenter's head to the tiny detector's file: strongest color above 60, else background.

    ``fragile``: behind a layer whose numbers are equal in eight bits.
    """
    model = onnx.load(path)
    head = np.zeros((4, 4, 1, 1), np.float32)
    hidden = np.zeros((4, 3, 1, 1), np.float32)
    for channel in range(3):
        head[1 + channel, channel] = 1.0
        head[1 + channel, 3] = -1.0
        hidden[channel, channel] = 1.0
    offset = np.full(4, HIDDEN_OFFSET if fragile else 0.0, np.float32)
    for name, values in {
        "hidden_w": hidden, "hidden_b": offset, "mask_w": head, "mask_b": np.float32([60, 0, 0, 0]),
    }.items():  # fmt: skip
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    model.graph.node.extend(
        [
            helper.make_node("Conv", ["features", "hidden_w", "hidden_b"], ["hidden"], "hidden"),
            helper.make_node("Conv", ["hidden", "mask_w", "mask_b"], ["mask_scores"], "mask"),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("mask_scores", TensorProto.FLOAT, [1, 4, 64, 64]))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_two_heads(folder: Path, *, fragile: bool = False, name: str = "two_heads") -> Path:
    """Write the tiny detector with a mask head on the same features; see add_mask_head."""
    described = load_manifest(write_detector(folder)).input
    path = folder / "fp32.onnx"
    add_mask_head(path, fragile=fragile)
    manifest = Manifest(
        name=name,
        input=described,
        outputs=HEADS,
        baseline="fp32",
        variants={"fp32": Variant(file=path.name, sha256=file_sha256(path))},
    )  # type: ignore[call-arg]
    save_manifest(manifest, folder)
    return folder


def add_blind_variant(model: Path, name: str = "blind") -> Path:
    """Add an accepted variant whose masks are background everywhere; its boxes are those of the baseline."""
    path = model / f"{name}.onnx"
    graph = onnx.load(model / "fp32.onnx")
    bias = next(one for one in graph.graph.initializer if one.name == "mask_b")
    bias.CopyFrom(numpy_helper.from_array(np.float32([1e4, 0, 0, 0]), "mask_b"))
    onnx.save(graph, path)
    manifest = load_manifest(model)
    manifest.variants[name] = Variant(
        file=path.name,
        sha256=file_sha256(path),
        derived_from="fp32",
        verdict=Verdict(status="accepted"),
    )
    save_manifest(manifest, model)
    return model


INPUTS: dict[str, Any] = {
    "previous": {"source": "previous", "frames": 2, "axis": 1, "max_gap_s": 0.2},
    "speed": {"source": "odometry_speed", "scale": 0.1, "max_age_s": 0.3},
    "gain": {"source": "constant", "value": 2.0},
}
GRAY = {"name": "gray", "width": 32, "height": 32, "color": "GRAY", "scale": 1 / 255}


def steering_of(now: float, before_last: float, speed_mps: float) -> float:
    """Return what the planner of write_inputs_planner gives for brightnesses 0..1 and a speed."""
    return now - before_last + 2.0 * 0.1 * speed_mps


def write_inputs_planner(folder: Path, **inputs: Any) -> Path:
    """Write a planner: brightness minus that two frames before, plus gain times speed, as steering angle."""
    mean = helper.make_node
    first = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in (("zero", [0]), ("one", [1]))]
    weights = [*first, numpy_helper.from_array(np.full((1, 1, 32, 32), 1 / 1024, np.float32), "mean_w")]
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "flat"))
    nodes = [
        mean("Conv", ["gray", "mean_w"], ["now"], "now"),
        mean("Slice", ["previous", "zero", "one", "one"], ["oldest"], "oldest"),
        mean("Conv", ["oldest", "mean_w"], ["before"], "before"),
        mean("Sub", ["now", "before"], ["change"], "change"),
        mean("Reshape", ["change", "flat"], ["changed"], "changed"),
        mean("Mul", ["speed", "gain"], ["pushed"], "pushed"),
        mean("Reshape", ["pushed", "flat"], ["push"], "push"),
        mean("Add", ["changed", "push"], ["steering"], "steering"),
    ]
    shapes = {"gray": [1, 1, 32, 32], "previous": [1, 2, 32, 32], "speed": [1, 1], "gain": [1]}
    graph = helper.make_graph(
        nodes,
        "inputs",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
        [helper.make_tensor_value_info("steering", TensorProto.FLOAT, [1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fp32.onnx"
    onnx.save(model, path)
    manifest = Manifest(
        name="inputs_planner",
        task="planning",
        inputs={"gray": {"source": "image", **GRAY}, **INPUTS, **inputs},
        output={"decoder": "steering", "options": {"steering_output": "steering"}},
        baseline="fp32",
        variants={"fp32": Variant(file=path.name, sha256=file_sha256(path))},
    )  # type: ignore[call-arg]
    save_manifest(manifest, folder)
    return folder


def brightness_of(index: int) -> float:
    """Return the brightness, 0..1, of a frame of write_drive: it goes up and down."""
    return ((index * 37) % 101) / 255 * 2.0


def gray_image(index: int) -> Any:
    """Return a frame of write_drive, (48, 64, 3) uint8."""
    return np.full((48, 64, 3), round(brightness_of(index) * 255), np.uint8)


def odometry_message(stamp_ns: int, speed_mps: float) -> Any:
    """Return a nav_msgs/Odometry (rosbags' class) that says no more than the speed."""
    types = _STORE.types
    vector, point = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Point"]
    pose = types["geometry_msgs/msg/Pose"](
        point(0.0, 0.0, 0.0), types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    )
    twist = types["geometry_msgs/msg/Twist"](vector(speed_mps, 0.0, 0.0), vector(0.0, 0.0, 0.0))
    covariance = np.zeros(36)
    return types["nav_msgs/msg/Odometry"](
        _header(stamp_ns),
        "base_link",
        types["geometry_msgs/msg/PoseWithCovariance"](pose, covariance),
        types["geometry_msgs/msg/TwistWithCovariance"](twist, covariance),
    )


def write_drive(
    path: Path,
    stamps_ns: Sequence[int],
    odometry: Sequence[tuple[int, float]],
    topic: str = "/odometry",
) -> Path:
    """Write a bag with the images of brightness_of on /camera/image and (stamp, speed) of odometry."""
    images = [(stamp, raw_message(gray_image(index), stamp)) for index, stamp in enumerate(stamps_ns)]
    speeds = [(stamp, odometry_message(stamp, value)) for stamp, value in odometry]
    topics = {
        "/camera/image": ("sensor_msgs/msg/Image", images),
        topic: ("nav_msgs/msg/Odometry", speeds),
    }
    return write_messages(path, topics)
