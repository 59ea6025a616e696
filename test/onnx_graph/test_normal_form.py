# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of many exporters are read into one form that computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.float16 import raise_to_float32
from ad_compressed_perception.onnx_graph.io import read_model
from support.odd_graphs import KINDS, SHAPE, node, plain, write

HALVES = [kind for kind in KINDS if kind.startswith("half")]


def read(model: onnx.ModelProto, folder: Path, *, external: bool = False) -> onnx.ModelProto:
    return read_model(write(model, folder / "file.onnx", external=external))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "all nodes named the same"])
def test_reading_changes_no_output(kind: str, tmp_path: Path) -> None:
    if kind == "opset 24":
        pytest.importorskip(
            "onnxruntime", minversion="1.24", reason="this ONNX Runtime does not know opset 24"
        )
    half = KINDS[kind]().graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    image = np.random.default_rng(3).random(SHAPE).astype(np.float16 if half else np.float32)
    expected = run_model(KINDS[kind](), {"image": image})

    model = read(KINDS[kind](), tmp_path)

    onnx.checker.check_model(model, full_check=True)
    assert not model.functions and not model.graph.sparse_initializer
    assert all(n.op_type != "Constant" for n in model.graph.node)
    found = run_model(model, {"image": image})
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_weights_in_a_file_of_their_own_are_read(tmp_path: Path) -> None:
    image = np.random.default_rng(3).random(SHAPE, np.float32)
    model = read(plain(), tmp_path, external=True)
    expected = run_model(plain(), {"image": image})["scores"]
    np.testing.assert_array_equal(run_model(model, {"image": image})["scores"], expected)


def test_a_node_s_name_in_use_twice_is_changed_so_that_the_file_runs(tmp_path: Path) -> None:
    image = np.random.default_rng(3).random(SHAPE, np.float32)
    with pytest.raises(ModelFileError, match="same node name"):
        run_model(KINDS["all nodes named the same"](), {"image": image})
    model = read(KINDS["all nodes named the same"](), tmp_path)
    expected = run_model(plain(), {"image": image})["scores"]
    np.testing.assert_array_equal(run_model(model, {"image": image})["scores"], expected)


def test_an_output_that_is_listed_twice_is_refused_by_name(tmp_path: Path) -> None:
    model = plain()
    model.graph.output.append(model.graph.output[0])
    with pytest.raises(ModelFileError, match=r"file\.onnx: output 'scores' is listed twice") as caught:
        read(model, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("indices", ["flat", "by axis"])
def test_both_forms_of_sparse_weights_become_dense(indices: str, tmp_path: Path) -> None:
    full = np.zeros((2, 3), np.float32)
    full[0, 2], full[1, 1] = 4.0, 5.0
    at = np.array([2, 4]) if indices == "flat" else np.array([[0, 2], [1, 1]])
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([4.0, 5.0], np.float32), "w"),
        numpy_helper.from_array(at.astype(np.int64), "w_at"),
        [2, 3],
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node("Add", ["x", "w"], ["y"])], "g",
        [value("x", TensorProto.FLOAT, [2, 3])], [value("y", TensorProto.FLOAT, [2, 3])],
        sparse_initializer=[sparse],
    )  # fmt: skip
    model = read(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path)
    found = run_model(model, {"x": np.zeros((2, 3), np.float32)})["y"]
    np.testing.assert_array_equal(found, full)


@pytest.mark.parametrize("kind", HALVES)
def test_half_precision_is_raised_and_differs_by_its_rounding_only(kind: str, tmp_path: Path) -> None:
    model = read(KINDS[kind](), tmp_path)
    half = model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    image = np.random.default_rng(3).random(SHAPE).astype(np.float16)
    own = run_model(model, {"image": image if half else image.astype(np.float32)})["scores"]

    assert raise_to_float32(model) > 0

    onnx.checker.check_model(model, full_check=True)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT}
    assert {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)} == {
        TensorProto.FLOAT
    }
    found = run_model(model, {"image": image.astype(np.float32)})["scores"]
    # Four layers round by at most 2^-11 of their largest value each, and one by 2^-11 of the result.
    assert np.abs(found - own).max() <= 5 * 2**-11 * np.abs(own).max()
    if kind.startswith("half weights"):
        assert all(n.op_type != "Cast" for n in model.graph.node)
        assert np.abs(found - own).max() <= 1e-5  # it computed in single precision before
    assert raise_to_float32(model) == 0


def test_a_cast_that_converts_integers_stays(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    nodes = [
        node("Cast", ["pixels"], ["half"], "in", to=TensorProto.FLOAT16),
        node("Mul", ["half", "scale"], ["y"], "mul"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [value("pixels", TensorProto.UINT8, [2, 2])], [value("y", TensorProto.FLOAT16, [2, 2])],
        [numpy_helper.from_array(np.array(0.5, np.float16), "scale")],
    )  # fmt: skip
    model = read(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path
    )
    raise_to_float32(model)
    found = run_model(model, {"pixels": np.full((2, 2), 7, np.uint8)})["y"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.full((2, 2), 3.5))
