# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny ONNX models of the suite, what they compute, and their form for a backend that reads other files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.registry import PASSES, find
from ad_compressed_perception.onnx_graph.io import read_model

Feeds = dict[str, NDArray[Any]]
SIZE = 16
HEAVY_SIZE = 96
WEIGHTS_BYTES = 1 << 20
"""Of the model that is opened a hundred times: a session that stays behind shows as a hundred of it."""


def _random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: Mapping[str, NDArray[Any]],
    inputs: Mapping[str, tuple[int, list[int | str]]],
    outputs: Mapping[str, tuple[int, list[int | str]]],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "conformance",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _conv(source: str, weight: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, weight], [target], target, pads=[1, 1, 1, 1])


def write_plain(path: Path, batch: int | str = 1) -> Path:
    """Convolution, ReLU, convolution: x (batch, 3, 16, 16) float32 to y (batch, 4, 16, 16)."""
    nodes = [_conv("x", "w1", "c"), helper.make_node("Relu", ["c"], ["r"], "r"), _conv("r", "w2", "y")]
    shape = [batch, 3, SIZE, SIZE]
    return _save(
        path,
        nodes,
        {"w1": _random(1, 8, 3, 3, 3), "w2": _random(2, 4, 8, 3, 3)},
        {"x": (TensorProto.FLOAT, shape)},
        {"y": (TensorProto.FLOAT, [batch, 4, SIZE, SIZE])},
    )


def write_dynamic(path: Path) -> Path:
    """The same with a batch that is not fixed."""
    return write_plain(path, "n")


def write_linear(path: Path) -> Path:
    """One convolution without activation: a NaN must come out again."""
    return _save(
        path,
        [_conv("x", "w", "y")],
        {"w": _random(1, 4, 3, 3, 3)},
        {"x": (TensorProto.FLOAT, [1, 3, SIZE, SIZE])},
        {"y": (TensorProto.FLOAT, [1, 4, SIZE, SIZE])},
    )


def write_nhwc(path: Path) -> Path:
    """Channels last at both ends: x (1, 16, 12, 3) float32 to y (1, 16, 12, 4)."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "t", perm=[0, 3, 1, 2]),
        _conv("t", "w", "c"),
        helper.make_node("Transpose", ["c"], ["y"], "y", perm=[0, 2, 3, 1]),
    ]
    return _save(
        path,
        nodes,
        {"w": _random(1, 4, 3, 3, 3)},
        {"x": (TensorProto.FLOAT, [1, SIZE, 12, 3])},
        {"y": (TensorProto.FLOAT, [1, SIZE, 12, 4])},
    )


def write_uint8(path: Path) -> Path:
    """Bytes of an image: x (1, 3, 16, 16) uint8, scaled in the graph, to y float32."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], "f", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "scale"], ["s"], "s"),
        _conv("s", "w", "y"),
    ]
    return _save(
        path,
        nodes,
        {"scale": np.array(1 / 255, np.float32), "w": _random(1, 4, 3, 3, 3)},
        {"x": (TensorProto.UINT8, [1, 3, SIZE, SIZE])},
        {"y": (TensorProto.FLOAT, [1, 4, SIZE, SIZE])},
    )


def write_half(path: Path) -> Path:
    """Half precision throughout: x (1, 3, 16, 16) float16 to y float16."""
    return _save(
        path,
        [_conv("x", "w", "y")],
        {"w": _random(1, 4, 3, 3, 3).astype(np.float16)},
        {"x": (TensorProto.FLOAT16, [1, 3, SIZE, SIZE])},
        {"y": (TensorProto.FLOAT16, [1, 4, SIZE, SIZE])},
    )


def write_several(path: Path) -> Path:
    """Two inputs and two outputs of unlike shapes, in another order than that of their names.

    omega = conv(zeta) (1, 4, 16, 16), beta = alpha * mean(zeta) (1, 2, 8, 8).
    """
    nodes = [
        _conv("zeta", "w", "omega"),
        helper.make_node("ReduceMean", ["zeta"], ["m"], "m", keepdims=1),
        helper.make_node("Mul", ["alpha", "m"], ["beta"], "beta"),
    ]
    return _save(
        path,
        nodes,
        {"w": _random(1, 4, 3, 3, 3)},
        {"zeta": (TensorProto.FLOAT, [1, 3, SIZE, SIZE]), "alpha": (TensorProto.FLOAT, [1, 2, 8, 8])},
        {"omega": (TensorProto.FLOAT, [1, 4, SIZE, SIZE]), "beta": (TensorProto.FLOAT, [1, 2, 8, 8])},
    )


def write_named(path: Path) -> Path:
    """Names as exporters write them: a number, a dot, a path."""
    return _save(
        path,
        [_conv("input.1", "w", "86"), helper.make_node("Relu", ["86"], ["head/out:0"], "r")],
        {"w": _random(1, 4, 3, 3, 3)},
        {"input.1": (TensorProto.FLOAT, [1, 3, SIZE, SIZE])},
        {
            "86": (TensorProto.FLOAT, [1, 4, SIZE, SIZE]),
            "head/out:0": (TensorProto.FLOAT, [1, 4, SIZE, SIZE]),
        },
    )


def write_weights(path: Path) -> Path:
    """One matrix product with WEIGHTS_BYTES of weights: x (1, 256) to y (1, 1024)."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "y")]
    return _save(
        path,
        nodes,
        {"w": _random(1, 256, WEIGHTS_BYTES // 1024)},
        {"x": (TensorProto.FLOAT, [1, 256])},
        {"y": (TensorProto.FLOAT, [1, WEIGHTS_BYTES // 1024])},
    )


def write_heavy(path: Path) -> Path:
    """Three convolutions of 64 channels at 96x96, some hundred million products each, worth two threads."""
    names = ["x", "a", "b", "y"]
    return _save(
        path,
        [_conv(source, f"w{target}", target) for source, target in zip(names, names[1:], strict=False)],
        {f"w{target}": _random(index, 64, 64, 3, 3) / 10 for index, target in enumerate(names[1:])},
        {"x": (TensorProto.FLOAT, [1, 64, HEAVY_SIZE, HEAVY_SIZE])},
        {"y": (TensorProto.FLOAT, [1, 64, HEAVY_SIZE, HEAVY_SIZE])},
    )


WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "plain": write_plain,
    "dynamic": write_dynamic,
    "linear": write_linear,
    "nhwc": write_nhwc,
    "uint8": write_uint8,
    "half": write_half,
    "several": write_several,
    "named": write_named,
    "weights": write_weights,
    "heavy": write_heavy,
}


def feeds_for(model: Path, seed: int = 0, batch: int = 1) -> Feeds:
    """Return random inputs of an ONNX file: bytes, or numbers within 0..1."""
    random = np.random.default_rng(seed)
    feeds: Feeds = {}
    for value in onnx.load(str(model)).graph.input:
        tensor = value.type.tensor_type
        shape = [size.dim_value or batch for size in tensor.shape.dim]
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        feeds[value.name] = (
            random.integers(0, 256, shape).astype(dtype)
            if dtype.kind == "u"
            else random.random(shape).astype(dtype)
        )
    return feeds


def expected(model: Path, feeds: Feeds) -> Feeds:
    """Return what an ONNX file computes, by the reference implementation of the onnx package."""
    evaluator = ReferenceEvaluator(onnx.load(str(model)))
    return dict(zip(evaluator.output_names, evaluator.run(None, dict(feeds)), strict=True))


def model_for(backend: str, onnx_path: Path, folder: Path) -> Path:
    """Return an ONNX model as a file that a backend of this package runs, made in a folder.

    Skips the test where what makes it is not installed.
    """
    if backend == "staged":  # beside each other, as the checks copy what they are given
        from support.stages import write_stages  # not there for an author who has only this folder's parent

        made = write_stages(onnx_path, folder, prefix=f"{onnx_path.stem}_")
        return made.rename(folder / f"{onnx_path.stem}.yaml")
    converter = CONVERTERS.get(backend)
    if converter is None:
        return onnx_path
    step = find(PASSES, converter, RecipeError)({})
    try:
        step.require_packages()
    except RecipeError as error:
        pytest.skip(str(error))
    out = folder / f"{onnx_path.stem}{step.suffix}"
    step.write(read_model(onnx_path), out, "fp32", ())
    return out


CONVERTERS = {"executorch": "export_executorch", "litert": "export_litert", "torch": "export_torch"}
"""Backends that run no ONNX files, and the passes that write theirs."""
