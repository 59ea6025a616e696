# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layer-wise least squares: disturbed weights are recovered, replaced activations are compensated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.passes.distillation.reconstruct import Reconstruct
from ad_compressed_perception.compression.passes.graph.replace_activation import ReplaceActivation
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import InputSpec
from support.compression import model_and_context
from support.graphs import context_for, make_graph, noise, run_frame
from support.models import write_segmenter

for _name in ("torch", "torch_pruning", "safetensors"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: make setup-train")

import torch  # noqa: E402

from ad_compressed_perception.training.graph_module.module import GraphModule  # noqa: E402
from ad_compressed_perception.training.reconstruction import (  # noqa: E402
    HARD_SWISH_SCALE,
    kept_rows,
    reconstruct,
)

SPEC = InputSpec(width=32, height=16, color="BGR", scale=1 / 64, mean=[2.0])


def network() -> onnx.ModelProto:
    """Return a stem, a depthwise, a grouped and a pointwise convolution, each but the last with SiLU."""
    nodes, weights = [], {}
    shapes = [((16, 3, 3, 3), 1, 2), ((16, 1, 3, 3), 16, 1), ((16, 4, 3, 3), 4, 1), ((4, 16, 1, 1), 1, 1)]
    source = "x"
    for index, (shape, group, stride) in enumerate(shapes):
        output = f"c{index}" if index < 3 else "y"
        weights |= {f"w{index}": noise(shape, index, 0.5), f"b{index}": noise((shape[0],), 9 + index)}
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"w{index}", f"b{index}"],
                [output],
                f"conv{index}",
                pads=[shape[2] // 2] * 4,
                group=group,
                strides=[stride, stride],
            )  # fmt: skip
        )
        if index < 3:
            nodes.append(helper.make_node("Sigmoid", [output], [f"s{index}"]))
            nodes.append(helper.make_node("Mul", [output, f"s{index}"], [f"a{index}"]))
            source = f"a{index}"
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 8, 16]}, opset=14)


def disturbed(model: onnx.ModelProto, share: float = 0.5) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for seed, tensor in enumerate(copy.graph.initializer):
        value = numpy_helper.to_array(tensor)
        tensor.CopyFrom(
            numpy_helper.from_array(value + noise(value.shape, 50 + seed, share * 0.5), tensor.name)
        )
    return copy


def images(count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return noise images, which excite every direction of every layer's input."""
    generator = torch.Generator().manual_seed(3)
    seen = [torch.randn(1, 3, 16, 32, generator=generator) for _ in range(count)]
    return [(one, one) for one in seen]


def test_disturbed_layers_are_recovered() -> None:
    """Stem, depthwise, grouped, pointwise: the solution is the original, but for the ridge."""
    model = network()
    student = GraphModule(disturbed(model))
    fits = list(reconstruct(GraphModule(model), student, images(), ridge=1e-9))
    assert [fit.name for fit in fits] == ["conv0", "conv1", "conv2", "conv3"]
    assert all(fit.before > 0.05 > 1e-4 > fit.after for fit in fits)
    original = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for tensor in student.write_back().graph.initializer:
        np.testing.assert_allclose(numpy_helper.to_array(tensor), original[tensor.name], atol=0.01)


def test_an_equal_student_stays_as_it_is() -> None:
    model = network()
    student = GraphModule(model)
    fits = list(reconstruct(GraphModule(model), student, images(2)))
    assert max(fit.before for fit in fits) < 1e-9
    weights = {t.name: numpy_helper.to_array(t) for t in student.write_back().graph.initializer}
    for tensor in model.graph.initializer:
        np.testing.assert_allclose(weights[tensor.name], numpy_helper.to_array(tensor), atol=1e-4)


def test_a_large_ridge_changes_little() -> None:
    """Unobserved weights, and all of them under a ridge far above the samples, stay."""
    model, changed = network(), disturbed(network())
    student = GraphModule(changed)
    list(reconstruct(GraphModule(model), student, images(2), ridge=1e6))
    before = {t.name: numpy_helper.to_array(t) for t in changed.graph.initializer}
    for tensor in student.write_back().graph.initializer:
        np.testing.assert_allclose(numpy_helper.to_array(tensor), before[tensor.name], atol=1e-3)


@pytest.mark.parametrize(("to", "least"), [("hard_swish", 3.0), ("relu", 2.0)])
def test_a_replaced_activation_is_compensated(tmp_path: Path, to: str, least: float) -> None:
    """On a calibration frame the mean square error falls by a factor."""
    model = network()
    onnx.save(model, tmp_path / "fp32.onnx")
    context = context_for(model, tmp_path, SPEC)
    ground_truth = run_frame(model, SPEC)["y"]
    replaced = ReplaceActivation({"to": to}).apply(model, context)
    before = np.square(run_frame(replaced, SPEC)["y"] - ground_truth).mean()

    refitted = Reconstruct({"frames": 3}).apply(replaced, context)

    after = np.square(run_frame(refitted, SPEC)["y"] - ground_truth).mean()
    assert before > least * after
    assert context.notes["layers"] == 4
    assert context.notes["error_after"] < context.notes["error_before"]


def test_scaled_hard_swish_is_nearer_to_silu_than_plain() -> None:
    """In mean square over a normal distribution, by far at a deviation of 1 and still at 2."""
    x = torch.linspace(-12, 12, 4001)

    def distance(k: float, deviation: float) -> float:
        apart = torch.nn.functional.hardswish(k * x) / k - torch.nn.functional.silu(x)
        return float((torch.exp(-(x**2) / (2 * deviation**2)) * apart**2).sum())

    assert distance(HARD_SWISH_SCALE, 1.0) < 0.4 * distance(1.0, 1.0)
    assert distance(HARD_SWISH_SCALE, 2.0) < 0.9 * distance(1.0, 2.0)


def test_kept_channels_are_identified_by_weights_and_biases() -> None:
    """Equal biases do not matter while the weights' rows are complete; after inputs are pruned they do."""
    whole, part = GraphModule(network()), network()
    weights = {t.name: t for t in part.graph.initializer}
    keep = [0, 3, 4, 9]
    for name in ("w0", "b0"):
        weights[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights[name])[keep], name))
    pruned = GraphModule(part)
    original, changed = (next(iter(module.layers.values())) for module in (whole, pruned))
    assert kept_rows(original, changed) == keep  # type: ignore[arg-type]
    with torch.no_grad():
        for layer in (original, changed):
            layer.bias[:] = 0.5  # type: ignore[index]
    assert kept_rows(original, changed) == keep  # type: ignore[arg-type]
    changed.weight = torch.nn.Parameter(changed.weight.detach()[:, :2])
    assert kept_rows(original, changed) is None  # type: ignore[arg-type]


def test_a_quantized_graph_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    quantized = QuantizeInt8({"calibration": "minmax"}).apply(model, context)
    with pytest.raises(RecipeError, match="before quantization"):
        Reconstruct().apply(quantized, context)


def test_a_graph_without_a_layer_of_the_baseline_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name in ("smoothed", "scores"):
                    names[place] = f"other_{name}"
    model.graph.output[0].name = "other_scores"
    with pytest.raises(RecipeError, match="has the name of one of the baseline's layers"):
        Reconstruct().apply(model, context)


def options(**values: Any) -> dict[str, Any]:
    return values


@pytest.mark.parametrize("wrong", [options(ridge=0.0), options(frames=0), options(positions=1)])
def test_options_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        Reconstruct(wrong)
