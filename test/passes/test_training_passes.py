# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The passes that train: distillation, pruning, QAT, resuming, and equality of file and trained module."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.compression.passes.graph.trim_output import TrimOutput
from ad_compressed_perception.compression.passes.pruning.prune_channels import PruneChannels
from ad_compressed_perception.compression.passes.quantization.qat import Qat
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import BackendError, RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.pass_api.passes import PassContext
from support.compression import model_and_context, small_recipe, write_images
from support.models import write_planner, write_segmenter
from support.training import IMAGES, QUICK, WRITERS, student, weights


@pytest.fixture(autouse=True)
def _torch() -> None:
    for name in ("torch", "torch_pruning", "safetensors"):
        pytest.importorskip(name, reason=f"{name} is not installed: make setup-train")


def some_input(context: PassContext) -> dict[str, np.ndarray]:
    return next(context.feeds())


@pytest.mark.parametrize("task", sorted(WRITERS))
def test_distillation_restores_a_perturbed_graph(tmp_path: Path, task: str) -> None:
    """By each task's validation loss, which must fall by more than half."""
    model, context = student(tmp_path, task)
    # Adam's steps have the size of the learning rate; the detector's weights are a thousandth of the others'.
    rate = 1e-5 if task == "detection" else 2e-3

    Distill({**QUICK, "learning_rate": rate}).apply(model, context)

    notes = context.notes
    assert notes["images"] == 2 * IMAGES
    assert notes["loss_after"] < 0.5 * notes["loss_before"]


def test_distillation_of_a_student_of_another_input_size(tmp_path: Path) -> None:
    """The teacher's 64x48 scores are converted to probabilities at the student's 32x24."""
    from ad_compressed_perception.compression.passes.graph.input_size import InputSize

    model, context = student(tmp_path)
    model = InputSize({"width": 32, "height": 24}).apply(model, context)

    Distill(QUICK).apply(model, context)

    assert context.input.width == 32
    assert context.notes["loss_after"] < context.notes["loss_before"]


def test_resumed_training_gives_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the fourth epoch is raised to the caller; a second run trains the remaining three epochs."""
    from ad_compressed_perception.training.trainer import Trainer

    model, context = student(tmp_path / "one")
    whole = weights(Distill(QUICK).apply(model, context))
    model, context = student(tmp_path / "two")
    epoch = Trainer._round
    calls = []

    def interrupted(self: Trainer, *arguments: Any) -> float:
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return epoch(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_round", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Distill(QUICK).apply(model, context)
    calls.clear()
    monkeypatch.setattr(Trainer, "_round", lambda self, *a: calls.append(None) or epoch(self, *a))
    resumed = weights(Distill(QUICK).apply(model, context))

    assert len(calls) == 3
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)


def test_patience_ends_training_and_the_initial_weights_may_be_best(tmp_path: Path) -> None:
    """A rate this high makes a graph that equals its teacher worse in every epoch."""
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    before = weights(model)

    after = weights(Distill({**QUICK, "learning_rate": 0.9, "patience": 2}).apply(model, context))

    assert context.notes["epochs"] == 2
    assert context.notes["best_epoch"] == 0
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def wide_segmenter(tmp_path: Path) -> tuple[onnx.ModelProto, PassContext]:
    """Return the tiny segmenter with its 3 features divided among 24 channels."""
    model, context = student(tmp_path, noise=0.0)
    fresh = weights(model)
    share = np.random.default_rng(0).uniform(0.5, 1.5, 8).astype(np.float32)
    first = np.concatenate([fresh["smooth_w"] * s for s in share])
    second = np.concatenate([fresh["head_w"] / (8 * s) for s in share], axis=1)
    for tensor in model.graph.initializer:
        value = {"smooth_w": first, "head_w": second}.get(tensor.name)
        if value is not None:
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    del model.graph.value_info[:]
    return model, context


@pytest.mark.parametrize("importance", ["taylor", "magnitude"])
def test_iterative_pruning_fine_tunes_after_each_step(tmp_path: Path, importance: str) -> None:
    """24 channels become 16 (24 * 0.5^(1/2) = 16.97, multiples of four), then 12; the outputs stay."""
    model, context = wide_segmenter(tmp_path)

    pruned = PruneChannels(
        {**QUICK, "ratio": 0.5, "steps": 2, "round_to": 4, "importance": importance}
    ).apply(model, context)

    assert weights(pruned)["smooth_w"].shape == (12, 3, 3, 3)
    assert weights(pruned)["head_w"].shape == (4, 12, 1, 1)
    notes = context.notes
    assert [step["parameters"] for step in notes["steps"]][-1] == notes["parameters_after"]
    assert notes["parameters_after"] < notes["parameters_before"]
    onnx.checker.check_model(pruned)
    assert run_model(pruned, some_input(context))["scores"].shape == (1, 4, 48, 64)


def test_pruning_stops_before_the_step_that_exceeds_max_loss(tmp_path: Path) -> None:
    """No loss is below 1e-9 once channels are removed, so the graph stays unchanged."""
    model, context = wide_segmenter(tmp_path)
    options = {**QUICK, "epochs": 0, "ratio": 0.5, "round_to": 4, "max_loss": 1e-9}

    same = PruneChannels(options).apply(model, context)

    assert weights(same)["smooth_w"].shape[0] == 24
    assert context.notes["stopped"].startswith("step 1 left a loss of")


def test_nothing_to_prune_is_an_error(tmp_path: Path) -> None:
    model, context = student(tmp_path)
    with pytest.raises(RecipeError, match="no channel could be removed: ratio 0.5"):
        PruneChannels({**QUICK, "epochs": 0, "ratio": 0.5}).apply(model, context)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("task", sorted(WRITERS))
def test_the_quantized_file_computes_the_trained_modules_outputs(
    tmp_path: Path, task: str, per_channel: bool
) -> None:
    """Integer kernels may round differently by a step (1/255 of the range); at most 2.5 steps are allowed."""
    import torch

    from ad_compressed_perception.training.graph_module.module import GraphModule

    model, context = student(tmp_path, task)
    quantized = QuantizeInt8({"per_channel": per_channel, "reduce_range": False}).apply(model, context)
    operators = [node.op_type for node in quantized.graph.node]

    trained = Qat({**QUICK, "learning_rate": 1e-3}).apply(quantized, context)

    feeds = some_input(context)
    with torch.no_grad():
        ours = GraphModule(trained)(torch.from_numpy(next(iter(feeds.values()))))
    onnx.checker.check_model(trained)
    assert [node.op_type for node in trained.graph.node] == operators
    assert context.notes["loss_after"] <= context.notes["loss_before"]
    for value, (name, expected) in zip(ours, run_model(trained, feeds).items(), strict=True):
        span = float(np.ptp(expected)) or float(np.abs(expected).max())
        assert np.abs(value.numpy() - expected).max() <= 2.5 * max(span, 1e-3) / 255, name


@pytest.mark.parametrize("task", sorted(WRITERS))
def test_the_forward_pass_of_training_is_that_of_the_file_it_writes(tmp_path: Path, task: str) -> None:
    """Weights off the grid, as training leaves them: fake-quantized against the int8 file in ONNX Runtime.

    At most 0.2 % of the output's range on average and 2.5 of its 255 steps anywhere: a value between two
    steps of a layer may round to either.
    """
    import torch

    from ad_compressed_perception.training.graph_module.module import GraphModule

    model, context = student(tmp_path, task)
    quantized = QuantizeInt8({"reduce_range": False}).apply(model, context)
    module, generator = GraphModule(quantized), torch.Generator().manual_seed(0)
    feeds = some_input(context)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.0 + 0.1 * torch.randn(parameter.shape, generator=generator))
        ours = module(torch.from_numpy(next(iter(feeds.values()))))

    before, written = run_model(quantized, feeds), run_model(module.write_back(), feeds)

    moved = False
    for value, (name, expected) in zip(ours, written.items(), strict=True):
        span = max(float(np.ptp(expected)), float(np.abs(expected).max()), 1e-3)
        difference = np.abs(value.numpy() - expected)
        assert difference.mean() <= 0.002 * span, name
        assert difference.max() <= 2.5 * span / 255, name
        moved = moved or float(np.abs(before[name] - expected).mean()) > 0.002 * span
    assert moved  # by more than the bound: the file holds the changed weights


def test_write_back_of_a_quantized_graph_keeps_its_integers(tmp_path: Path) -> None:
    """Without training, integers are written back exactly and float values to 1e-6."""
    from ad_compressed_perception.training.graph_module.module import GraphModule

    model, context = student(tmp_path)
    quantized = QuantizeInt8({"reduce_range": False}).apply(model, context)

    module = GraphModule(quantized)
    untouched = weights(module.write_back())

    for name, value in weights(quantized).items():
        if value.dtype in (np.int8, np.uint8, np.int32):
            np.testing.assert_array_equal(untouched[name], value, name)
        else:
            np.testing.assert_allclose(untouched[name], value, rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "quantize", "message"),
    [
        (Distill, True, "distill before, or qat after"),
        (Qat, False, "put quantize_int8 before qat"),
    ],
)
def test_passes_in_the_wrong_order(tmp_path: Path, step: Any, quantize: bool, message: str) -> None:
    model, context = student(tmp_path)
    model = QuantizeInt8().apply(model, context) if quantize else model
    with pytest.raises(RecipeError, match=message):
        step(QUICK).apply(model, context)


def test_a_graph_that_ends_in_labels_is_trained_by_the_scores_before(tmp_path: Path) -> None:
    """ArgMax has no gradient: what it reads is a distribution, along its own axis."""
    model, context = student(tmp_path)
    model = TrimOutput({"argmax": "in_graph"}).apply(model, context)

    trained = Distill(QUICK).apply(model, context)

    assert list(context.notes["trained"].values()) == [["distribution"]]
    assert context.notes["loss_after"] < 0.5 * context.notes["loss_before"]
    assert [node.op_type for node in trained.graph.node] == [node.op_type for node in model.graph.node]


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ad_compressed_perception.training import options as training_options

    model, context = student(tmp_path)
    monkeypatch.setattr(training_options, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(BackendError, match=r"torch is not installed: pip install .*\[train\]"):
        Distill(QUICK).apply(model, context)


def test_a_recipe_prunes_distills_and_quantizes_in_one_command(tmp_path: Path) -> None:
    """From images and a model to a stored variant; checkpoints are removed once it is stored."""
    write_planner(tmp_path / "m")
    source = write_images(tmp_path / "images", 48)
    recipe = small_recipe(
        tmp_path / "r",
        passes=["upgrade_opset", "simplify", {"distill": {**QUICK, "epochs": 2}}, "quantize_int8",
                {"qat": {**QUICK, "epochs": 2}}],
        calibration={"frames": 16},
    )  # fmt: skip

    result = compress_model(load_manifest(tmp_path / "m"), recipe, str(source), work=tmp_path / "w")

    assert result.coverage.share == 1.0
    assert [record.name for record in result.passes][-1] == "qat"
    assert not list((tmp_path / "w").rglob("*.safetensors"))
    read_model(tmp_path / "w" / "tiny_planner" / "small.onnx")


def test_a_refused_recipe_leaves_no_cached_teacher_outputs(tmp_path: Path) -> None:
    """The same command would be refused again, and another recipe would not use them."""
    manifest = load_manifest(write_segmenter(tmp_path / "m"))
    images = write_images(tmp_path / "p", 40)
    recipe = small_recipe(
        tmp_path / "r",
        passes=[
            "simplify",
            {"distill": {"epochs": 1, "threads": 1}},
            {"quantize_int8": {"exclude": ["nothing"]}},
        ],
    )
    with pytest.raises(RecipeError, match="no node is called 'nothing'"):
        compress_model(manifest, recipe, str(images), work=tmp_path / "w")
    assert not list((tmp_path / "w").rglob("*"))


def test_teacher_outputs_are_computed_once_for_passes_with_the_same_settings(tmp_path: Path) -> None:
    """Pruning and distillation share the cached outputs; another number of views needs its own."""
    model, context = wide_segmenter(tmp_path)
    pruned = PruneChannels({**QUICK, "epochs": 1, "round_to": 4, "ratio": 0.4}).apply(model, context)
    (first,) = context.checkpoints.parent.glob("teacher_outputs-*")
    written = (first / "outputs_0.npy").stat().st_mtime_ns

    following = replace(context, checkpoints=context.checkpoints.parent / "next")
    Distill({**QUICK, "epochs": 1}).apply(pruned, following)
    assert (first / "outputs_0.npy").stat().st_mtime_ns == written
    assert list(context.checkpoints.parent.glob("teacher_outputs-*")) == [first]

    Distill({**QUICK, "epochs": 1, "views": QUICK.get("views", 2) + 1}).apply(pruned, following)
    assert len(list(context.checkpoints.parent.glob("teacher_outputs-*"))) == 2


def test_latency_aware_pruning_reports_predicted_and_measured_speedup(tmp_path: Path) -> None:
    """Times of the tiny graph are noise, so the goal is on parameters; the table is really measured."""
    model, context = wide_segmenter(tmp_path)
    options = {**QUICK, "epochs": 1, "round_to": 4, "allocation": "latency", "parameters": 0.4, "steps": 2}

    pruned = PruneChannels(options).apply(model, context)

    notes = context.notes
    assert weights(pruned)["smooth_w"].shape[0] in (8, 12)  # 24 * 0.6 = 14.4, multiples of four
    (group,) = notes["groups"].values()
    assert group == {
        "channels": 24,
        "kept": weights(pruned)["smooth_w"].shape[0],
        "removed": group["removed"],
    }
    assert notes["steps"][-1]["predicted_speedup"] > 0.0
    assert notes["steps"][-1]["measured_speedup"] > 0.0
    table = context.checkpoints / "timing" / "channel_times.json"
    before = table.read_text()
    model, _ = wide_segmenter(tmp_path / "again")
    PruneChannels(options).apply(model, context)
    assert table.read_text() == before  # a resumed run does not measure again
    with pytest.raises(RecipeError, match="out of reach: with every layer at its least width"):
        PruneChannels({**options, "parameters": 0.9}).apply(
            model, replace(context, checkpoints=tmp_path / "c")
        )
