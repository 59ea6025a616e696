# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A decoder of another package: its model is distilled, pruned and quantized, whatever the file ends in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.compression.passes.pruning.prune_channels import PruneChannels
from ad_compressed_perception.compression.passes.pruning.prune_unstructured import PruneUnstructured
from ad_compressed_perception.compression.passes.quantization.qat import Qat
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core import registry
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.pass_api.passes import PassContext
from support import third_party_decoder
from support.third_party_decoder import WIDTH, write_bins, write_selected
from support.training import QUICK, perturbed, weights

for _name in ("torch", "torch_pruning", "safetensors"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: make setup-train")

TAIL = {"TopK", "ArgMax", "NonMaxSuppression", "GatherElements", "Gather"}


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    third_party_decoder.install(tmp_path / "installed", monkeypatch)
    yield
    registry._targets.cache_clear()


def selected(tmp_path: Path, noise: float = 0.05) -> tuple[onnx.ModelProto, PassContext]:
    return perturbed(write_selected(tmp_path / "m"), tmp_path / "s", noise)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def scores_apart(model: onnx.ModelProto, context: PassContext) -> float:
    """Return how far the selected scores are from the baseline's, on average over some frames."""
    baseline = read_model(context.baseline)
    return float(
        np.mean(
            [
                np.abs(run_model(model, f)["top_scores"] - run_model(baseline, f)["top_scores"]).mean()
                for f in context.feeds()
            ]
        )
    )


def test_it_is_distilled_up_to_what_its_selection_reads(tmp_path: Path) -> None:
    """TopK, ArgMax and suppression have no gradient: the boxes and scores that they read are trained."""
    model, context = selected(tmp_path)
    before = scores_apart(model, context)

    trained = Distill({**QUICK, "learning_rate": 5e-3, "relative_rate": True}).apply(model, context)

    assert context.notes["trained"] == {"boxes": ["pixel_box"], "scores": ["probability"]}
    assert context.notes["loss_after"] < 0.5 * context.notes["loss_before"]
    assert operators(trained) == operators(model)
    assert scores_apart(trained, context) < 0.6 * before


def test_its_channels_are_pruned(tmp_path: Path) -> None:
    """Half of the 24 channels of the only layer that is no output go; the selection still runs."""
    model, context = selected(tmp_path, noise=0.0)

    pruned = PruneChannels({**QUICK, "epochs": 2, "ratio": 0.5, "round_to": 4}).apply(model, context)

    assert weights(pruned)["stem_w"].shape[0] == WIDTH // 2
    assert set(operators(pruned)) >= TAIL
    onnx.checker.check_model(pruned)
    found = run_model(pruned, next(context.feeds()))
    assert [found[name].shape for name in ("top_boxes", "top_scores", "top_labels")] == [
        (1, 10, 4), (1, 10), (1, 10),
    ]  # fmt: skip


def test_its_single_weights_are_pruned(tmp_path: Path) -> None:
    model, context = selected(tmp_path, noise=0.0)

    pruned = PruneUnstructured({**QUICK, "ratio": 0.5, "steps": 1, "last_epochs": 2}).apply(model, context)

    assert context.notes["zeros_of_pruned_tensors"] == pytest.approx(0.5, abs=0.01)
    assert set(operators(pruned)) >= TAIL


def test_it_is_trained_quantized(tmp_path: Path) -> None:
    """The boxes and scores that the selection reads are called otherwise behind their Q/DQ pairs."""
    model, context = selected(tmp_path, noise=0.0)
    quantized = QuantizeInt8({"reduce_range": False}).apply(model, context)

    trained = Qat({**QUICK, "learning_rate": 5e-4}).apply(quantized, context)

    assert operators(trained) == operators(quantized)
    assert context.notes["loss_after"] < context.notes["loss_before"]
    assert not np.array_equal(weights(trained)["head_w_quantized"], weights(quantized)["head_w_quantized"])
    assert run_model(trained, next(context.feeds()))["top_boxes"].shape == (1, 10, 4)


def test_a_distribution_that_it_declares_is_trained_as_one(tmp_path: Path) -> None:
    """Its bins are logits: equal up to a constant that a softmax removes, and that smooth L1 would train."""
    model, context = perturbed(write_bins(tmp_path / "m"), tmp_path / "s")

    Distill({**QUICK, "learning_rate": 5e-3, "relative_rate": True}).apply(model, context)

    assert context.notes["trained"] == {"rows": ["probability", "distribution"]}
    assert context.notes["loss_after"] < 0.5 * context.notes["loss_before"]


def test_the_numbers_of_bins_are_no_weights(tmp_path: Path) -> None:
    """The mean over bins is a product with 0..7 behind the last layer: it is neither trained nor pruned."""
    model, context = perturbed(write_bins(tmp_path / "m", decoded=True), tmp_path / "s")

    pruned = PruneChannels({**QUICK, "epochs": 2, "ratio": 0.5, "round_to": 4}).apply(model, context)

    assert context.notes["trained"] == {"scores": ["probability"], "means": ["value"]}
    np.testing.assert_array_equal(weights(pruned)["bin_numbers"].ravel(), np.arange(8))
    assert weights(pruned)["stem_w"].shape[0] == WIDTH // 2


def test_a_selection_before_a_layer_is_named(tmp_path: Path) -> None:
    """What is behind the selection would stay untrained: a line names both."""
    from onnx import helper, numpy_helper

    model, context = selected(tmp_path)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 6), np.float32), "late_w"))
    model.graph.node.append(helper.make_node("MatMul", ["top_boxes", "late_w"], ["late"], "late"))
    model.graph.output.append(helper.make_tensor_value_info("late", onnx.TensorProto.FLOAT, [1, 10, 6]))

    with pytest.raises(
        ModelFileError, match=r"operator TopK of node 'select', which MatMul 'late' depends on"
    ):
        Distill(QUICK).apply(model, context)
