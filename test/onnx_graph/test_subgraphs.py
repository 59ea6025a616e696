# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Branches and loops: what is in their bodies is seen by whatever cuts, sorts and renames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.graph import Graph, remove_dead
from ad_compressed_perception.onnx_graph.normal_form import sort_nodes
from ad_compressed_perception.onnx_graph.reserved_names import ReservedNames
from ad_compressed_perception.onnx_graph.subgraphs import with_placeholders, without_placeholders
from ad_compressed_perception.onnx_graph.walk import outer_names
from support.odd_graphs import KINDS, SHAPE, loop, node, plain

BODIED = ["If", "If in If", "Loop", "Scan"]


def scores(model: onnx.ModelProto) -> np.ndarray:
    image = np.random.default_rng(2).random(SHAPE, np.float32)
    return run_model(model, {model.graph.input[0].name: image})[model.graph.output[0].name]


def reverse(model: onnx.ModelProto) -> onnx.ModelProto:
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    sort_nodes(model)
    return model


def cut(model: onnx.ModelProto) -> onnx.ModelProto:
    remove_dead(model)
    remove_dead(model)
    return model


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    ReservedNames(model)
    return model


def renamed_and_back(model: onnx.ModelProto) -> onnx.ModelProto:
    before = model.SerializeToString(deterministic=True)
    ReservedNames(model).restore(model)
    assert model.SerializeToString(deterministic=True) == before
    return model


def replaced(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let every reader of the stem read a copy of it."""
    graph = Graph(model)
    graph.replace_uses("stem", "stem_copy")
    stem = next(n for n in model.graph.node if n.output[0] == "stem")
    copy = node("Identity", ["stem"], ["stem_copy"], "copy")
    model.graph.node.insert(list(model.graph.node).index(stem) + 1, copy)
    return model


def lifted_and_back(model: onnx.ModelProto) -> onnx.ModelProto:
    stored = with_placeholders(model)
    assert stored and not any(outer_names(n) for n in model.graph.node)
    return without_placeholders(model, stored)


@pytest.mark.parametrize(
    "edit", [reverse, cut, renamed, renamed_and_back, replaced, lifted_and_back], ids=lambda e: e.__name__
)
@pytest.mark.parametrize("kind", BODIED)
def test_the_graph_computes_the_same_after(
    kind: str, edit: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> None:
    expected = scores(KINDS[kind]())
    model = edit(KINDS[kind]())
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(scores(model), expected)


def test_a_body_s_own_tensors_are_not_outer_names() -> None:
    (looped,) = (n for n in loop().graph.node if n.op_type == "Loop")
    assert outer_names(looped) == ["stem", "gain"]


def test_a_missing_tensor_and_a_cycle_are_named() -> None:
    model = plain()
    model.graph.node[2].input[0] = "nowhere"
    with pytest.raises(ModelFileError, match="Conv 'n_last_c' reads the tensor 'nowhere'"):
        sort_nodes(model)
    model = plain()
    model.graph.node[0].input[0] = "last"
    with pytest.raises(ModelFileError, match="Conv 'n_stem_c' waits for its own result"):
        sort_nodes(model)
