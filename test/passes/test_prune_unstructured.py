# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Iterative unstructured pruning: the requested sparsity, masked weights, and stopping at max_loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from ad_compressed_perception.compression.passes.pruning.prune_unstructured import PruneUnstructured
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.sparsity import select_lowest, share_after
from ad_compressed_perception.pass_api.passes import PassContext
from support.compression import model_and_context
from support.models import draw_scene, write_segmenter

QUICK: dict[str, Any] = {
    "epochs": 2, "last_epochs": 3, "batch": 4, "learning_rate": 2e-3, "threads": 1, "min_size": 9,
}  # fmt: skip


@pytest.fixture
def _torch() -> None:
    for name in ("torch", "torch_pruning", "safetensors"):
        pytest.importorskip(name, reason=f"{name} is not installed: make setup-train")


def wide_segmenter(tmp_path: Path) -> tuple[onnx.ModelProto, PassContext]:
    """Return the tiny segmenter with its 3 features split over 24 channels, and 24 training images."""
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    rng = np.random.default_rng(0)
    share = rng.uniform(0.2, 1.8, 8).astype(np.float32)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    fresh = {
        "smooth_w": np.concatenate([values["smooth_w"] * s for s in share]),
        "head_w": np.concatenate([values["head_w"] / (8 * s) for s in share], axis=1),
    }
    for tensor in model.graph.initializer:
        if tensor.name in fresh:
            value = fresh[tensor.name]
            value = value + rng.normal(0, 0.02 * np.abs(value).max(), value.shape)  # none is zero yet
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
    del model.graph.value_info[:]

    def images() -> Iterator[Frame]:
        for index in range(24):
            light = np.clip(draw_scene(index).astype(int) + 16 * (index % 3 - 1), 0, 255)
            yield Frame(light.astype(np.uint8), "BGR", index)

    return model, replace(context, images=images, frames=24)


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@given(st.floats(0.01, 0.99), st.integers(1, 20))
def test_the_share_rises_to_the_requested_one_in_decreasing_steps(ratio: float, steps: int) -> None:
    shares = [share_after(ratio, step, steps) for step in range(steps + 1)]
    gains = np.diff(shares)
    assert shares[0] == 0.0
    assert shares[-1] == ratio
    assert (gains >= 0.0).all() and (np.diff(gains) <= 1e-12).all()


@given(
    st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=20), min_size=1, max_size=5), st.floats(0, 0.99)
)
def test_exactly_the_share_of_lowest_scores_is_selected(numbers: list[list[float]], ratio: float) -> None:
    scores = [np.array(row) for row in numbers]
    chosen = select_lowest(scores, ratio, "global")
    every, marks = np.concatenate(scores), np.concatenate(chosen)
    assert marks.sum() == int(ratio * every.size)
    assert not marks.any() or marks.all() or every[marks].max() <= every[~marks].min()
    for score, mark in zip(scores, select_lowest(scores, ratio, "layer"), strict=True):
        assert mark.sum() == int(ratio * score.size)


@pytest.mark.usefixtures("_torch")
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("score", ["lamp", "magnitude", "taylor"])
def test_pruned_weights_stay_zero_during_fine_tuning(tmp_path: Path, score: str, scope: str) -> None:
    """744 weights of two tensors, half of them zero after two steps: 7/8 of that half after the first."""
    model, context = wide_segmenter(tmp_path)

    pruned = PruneUnstructured({**QUICK, "ratio": 0.5, "steps": 2, "score": score, "scope": scope}).apply(
        model, context
    )

    before, after = weights(model), weights(pruned)
    values = [after[name] for name in ("smooth_w", "head_w")]
    assert sum(int((value == 0).sum()) for value in values) == 372
    assert any((after[name] != before[name])[after[name] != 0].any() for name in ("smooth_w", "head_w"))
    notes = context.notes
    assert [step["zeros"] for step in notes["steps"]] == [0.4375, 0.5]
    assert all(step["loss"] <= step["loss_before_fine_tuning"] for step in notes["steps"])
    assert notes["zeros_of_pruned_tensors"] == 0.5
    assert notes["zeros_of_all_parameters"] < 0.5  # biases count and are not pruned
    assert notes["effect"].startswith("size when stored packed; no speed")
    onnx.checker.check_model(pruned)


@pytest.mark.usefixtures("_torch")
def test_it_stops_at_max_loss_and_keeps_the_step_before(tmp_path: Path) -> None:
    """The limit lies between the losses after the first and the last step."""
    options = {**QUICK, "ratio": 0.95, "steps": 3, "epochs": 0, "last_epochs": 0}
    model, context = wide_segmenter(tmp_path / "whole")
    PruneUnstructured(options).apply(model, context)
    losses = [step["loss"] for step in context.notes["steps"]]
    model, context = wide_segmenter(tmp_path / "stopped")

    pruned = PruneUnstructured({**options, "max_loss": (losses[1] + losses[2]) / 2}).apply(model, context)

    assert losses[1] < losses[2]
    assert context.notes["stopped"].startswith("step 3 left a loss of")
    assert [step["loss"] for step in context.notes["steps"]] == losses[:2]
    zeros = sum(int((weights(pruned)[name] == 0).sum()) for name in ("smooth_w", "head_w"))
    assert zeros == int(share_after(0.95, 2, 3) * 744)


@pytest.mark.usefixtures("_torch")
def test_finished_steps_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the second step, the first is read from the checkpoints; the result is the same."""
    options = {**QUICK, "ratio": 0.6, "steps": 2}
    model, context = wide_segmenter(tmp_path / "whole")
    whole = weights(PruneUnstructured(options).apply(model, context))
    model, context = wide_segmenter(tmp_path / "cut")
    step = PruneUnstructured._step
    begun: list[int] = []

    def interrupted(self: PruneUnstructured, *arguments: Any) -> Any:
        begun.append(arguments[3])
        if begun == [0, 1]:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(PruneUnstructured, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PruneUnstructured(options).apply(model, context)
    resumed = weights(PruneUnstructured(options).apply(model, context))

    assert begun == [0, 1, 1]
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)


@pytest.mark.usefixtures("_torch")
def test_a_quantized_graph_cannot_be_pruned(tmp_path: Path) -> None:
    model, context = wide_segmenter(tmp_path)
    quantized = QuantizeInt8({}).apply(model, context)
    with pytest.raises(RecipeError, match="prune before quantizing"):
        PruneUnstructured(QUICK).apply(quantized, context)
