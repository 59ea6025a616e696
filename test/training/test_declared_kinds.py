# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of outputs that do not fit: a loss chosen by them would train to something else, or to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec, Manifest, OutputSpec, Variant, file_sha256
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.decoders.raw import OutputsDecoder
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.training import QUICK, perturbed, weights

for _name in ("torch", "torch_pruning", "safetensors"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: make setup-train")

SHAPE = [1, 6, 8, 8]
OPTIONS = {**QUICK, "epochs": 3, "learning_rate": 5e-3, "relative_rate": True}


def network(
    tmp_path: Path, nodes: list[onnx.NodeProto], constants: dict[str, Any] | None = None, opset: int = 17
) -> tuple[onnx.ModelProto, PassContext]:
    """Return a network of task raw, perturbed: two convolutions to ``head``, then nodes to ``y``."""
    random = np.random.default_rng(3)
    values = {
        "stem_w": random.normal(0, 0.4, (24, 3, 3, 3)), "stem_b": random.normal(0, 0.1, 24),
        "head_w": random.normal(0, 0.1, (6, 24, 8, 8)), "head_b": random.normal(0, 0.1, 6),
    } | (constants or {})  # fmt: skip
    trunk = [
        helper.make_node("Conv", ["images", "stem_w", "stem_b"], ["stem"], pads=[1] * 4),
        helper.make_node("Relu", ["stem"], ["features"]),
        helper.make_node("Conv", ["features", "head_w", "head_b"], ["head"], strides=[8, 8]),
    ]
    kinds = {
        name: np.int64 if np.asarray(value).dtype == int else np.float32 for name, value in values.items()
    }
    tensors = [numpy_helper.from_array(np.asarray(values[name], kind), name) for name, kind in kinds.items()]
    graph = helper.make_graph(
        [*trunk, *nodes],
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    folder = tmp_path / "m"
    folder.mkdir()
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), folder / "fp32.onnx")
    entry = Variant(file="fp32.onnx", sha256=file_sha256(folder / "fp32.onnx"))
    manifest = Manifest(
        name="network",
        task="raw",
        input=InputSpec(width=64, height=64, layout="NCHW", scale=1 / 255),
        output=OutputSpec(decoder="raw"),
        baseline="fp32",
        variants={"fp32": entry},
    )
    save_manifest(manifest, folder)
    return perturbed(folder, tmp_path / "s")


def plain(tmp_path: Path) -> tuple[onnx.ModelProto, PassContext]:
    return network(tmp_path, [helper.make_node("Identity", ["head"], ["y"])])


def untyped(value: str) -> Any:
    return value


WRONG: dict[str, tuple[Any, str]] = {
    "no mapping": (None, "must return a mapping"),
    "another output": ({"boxes": OutputKinds((Columns("value"),))}, "'boxes'.*has only y"),
    "a text": ({"y": "value"}, "must be an OutputKinds"),
    "no columns": ({"y": OutputKinds(())}, "no columns"),
    "columns of text": ({"y": OutputKinds((untyped("value"),))}, "must be Columns"),
    "an unknown kind": ({"y": OutputKinds((Columns(untyped("share")),))}, "known kinds are"),
    "a negative count": ({"y": OutputKinds((Columns("value", -1),))}, "count -1"),
    "bins of no distribution": ({"y": OutputKinds((Columns("value", bins=3),))}, "bins divide"),
    "no bins": ({"y": OutputKinds((Columns("distribution", bins=0),))}, "in 0 bins"),
    "a unit of 0": ({"y": OutputKinds((Columns("value", unit=0.0),))}, "unit 0.0"),
    "a negative weight": ({"y": OutputKinds((Columns("value", weight=-1.0),))}, "weight -1.0"),
    "all that are left, twice": ({"y": OutputKinds((Columns("value"),) * 2)}, "without a count"),
    "too many columns": ({"y": OutputKinds((Columns("value", 7),))}, "do not divide 6"),
    "too few columns": ({"y": OutputKinds((Columns("value", 5),))}, "do not divide 6"),
    "the axis of the batch": ({"y": OutputKinds((Columns("value"),), 0)}, "axis 0.*none of 1 to 3"),
    "no axis of it": ({"y": OutputKinds((Columns("value"),), 5)}, "axis 5.*none of 1 to 3"),
    "cells of a map": (
        {"y": OutputKinds((Columns("value"),), 1, (8,))},
        "64 rows, the cells of strides 8 in",
    ),
    "a stride of 0": ({"y": OutputKinds((Columns("value"),), 1, (0,))}, "strides"),
    "logits called probabilities": ({"y": OutputKinds((Columns("probability"),))}, "teacher gives -"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_decoder_that_declares_what_cannot_be_is_refused_by_name(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown kinds were trained as values, axes wrapped around, probabilities beyond 1 had no gradient."""
    declared, words = WRONG[case]
    monkeypatch.setattr(OutputsDecoder, "output_kinds", lambda self: declared)
    model, context = plain(tmp_path)

    with pytest.raises(RecipeError, match=words) as caught:
        Distill(OPTIONS).apply(model, context)

    assert "\n" not in str(caught.value)
    assert "'y'" in str(caught.value) or "decoder 'raw'" in str(caught.value)


DEPTHS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "depth": ([helper.make_node("Mul", ["gate", "far"], ["y"])], {"far": 80.0}),
    "distance by disparity": ([helper.make_node("Div", ["one", "gate"], ["y"])], {"one": 1.0}),
    "negative": ([helper.make_node("Neg", ["gate"], ["y"])], {}),
    "sum": ([helper.make_node("ReduceSum", ["gate", "axes"], ["y"])], {"axes": np.array([1])}),
}


@pytest.mark.parametrize("case", DEPTHS)
def test_what_is_computed_from_sigmoids_is_trained_beyond_1(case: str, tmp_path: Path) -> None:
    """As probabilities, cut off at 0 and 1, teacher and any student were equal: the loss was 0 throughout."""
    nodes, constants = DEPTHS[case]
    model, context = network(tmp_path, [helper.make_node("Sigmoid", ["head"], ["gate"]), *nodes], constants)

    Distill(OPTIONS).apply(model, context)

    assert context.notes["trained"] == {"y": ["value"]}
    assert 0.0 < context.notes["loss_after"] < 0.5 * context.notes["loss_before"]


def test_products_of_probabilities_stay_probabilities(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sigmoid", ["head"], ["gate"]),
        helper.make_node("ReduceMax", ["gate"], ["best"], axes=[1]),
        helper.make_node("Mul", ["gate", "best"], ["both"]),
        helper.make_node("Sqrt", ["both"], ["y"]),
    ]
    model, context = network(tmp_path, nodes)

    Distill(OPTIONS).apply(model, context)

    assert context.notes["trained"] == {"y": ["probability"]}


def test_targets_beyond_half_precision_are_trained(tmp_path: Path) -> None:
    """Millimeters up to 100 km were infinite in the cache; the error advised a lower learning rate."""
    model, context = network(
        tmp_path, [helper.make_node("Mul", ["head", "thousands"], ["y"])], {"thousands": 1e5}
    )

    Distill(OPTIONS).apply(model, context)

    assert context.notes["loss_after"] < 0.5 * context.notes["loss_before"]


def test_a_weight_that_a_branch_reads_too_stays_there(tmp_path: Path) -> None:
    """The convolution is trained with a bias of its own; the branch computes with the file's."""

    def branch(name: str, operator: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node("ReduceSum", ["stem_b"], [f"{name}_sum"], keepdims=0),
            helper.make_node(operator, ["head", f"{name}_sum"], [f"{name}_out"]),
        ]
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        return helper.make_graph(nodes, name, [], [out])

    nodes = [
        helper.make_node("ReduceMean", ["head"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "zero"], ["is_bright"]),
        helper.make_node(
            "If", ["is_bright"], ["y"], then_branch=branch("a", "Add"), else_branch=branch("b", "Sub")
        ),
    ]
    model, context = network(tmp_path, nodes, {"zero": 0.0})

    trained = Distill(OPTIONS).apply(model, context)

    after = weights(trained)
    own = trained.graph.node[0].input[2]
    assert not np.array_equal(after[own], weights(model)["stem_b"])
    np.testing.assert_array_equal(after["stem_b"], weights(model)["stem_b"])


def test_an_operator_of_an_earlier_opset_is_not_trained_as_the_present_one(tmp_path: Path) -> None:
    """Up to opset 12 this softmax is over all numbers of the map, not over its channels."""
    model, context = network(tmp_path, [helper.make_node("Softmax", ["head"], ["y"], axis=1)], opset=12)

    with pytest.raises(ModelFileError, match="'y' otherwise than ONNX Runtime.*put optimize before"):
        Distill(OPTIONS).apply(model, context)
