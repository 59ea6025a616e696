# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the rules of ONNX Runtime say of small graphs, against ONNX Runtime itself that loads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.targets.check import check_graph
from ad_compressed_perception.targets.facts import GraphFacts
from ad_compressed_perception.targets.rule_file import load_target

FLOAT = TensorProto.FLOAT
KERNEL = np.random.default_rng(0).normal(0, 0.2, (4, 3, 3, 3)).astype(np.float32)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int]]],
    weights: dict[str, Any] | None = None,
    opset: int = 17,
    made: int | None = None,
) -> onnx.ModelProto:
    """Return a graph whose output is ``y``, of the type of the first input where ``made`` names none."""
    kind = next(iter(inputs.values()))[0] if made is None else made
    built = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *given) for name, given in inputs.items()],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def alone(operator: str, kind: int, shape: list[int], opset: int = 17, **attributes: Any) -> onnx.ModelProto:
    return graph(
        [helper.make_node(operator, ["x"], ["y"], "node", **attributes)], {"x": (kind, shape)}, opset=opset
    )


def branches(then_step: int = 1) -> onnx.ModelProto:
    """Return a convolution of what a branch gives; each branch stores the sizes of its own Slice."""
    sides = {}
    for place, side in enumerate(("then", "else")):
        names = [f"{side}_{one}" for one in ("first", "last", "axis", "step")]
        values = (0, 8, 2, then_step)
        sides[f"{side}_branch"] = helper.make_graph(
            [helper.make_node("Slice", ["x", *names], [f"{side}_out"], f"slice_{place}")],
            side,
            [],
            [helper.make_tensor_value_info(f"{side}_out", FLOAT, None)],
            [numpy_helper.from_array(np.array([v], np.int64), n) for n, v in zip(names, values, strict=True)],
        )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
        helper.make_node("Greater", ["most", "zero"], ["is_bright"], "bright"),
        helper.make_node("If", ["is_bright"], ["chosen"], "branch", **sides),
        helper.make_node("Conv", ["chosen", "w"], ["y"], "conv"),
    ]
    return graph(nodes, {"x": (FLOAT, [1, 3, 8, 8])}, {"zero": np.float32(0), "w": KERNEL})


IMAGE = [1, 3, 8, 8]
GRAPHS = {
    "suppression": graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["y"], "node")],
        {"boxes": (FLOAT, [1, 8, 4]), "scores": (FLOAT, [1, 1, 8])},
        made=TensorProto.INT64,
    ),
    "a convolution behind a branch": branches(),
    "half precision": alone("LeakyRelu", TensorProto.FLOAT16, IMAGE),
    "integers in a Relu": alone("Relu", TensorProto.INT64, IMAGE),
    "small integers in a Relu": alone("Relu", TensorProto.INT8, IMAGE),
    "double precision in a mean": alone("AveragePool", TensorProto.DOUBLE, IMAGE, kernel_shape=[2, 2]),
    "double precision in an activation": alone("HardSwish", TensorProto.DOUBLE, IMAGE),
    "double precision in a maximum": alone("MaxPool", TensorProto.DOUBLE, IMAGE, kernel_shape=[2, 2]),
    "integers in a product": graph(
        [helper.make_node("Gemm", ["x", "x"], ["y"], "node")], {"x": (TensorProto.INT64, [3, 3])}
    ),
    "double precision, enlarged": graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], "node")],
        {"x": (TensorProto.DOUBLE, IMAGE)},
        {"scales": np.float32([1, 1, 2, 2])},
    ),
    "operators of the first version": alone("Relu", FLOAT, IMAGE, opset=1),
    "operators of a version to come": alone("Relu", FLOAT, IMAGE, opset=40),
    "a volume": alone("MaxPool", FLOAT, [1, 3, 4, 8, 8], kernel_shape=[2, 2, 2]),
    "nothing stored": graph(
        [helper.make_node("Concat", ["x", "none"], ["y"], axis=1)],
        {"x": (FLOAT, IMAGE)},
        {"none": np.zeros((1, 0, 8, 8), np.float32)},
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_what_fails_is_refused_and_what_does_not_is_loaded(name: str) -> None:
    model = GRAPHS[name]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options)
        refused = ""
    except Exception as error:  # ONNX Runtime raises several types
        refused = str(error)

    found = [one for one in check_graph(model, load_target("onnxruntime")) if one.consequence == "fails"]

    assert bool(found) == bool(refused), (found, refused)


ENLARGED = {"scales": np.float32([1, 1, 2, 2])}
UNCONVERTED = {
    "a volume": graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "node")],
        {"x": (FLOAT, [1, 3, 4, 8, 8])},
        {"w": np.zeros((4, 3, 3, 3, 3), np.float32)},
    ),
    "cubic": graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], "node", mode="cubic")],
        {"x": (FLOAT, IMAGE)},
        ENLARGED,
    ),
    "antialiased": graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], "node", mode="linear", antialias=1)],
        {"x": (FLOAT, IMAGE)},
        ENLARGED,
        opset=18,
    ),
    "double precision": graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "node")],
        {"x": (TensorProto.DOUBLE, IMAGE)},
        {"w": KERNEL.astype(np.float64)},
    ),
}


@pytest.mark.parametrize("name", UNCONVERTED)
def test_what_the_conversion_to_litert_refuses_fails(name: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    from ad_compressed_perception.compression.passes.export.litert import write_litert

    model = onnx.shape_inference.infer_shapes(UNCONVERTED[name])

    with pytest.raises(ModelFileError):
        write_litert(model, tmp_path / "model.tflite")
    assert [one.node for one in check_graph(model, load_target("litert")) if one.consequence == "fails"]


def test_sizes_that_a_branch_stores_are_constants() -> None:
    """TensorRT wants the step of a Slice stored, which the branch does: nothing is computed there."""
    found = check_graph(branches(), load_target("tensorrt10"))

    assert [(one.node, one.text) for one in found] == []


def test_a_branch_gives_the_type_of_its_bodies_not_of_its_condition() -> None:
    facts = GraphFacts(branches())

    assert facts.kind("is_bright") == "bool"
    assert facts.kind("chosen") == "float32"


def test_an_operator_between_pairs_is_predicted_whether_or_not_it_is_a_product() -> None:
    """A mean, padding, a norm and a linear Resize compute in float; a nearest Resize moves values only."""
    pair = {"scale": np.float32(0.05), "zero": np.uint8(128)}
    found = {}
    for operator, inputs, attributes in (
        ("ReduceMean", [], {"axes": [2, 3]}),
        ("Pad", ["pads"], {}),
        ("InstanceNormalization", ["one", "one"], {}),
        ("Resize", ["", "scales"], {"mode": "linear"}),
        ("Resize", ["", "scales"], {"mode": "nearest"}),
    ):
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            helper.make_node(operator, ["d", *inputs], ["o"], "node", **attributes),
            helper.make_node("QuantizeLinear", ["o", "scale", "zero"], ["p"]),
            helper.make_node("DequantizeLinear", ["p", "scale", "zero"], ["y"]),
        ]
        weights = {
            "pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]),
            "one": np.ones(3, np.float32),
            "scales": np.float32([1, 1, 2, 2]),
        }
        model = graph(nodes, {"x": (FLOAT, IMAGE)}, pair | {n: v for n, v in weights.items() if n in inputs})
        key = f"{operator} {attributes.get('mode', '')}".strip()
        found[key] = [one.node for one in check_graph(model, load_target("onnxruntime"))]

    assert found.pop("Resize nearest") == []
    assert set(map(tuple, found.values())) == {("node",)}, found
