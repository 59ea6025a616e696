# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planners of a few hundred bytes with the same output for every image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ad_compressed_perception.core.manifest import Manifest, Variant, file_sha256
from ad_compressed_perception.driving.plan_vector import LENGTH
from ad_compressed_perception.training.default_models.plan_targets import encode_plan
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.graphs import make_graph

LOGIT = 6.0


def plan_vector(
    curvature_per_m: float, clear_m: float = float("inf"), *, stop: bool = False, may_proceed: bool = False
) -> NDArray[np.float32]:
    """Return the output of a confident network: logits of +6 or -6."""
    vector = encode_plan(np.full(11, curvature_per_m), clear_m, stop, may_proceed)
    vector[-2:] = np.where(vector[-2:] > 0.5, LOGIT, -LOGIT)
    return vector


def write_constant_planner(folder: Path, plans: dict[str, NDArray[np.float32]]) -> Path:
    """Write a planner whose variants each output a constant plan."""
    folder.mkdir(parents=True, exist_ok=True)
    variants = {}
    for name, plan in plans.items():
        nodes = [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["three"]),
            helper.make_node("Gemm", ["three", "nothing", "plan"], ["output"]),
        ]
        weights = {"nothing": np.zeros((3, LENGTH)), "plan": plan}
        model = make_graph(nodes, weights, {"image": [1, 3, 16, 32]}, {"output": [1, LENGTH]})
        onnx.save(model, folder / f"{name}.onnx")
        variants[name] = Variant(file=f"{name}.onnx", sha256=file_sha256(folder / f"{name}.onnx"))
    manifest = Manifest(
        name="constant",
        task="planning",
        input={"width": 32, "height": 16},
        output={"decoder": "trajectory", "settings": {"horizon": "time"}},
        baseline=next(iter(plans)),
        variants=variants,
    )
    save_manifest(manifest, folder)
    return folder
