# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of another package, found by its entry points, and files that only they can read.

The package lies in a folder on the path, with the metadata that an installation would write.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core import registry
from ad_compressed_perception.core.manifest import InputSpec, Manifest, OutputSpec, Variant, file_sha256
from ad_compressed_perception.workspace.save_manifest import save_manifest

SIDE, STRIDE, CELLS, BINS, WIDTH = 64, 8, 64, 8, 24
MODULE = """
import numpy as np

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.tasks.detection import DetectionDecoder
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds


class NoOptions(StrictModel):
    pass


class SelectedDecoder(DetectionDecoder):
    '''Reads the strongest boxes, selected in the file.'''

    options_type = NoOptions

    def check(self, outputs):
        self.find_output(outputs, "top_boxes")

    def candidates(self, outputs, score_threshold):
        boxes, scores = (outputs[name].reshape(-1, n) for name, n in (("top_boxes", 4), ("top_scores", 1)))
        strong = scores[:, 0] >= score_threshold
        labels = outputs["top_labels"].reshape(-1)[strong]
        return boxes[strong].astype(np.float32), scores[strong, 0].astype(np.float32), labels


class DistancesDecoder(DetectionDecoder):
    '''Reads class scores and four distances for each cell, and declares nothing.'''

    options_type = NoOptions

    def check(self, outputs):
        self.find_output(outputs, "rows")

    def candidates(self, outputs, score_threshold):
        raise NotImplementedError


class BinsDecoder(DetectionDecoder):
    '''Reads class scores and the distributions of four distances for each cell.'''

    options_type = NoOptions

    def check(self, outputs):
        self.find_output(outputs, "rows")

    def output_kinds(self):
        return {"rows": OutputKinds((Columns("probability", 3), Columns("distribution", bins=8)), axis=2)}

    def candidates(self, outputs, score_threshold):
        rows = outputs["rows"][0]
        strongest = rows[:, :3].argmax(1)
        scores = rows[np.arange(len(rows)), strongest]
        sides = rows[:, 3:].reshape(-1, 4, 8)
        powers = np.exp(sides - sides.max(-1, keepdims=True))
        distances = (powers / powers.sum(-1, keepdims=True)) @ np.arange(8) * 8
        x, y = np.meshgrid(np.arange(8) * 8 + 4, np.arange(8) * 8 + 4)
        center = np.stack([x.ravel(), y.ravel()] * 2, 1)
        boxes = center + distances * [-1, -1, 1, 1]
        kept = scores >= score_threshold
        return boxes[kept].astype(np.float32), scores[kept].astype(np.float32), strongest[kept]
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package with the decoders ``selected`` and ``bins`` on the path, until the test ends."""
    package = folder / "vehicle_decoders-1.0.dist-info"
    package.mkdir(parents=True)
    (folder / "vehicle_decoders.py").write_text(MODULE)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: vehicle-decoders\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[ad_compressed_perception.decoders]\n"
        "selected = vehicle_decoders:SelectedDecoder\nbins = vehicle_decoders:BinsDecoder\n"
        "distances = vehicle_decoders:DistancesDecoder\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    registry._targets.cache_clear()


def write_selected(folder: Path) -> Path:
    """Write a detector that joins boxes and scores and ends in TopK, ArgMax and suppression."""
    nodes, weights = _trunk(7)
    x, y = np.meshgrid(np.arange(8), np.arange(8))
    corners = np.stack([x.ravel(), y.ravel()] * 2, 1)[None] * float(STRIDE)
    weights |= {
        "sizes": np.array([4, 3]), "stride": np.float32(STRIDE), "corners": corners, "k": np.array([10]),
        "most": np.array(10), "overlap": np.array([0.5], np.float32), "least": np.array([0.3], np.float32),
        "flat": np.array([1, 10, 4]), "full": np.array([1, 10]),
    }  # fmt: skip
    nodes += [
        helper.make_node("Split", ["cells", "sizes"], ["offsets", "logits"], "split", axis=2),
        helper.make_node("Mul", ["offsets", "stride"], ["scaled"], "scale"),
        helper.make_node("Add", ["scaled", "corners"], ["placed"], "move"),
        helper.make_node("Sigmoid", ["logits"], ["likely"], "sigmoid"),
        helper.make_node("Concat", ["placed", "likely"], ["joined"], "join", axis=2),
        helper.make_node("Split", ["joined", "sizes"], ["boxes", "scores"], "split_again", axis=2),
        helper.make_node("ReduceMax", ["scores"], ["best"], "best", axes=[2], keepdims=0),
        helper.make_node("TopK", ["best", "k"], ["top_scores", "places"], "select"),
        helper.make_node("Gather", ["boxes", "places"], ["picked"], "pick", axis=1),
        helper.make_node("Reshape", ["picked", "flat"], ["top_boxes"], "shape"),
        helper.make_node("ArgMax", ["scores"], ["labels"], "label", axis=2, keepdims=0),
        helper.make_node("GatherElements", ["labels", "places"], ["top_labels"], "pick_labels", axis=1),
        helper.make_node("Transpose", ["scores"], ["by_class"], "by_class", perm=[0, 2, 1]),
        helper.make_node(
            "NonMaxSuppression", ["boxes", "by_class", "most", "overlap", "least"], ["kept"], "suppress"
        ),
    ]
    outputs = [
        helper.make_tensor_value_info("top_boxes", TensorProto.FLOAT, [1, 10, 4]),
        helper.make_tensor_value_info("top_scores", TensorProto.FLOAT, [1, 10]),
        helper.make_tensor_value_info("top_labels", TensorProto.INT64, [1, 10]),
        helper.make_tensor_value_info("kept", TensorProto.INT64, [None, 3]),
    ]
    return _write(folder, nodes, weights, outputs, "selected")


def write_bins(folder: Path, *, decoded: bool = False) -> Path:
    """Write a detector of distributions of distances; ``decoded``: with their means computed in the file."""
    nodes, weights = _trunk(3 + 4 * BINS)
    weights |= {"sizes": np.array([3, 4 * BINS])}
    nodes += [
        helper.make_node("Split", ["cells", "sizes"], ["logits", "sides"], "split", axis=2),
        helper.make_node("Sigmoid", ["logits"], ["scores"], "sigmoid"),
    ]
    if decoded:
        weights |= {
            "by_side": np.array([1, CELLS * 4, BINS]), "rows_of": np.array([1, CELLS, 4]),
            "bin_numbers": np.arange(BINS, dtype=np.float32)[:, None],
        }  # fmt: skip
        nodes += [
            helper.make_node("Reshape", ["sides", "by_side"], ["bins"], "by_side"),
            helper.make_node("Softmax", ["bins"], ["shares"], "shares", axis=2),
            helper.make_node("MatMul", ["shares", "bin_numbers"], ["means"], "mean"),
            helper.make_node("Reshape", ["means", "rows_of"], ["distances"], "rows_of"),
        ]
    last = "distances" if decoded else "sides"
    nodes.append(helper.make_node("Concat", ["scores", last], ["rows"], "join", axis=2))
    shape = [1, CELLS, 7 if decoded else 3 + 4 * BINS]
    outputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape)]
    return _write(folder, nodes, weights, outputs, "distances" if decoded else "bins")


def _trunk(channels: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Return nodes from the image to (1, CELLS, channels) numbers of each cell."""
    random = np.random.default_rng(3)
    weights = {
        "stem_w": random.normal(0, 0.4, (WIDTH, 3, 3, 3)), "stem_b": random.normal(0, 0.1, WIDTH),
        "head_w": random.normal(0, 0.04, (channels, WIDTH, STRIDE, STRIDE)), "head_b": np.zeros(channels),
        "row": np.array([1, channels, CELLS]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["images", "stem_w", "stem_b"], ["stem"], "stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["stem"], ["features"], "relu"),
        helper.make_node("Conv", ["features", "head_w", "head_b"], ["head"], "head", strides=[STRIDE] * 2),
        helper.make_node("Reshape", ["head", "row"], ["columns"], "row"),
        helper.make_node("Transpose", ["columns"], ["cells"], "cells", perm=[0, 2, 1]),
    ]
    return nodes, weights


def _write(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    outputs: list[onnx.ValueInfoProto],
    decoder: str,
) -> Path:
    tensors = []
    for name, value in weights.items():
        array = np.asarray(value)
        kind = np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32
        tensors.append(numpy_helper.from_array(array.astype(kind), name))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "third_party", [image], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fp32.onnx"
    onnx.save(model, str(path))
    manifest = Manifest(
        name="third_party",
        task="detection",
        labels=["car", "person", "sign"],
        input=InputSpec(width=SIDE, height=SIDE, scale=1 / 255, resize="stretch"),
        output=OutputSpec(decoder=decoder),
        baseline="fp32",
        variants={"fp32": Variant(file=path.name, sha256=file_sha256(path))},
    )
    save_manifest(manifest, folder)
    return folder
