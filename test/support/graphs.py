# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs of a few operators with a pass context, for any declared input and output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.manifest import InputSpec, Manifest, OutputSpec, Variant
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.io import input_name
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.prepare import Preparer
from support.compression import VNNI
from support.models import draw_scene

LABELS = ["background", "blue", "green", "red"]


def make_graph(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Any],
    inputs: dict[str, list[int]],
    outputs: dict[str, list[int]],
    opset: int = 13,
) -> onnx.ModelProto:
    """Return a checked model; weights are arrays, integers as int64 and all else as float32."""
    tensors = []
    for name, values in weights.items():
        array = np.asarray(values)
        kind = np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32
        tensors.append(numpy_helper.from_array(array.astype(kind), name))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def noise(shape: tuple[int, ...], seed: int = 0, scale: float = 0.2) -> NDArray[np.float32]:
    """Return normally distributed weights."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def context_for(
    model: onnx.ModelProto,
    scratch: Path,
    spec: InputSpec,
    *,
    task: str = "segmentation",
    output: OutputSpec | None = None,
) -> PassContext:
    """Return a context whose calibration frames are drawn scenes, prepared as the input says."""
    manifest = Manifest(
        name="graph",
        task=task,
        labels=LABELS if task != "planning" else [],
        input=spec,
        output=output or OutputSpec(decoder="argmax", options={"layout": "NCHW"}),
        baseline="fp32",
        variants={"fp32": Variant(file="fp32.onnx", sha256="0" * 64)},
    )
    name = input_name(model)

    def images() -> Iterator[Frame]:
        for index in range(3):
            yield Frame(draw_scene(index), "BGR", index)

    def feeds() -> Iterator[dict[str, Any]]:
        prepare = Preparer(spec)
        for frame in images():
            yield {name: prepare(frame)[0].copy()}

    return PassContext(
        manifest=manifest,
        input=manifest.input,
        output=manifest.output,
        feeds=feeds,
        images=images,
        frames=3,
        baseline=scratch / "fp32.onnx",
        host=VNNI,
        scratch=scratch,
        checkpoints=scratch / "checkpoints",
    )


def run_frame(model: onnx.ModelProto, spec: InputSpec, index: int = 0) -> dict[str, NDArray[Any]]:
    """Return a model's outputs for a drawn scene, prepared as the input says."""
    from ad_compressed_perception.onnx_graph.equivalence import run_model

    tensor, _ = Preparer(spec)(Frame(draw_scene(index), "BGR"))
    return run_model(model, {input_name(model): tensor})
