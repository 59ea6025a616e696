# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""RelativeAdamW, and feature distillation on the inputs of the last layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.compression.passes.quantization.equalize_channels import EqualizeChannels
from ad_compressed_perception.compression.passes.quantization.qat import Qat
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import RecipeError
from support.graphs import make_graph, noise
from support.training import IMAGES, QUICK, WRITERS, student, weights

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-train")
pytest.importorskip("safetensors", reason="safetensors is not installed: make setup-train")
pytest.importorskip("torch_pruning", reason="torch_pruning is not installed: make setup-train")


@pytest.mark.parametrize("task", sorted(WRITERS))
def test_one_relative_rate_works_for_weights_of_any_magnitude(tmp_path: Path, task: str) -> None:
    """The detector's weights are a thousandth of the others': plain Adam needs another rate for it."""
    model, context = student(tmp_path, task)
    Distill({**QUICK, "learning_rate": 5e-3, "relative_rate": True}).apply(model, context)
    assert context.notes["loss_after"] < 0.6 * context.notes["loss_before"]


def test_a_step_is_relative_to_the_channels_size() -> None:
    from ad_compressed_perception.training.relative_adamw import RelativeAdamW

    # Two channels, a factor of fifty apart; Adam's first step is the rate, whatever the gradient.
    weight = torch.nn.Parameter(torch.tensor([[1.0, -1.0], [50.0, 50.0]]))
    start = weight.detach().clone()
    optimizer = RelativeAdamW([weight], lr=0.01, weight_decay=0.0)
    (weight * torch.tensor([[1.0, 7.0], [0.3, 2.0]])).sum().backward()
    optimizer.step()
    moved = (start - weight.detach()).abs()
    np.testing.assert_allclose(moved.numpy(), [[0.01, 0.01], [0.5, 0.5]], rtol=1e-3)


def test_initial_sizes_are_stored_in_the_optimizer_state() -> None:
    from ad_compressed_perception.training.relative_adamw import RelativeAdamW

    weight = torch.nn.Parameter(torch.full((1, 4), 2.0))
    first = RelativeAdamW([weight], lr=0.1, weight_decay=0.0)
    weight.sum().backward()
    first.step()
    with torch.no_grad():
        weight.mul_(100.0)
    second = RelativeAdamW([weight], lr=0.1, weight_decay=0.0)
    second.load_state_dict(first.state_dict())
    assert float(second.state[weight]["size"]) == 2.0


def test_zero_channels_and_biases_can_be_trained() -> None:
    from ad_compressed_perception.training.relative_adamw import channel_sizes

    assert float(channel_sizes(torch.zeros(3))) > 0.0
    sizes = channel_sizes(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert 0.0 < float(sizes[0]) < float(sizes[1])


@pytest.mark.parametrize("task", sorted(WRITERS))
def test_the_feature_loss_keeps_the_graphs_outputs(tmp_path: Path, task: str) -> None:
    model, context = student(tmp_path, task)
    plain = dict(context.notes)
    options: dict[str, Any] = {**QUICK, "learning_rate": 5e-3, "relative_rate": True}
    trained = Distill({**options, "feature_weight": 1.0}).apply(model, context)

    assert plain == {}
    assert context.notes["images"] == 2 * IMAGES
    assert context.notes["loss_after"] < context.notes["loss_before"]
    # The features are not outputs of the file.
    assert [o.name for o in trained.graph.output] == [o.name for o in model.graph.output]


def test_the_last_features_are_the_inputs_of_the_last_compute_nodes() -> None:
    from ad_compressed_perception.training.distillation.feature_loss import last_features

    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "stem"),
        helper.make_node("Relu", ["a"], ["f"]),
        helper.make_node("Conv", ["f", "w1"], ["boxes"], "boxes"),
        helper.make_node("Conv", ["f", "w1"], ["h"], "more"),
        helper.make_node("Relu", ["h"], ["g"]),
        helper.make_node("Conv", ["g", "w1"], ["s"], "scores"),
        helper.make_node("Sigmoid", ["s"], ["p"]),
        helper.make_node("Concat", ["boxes", "p"], ["y"], axis=1),
    ]
    shapes = {"x": [1, 3, 8, 8]}, {"y": [1, 8, 8, 8]}
    model = make_graph(nodes, {"w0": noise((4, 3, 1, 1)), "w1": noise((4, 4, 1, 1))}, *shapes)
    assert sorted(last_features(model)) == ["f", "g"]


def test_features_missing_in_the_student_are_named(tmp_path: Path) -> None:
    model, context = student(tmp_path)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == "features":
                    names[index] = "renamed"
    with pytest.raises(RecipeError, match=r"none of the inputs .*\(features\)"):
        Distill({**QUICK, "feature_weight": 1.0}).apply(model, context)


def test_qat_with_the_feature_loss_keeps_integer_weights(tmp_path: Path) -> None:
    model, context = student(tmp_path)
    model = EqualizeChannels({"min_spread": 1.0}).apply(model, context)
    quantized = QuantizeInt8().apply(model, context)
    options = {**QUICK, "epochs": 2, "learning_rate": 1e-3, "relative_rate": True, "feature_weight": 1.0}
    trained = Qat(options).apply(quantized, context)

    assert context.notes["loss_after"] <= context.notes["loss_before"]
    before, after = weights(quantized), weights(trained)
    assert {n for n, v in after.items() if v.dtype == np.int8} == {
        n for n, v in before.items() if v.dtype == np.int8
    }
    assert all(np.isfinite(numpy_helper.to_array(t)).all() for t in trained.graph.initializer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_used_if_available(tmp_path: Path) -> None:
    model, context = student(tmp_path)
    torch.cuda.reset_peak_memory_stats()
    options = {**QUICK, "learning_rate": 5e-3, "relative_rate": True, "feature_weight": 1.0}
    trained = Distill(options).apply(model, context)
    assert torch.cuda.max_memory_allocated() > 0
    assert context.notes["loss_after"] < context.notes["loss_before"]
    assert all(np.isfinite(value).all() for value in weights(trained).values())
