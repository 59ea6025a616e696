# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks with branches, and their stages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.backends.stage_file import Stage, StageFile, write_stage_file
from ad_compressed_perception.compression.passes.graph.partition import stage_tensors
from ad_compressed_perception.onnx_graph.cuts import Cut, CutGraph, choose_cuts
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.onnx_graph.stages import split

SIDE = 8


def branching_network(choices: Sequence[tuple[str, int, int]], seed: int = 0) -> onnx.ModelProto:
    """Return a network of 4 channels; each choice adds an operator on earlier tensors, counted from the last.

    Operators: conv, relu, add, concat (with a convolution back to 4 channels), sigmoid, scale (by a constant
    that is computed in the graph). Outputs are the last tensor and one from the middle.
    """
    rng = np.random.default_rng(seed)
    weights, nodes, made = [], [], ["x"]

    def weight(name: str, shape: tuple[int, ...]) -> str:
        weights.append(numpy_helper.from_array(rng.normal(0, 0.4, shape).astype(np.float32), name))
        return name

    for index, (kind, first, second) in enumerate([("conv", 0, 0), *choices]):
        one, other = (made[-1 - back % len(made)] for back in (first, second))
        name, given = f"t{index}", [one]
        if kind == "concat":
            nodes.append(helper.make_node("Concat", [one, other], [f"{name}/both"], axis=1))
            given = [f"{name}/both"]
        if kind in ("conv", "concat"):
            kernel = weight(f"{name}/w", (4, 8 if kind == "concat" else 4, 3, 3))
            nodes.append(helper.make_node("Conv", [*given, kernel], [name], name, pads=[1] * 4))
        elif kind == "scale":
            nodes.append(helper.make_node("Exp", [weight(f"{name}/s", (1, 4, 1, 1))], [f"{name}/e"]))
            nodes.append(helper.make_node("Mul", [one, f"{name}/e"], [name], name))
        else:
            operator = {"add": "Add", "relu": "Relu", "sigmoid": "Sigmoid"}[kind]
            nodes.append(helper.make_node(operator, [one, other][: 2 if kind == "add" else 1], [name], name))
        made.append(name)
    shape = [1, 4, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in dict.fromkeys([made[-1], made[1 + len(made) // 2] if len(made) > 3 else made[-1]])
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


CHAIN = [("relu", 0, 0), ("conv", 0, 0), ("relu", 0, 0), ("conv", 0, 0), ("add", 0, 3), ("conv", 0, 0)]
"""A network with a skip connection."""


def save_network(path: Path, choices: Sequence[tuple[str, int, int]] = CHAIN, seed: int = 0) -> Path:
    """Write a branching network."""
    onnx.save(branching_network(choices, seed), path)
    return path


def frame(seed: int = 0) -> dict[str, Any]:
    """Return an input of a branching network."""
    return {"x": np.random.default_rng(seed).random((1, 4, SIDE, SIDE), dtype=np.float32)}


def even_cuts(graph: CutGraph, count: int) -> list[Cut]:
    """Return the cuts into stages of equally many nodes."""
    return choose_cuts(graph.cuts(), [1.0] * len(graph.nodes), count, 0.05)


def write_stages(source: Path, folder: Path, count: int = 2, prefix: str = "", **fields: Any) -> Path:
    """Cut an ONNX file into so many stages, if it can be, and return their ``stages.yaml``.

    Fields are those of Stage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = CutGraph(read_model(source))
    count = min(count, len(graph.cuts()) + 1)
    cuts = even_cuts(graph, count) if count > 1 else []
    entries = []
    for number, stage in enumerate(split(graph, cuts), start=1):
        content = stage.model.SerializeToString()
        name = f"{prefix}stage_{number}.onnx"
        (folder / name).write_bytes(content)
        given = {"file": name, "sha256": hashlib.sha256(content).hexdigest(), **fields}
        entries.append(
            Stage(
                inputs=stage_tensors(graph, stage.inputs),
                outputs=stage_tensors(graph, stage.outputs),
                **given,
            )
        )
    graph_of = graph.graph.model.graph
    return write_stage_file(
        StageFile(
            source_sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
            inputs=stage_tensors(graph, [value.name for value in graph_of.input]),
            outputs=[value.name for value in graph_of.output],
            stages=entries,
        ),
        folder,
    )
