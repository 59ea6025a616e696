# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What `adcp compress` makes of the default models."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import yaml
from behavior_checkout import MODELS, Checkout, describe_folder, read_json, sha256, stable, stable_lines

RECIPES = ("fp32_fused", "int8", "int8_mixed", "weights_int8", "palettize6", "int8_openvino")


CALIBRATION_FRAMES = 8


def record_variants(checkout: Checkout) -> dict[str, Any]:
    """Return what the recipes make of the default models."""
    found = {}
    for model in MODELS.values():
        for recipe in RECIPES:
            name = f"{Path(model).name}/{recipe}"
            print(f"  {name}", flush=True)
            found[name] = record_variant(checkout, model, recipe)
    return found


def record_variant(checkout: Checkout, model: str, recipe: str) -> dict[str, Any]:
    """Compress one model by one recipe and return what that made."""
    work = checkout.work / "variants"
    options = ("--recipe", recipe, "--frames", str(CALIBRATION_FRAMES), "--work", str(work))
    done = checkout.run("adcp", "compress", model, "--calibration", checkout.camera_bag(), *options)
    folder = work / Path(model).name
    if done.returncode not in (0, 3, 4):  # neither accepted nor rejected nor inconclusive
        return {"exit": done.returncode, "error": done.stderr}
    name, entry = list(yaml.safe_load((folder / "model.yaml").read_text("utf-8"))["variants"].items())[-1]
    report = folder / f"{name}.report"
    return {
        "exit": done.returncode,
        "name": name,
        "entry": stable(entry),
        "file": describe_model(folder / entry["file"]),
        "report files": describe_folder(report),
        "report": read_json(report / "report.json"),
        "report.md": stable_lines((report / "report.md").read_text("utf-8")),
    }


def describe_model(path: Path) -> dict[str, Any]:
    """Return a variant's file in parts; of a packed one its members too."""
    content = path.read_bytes()
    if path.suffix == ".onnx":
        return {"sha256": sha256(content), **describe_onnx(content), "outputs": run_onnx(content)}
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return {
        "sha256": sha256(content),
        "members": {name: sha256(member) for name, member in members.items()},
        **describe_onnx(members["graph.onnx"]),
    }


def describe_onnx(content: bytes) -> dict[str, Any]:
    """Return the operators, weights and metadata of an ONNX file."""
    model = onnx.load_from_string(content)
    return {
        "opsets": {opset.domain: opset.version for opset in model.opset_import},
        "operators": [node.op_type for node in model.graph.node],
        "weights": {
            tensor.name: f"{onnx.TensorProto.DataType.Name(tensor.data_type)} {list(tensor.dims)} "
            + sha256(tensor.SerializeToString())
            for tensor in model.graph.initializer
        },
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }


def run_onnx(content: bytes) -> dict[str, Any]:
    """Return the outputs of a model for a fixed random image, rounded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    values = np.random.default_rng(0).random(shape)
    image = (values * 255).astype(np.uint8) if "uint8" in given.type else values.astype(np.float32)
    found = {}
    for output, result in zip(session.get_outputs(), session.run(None, {given.name: image}), strict=True):
        rounded = np.round(np.asarray(result, np.float64), 4) + 0.0
        figures = [float(round(figure, 4)) for figure in (rounded.min(), rounded.mean(), rounded.max())]
        found[output.name] = {
            "type": f"{result.dtype} {list(result.shape)}",
            "least, mean, largest": figures,
            "sha256 rounded": sha256(rounded.tobytes()),
        }
    return found
