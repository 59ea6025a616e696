# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Codebooks are near the k-means optimum, pruning removes the requested share, other weights stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.passes.pruning.prune_unstructured import PruneMagnitude
from ad_compressed_perception.compression.passes.quantization.palettize import Palettize
from ad_compressed_perception.compression.quantization.activation_statistics import measure_moments
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.weights import find_weights
from ad_compressed_perception.packing.codebook import fit_codebook, nearest
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import model_and_context, small_recipe, write_images
from support.models import write_segmenter

Array = NDArray[Any]


def optimal_error(values: Array, weights: Array, size: int) -> float:
    """Return the least weighted k-means error, by dynamic programming over the sorted values."""
    order = np.argsort(values)
    x, h = values[order], weights[order]
    count = len(x)

    def cost(first: int, last: int) -> float:
        mean = np.average(x[first:last], weights=h[first:last])
        return float((h[first:last] * (x[first:last] - mean) ** 2).sum())

    best = [cost(0, end) if end else 0.0 for end in range(count + 1)]
    for _ in range(size - 1):
        best = [
            min((best[cut] + cost(cut, end) for cut in range(end)), default=0.0) for end in range(count + 1)
        ]
    return best[count]


@pytest.mark.parametrize("seed", range(6))
def test_the_codebook_is_near_the_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, weights = rng.standard_normal(60), rng.uniform(0.1, 3.0, 60)
    found = fit_codebook(values, 5, weights=weights, starts=8)
    # Lloyd's algorithm ends in local optima; the best of nine initializations is within 5 %.
    assert found.error <= 1.05 * optimal_error(values, weights, 5) + 1e-12


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=80), st.integers(1, 16), st.integers(0, 3)
)
def test_centers_are_ordered_within_the_data_and_the_error_is_theirs(
    numbers: list[float], size: int, seed: int
) -> None:
    values = np.array(numbers)
    found = fit_codebook(values, size, seed=seed)
    centers = found.centers
    assert 1 <= len(centers) <= size
    assert (np.diff(centers) >= 0).all()
    assert centers[0] >= values.min() - 1e-9 and centers[-1] <= values.max() + 1e-9
    chosen = centers[nearest(values, centers)]
    distances = np.abs(values[:, None] - centers[None])
    np.testing.assert_allclose(np.abs(values - chosen), distances.min(axis=1), atol=1e-9)
    assert found.error >= ((values - chosen) ** 2).sum() - 1e-6 * (1 + (values**2).sum())


def test_few_distinct_values_are_the_codebook_themselves() -> None:
    found = fit_codebook(np.array([3.0, 1.0, 3.0, 2.0]), 4)
    assert found.centers.tolist() == [1.0, 2.0, 3.0]
    assert found.error == 0.0


def net(seed: int = 0, *, groups: int = 1, opset: int = 13) -> onnx.ModelProto:
    """Return a convolution of 8 to 8 channels, another of 8 to 4 and a bias each."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.standard_normal((8, 8 // groups, 3, 3)),
        "b1": rng.standard_normal(8),
        "w2": rng.standard_normal((4, 8, 1, 1)),
        "b2": rng.standard_normal(4),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["h"], "first", pads=[1, 1, 1, 1], group=groups),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Conv", ["r", "w2", "b2"], ["y"], "second"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 12, 12])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


FRAMES = [{"x": np.random.default_rng(i).uniform(0, 2, (1, 8, 12, 12)).astype(np.float32)} for i in range(4)]


@pytest.fixture
def context(tmp_path: Path) -> PassContext:
    _, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    context.feeds = lambda: iter(FRAMES)
    context.frames = len(FRAMES)
    return context


def values_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("groups", [1, 4])
def test_moments_are_those_of_the_weights_input(context: PassContext, opset: int, groups: int) -> None:
    model = net(groups=groups, opset=opset)
    moments = measure_moments(model, find_weights(model, "test", 2), context)
    x = np.concatenate([feeds["x"] for feeds in FRAMES]).astype(np.float64)
    np.testing.assert_allclose(moments["h"].mean, x.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(moments["h"].mean_square, (x**2).mean(axis=(0, 2, 3)), rtol=1e-5)
    assert (moments["y"].mean >= 0).all(), "the second convolution sees what the activation let through"


@pytest.mark.parametrize(("granularity", "runs"), [("tensor", 1), ("group", 4), ("channel", 8)])
def test_no_more_values_than_the_bits_allow(context: PassContext, granularity: str, runs: int) -> None:
    options = {"bits": 3, "granularity": granularity, "group_size": 2, "min_size": 100}
    before = values_of(net())
    after = values_of(Palettize(options).apply(net(), context))
    for run in np.split(after["w1"], runs):
        assert len(np.unique(run)) <= 8
    np.testing.assert_array_equal(after["w2"], before["w2"], "32 weights are below min_size")
    assert context.notes["palettized_tensors"] == 1


def test_more_bits_reduce_the_error(context: PassContext) -> None:
    reference = run_model(net(), FRAMES[0])["y"]
    errors = []
    for bits in (2, 4, 6, 8):
        model = Palettize({"bits": bits, "min_size": 2}).apply(net(), context)
        errors.append(float(np.abs(run_model(model, FRAMES[0])["y"] - reference).mean()))
    assert errors == sorted(errors, reverse=True)
    # 8 bits have an entry for every second of the 576 weights.
    assert errors[-1] < 0.01 * float(np.abs(reference).mean())


def test_zeros_stay_zeros(context: PassContext) -> None:
    model = net()
    weights = values_of(model)["w1"]
    weights[weights < 0.3] = 0.0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w1"))
    after = values_of(Palettize({"bits": 2}).apply(model, context))["w1"]
    np.testing.assert_array_equal(after == 0.0, weights == 0.0)
    assert len(np.unique(after)) <= 4


def test_the_bias_compensates_the_mean_shift(context: PassContext) -> None:
    """Averaged over the calibration frames the output stays the same, up to the padded border."""

    def shift(correct: bool) -> float:
        options = {"bits": 2, "correct_bias": correct, "exclude": ["second"], "min_size": 2}
        changed = Palettize(options).apply(net(), context)
        for model in (changed, reference := net()):
            model.graph.output[0].name = "h"  # the first convolution's output
            model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
        differences = [
            (run_model(changed, feeds)["h"] - run_model(reference, feeds)["h"])[:, :, 1:-1, 1:-1]
            for feeds in FRAMES
        ]
        return float(np.abs(np.mean(differences, axis=(0, 1, 3, 4))).max())

    assert shift(True) < 0.25 * shift(False)


def test_the_same_seed_makes_the_same_file(context: PassContext) -> None:
    first, second = (Palettize({"bits": 3, "seed": 5}).apply(net(), context) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


@pytest.mark.parametrize("score", ["lamp", "magnitude", "activation"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_requested_share_becomes_zero(context: PassContext, scope: str, score: str) -> None:
    options = {"ratio": 0.5, "scope": scope, "score": score, "min_size": 2}
    after = values_of(PruneMagnitude(options).apply(net(), context))
    zeros = {name: int((after[name] == 0.0).sum()) for name in ("w1", "w2")}
    # 576 and 32 weights; of all together 304, or half of each.
    assert sum(zeros.values()) == 304
    if scope == "layer":
        assert zeros == {"w1": 288, "w2": 16}
    assert after["b1"].all() and after["b2"].all(), "biases are never pruned"
    assert "no speed" in context.notes["effect"]


def test_a_layer_of_small_weights_is_not_pruned_completely(context: PassContext) -> None:
    """A first layer on pixels of 0..255 has weights a hundred times smaller and matters as much."""
    survivors = {}
    for score in ("magnitude", "lamp"):
        model = net()
        small = values_of(model)["w1"] / 100
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(small, "w1"))
        options = {"ratio": 0.5, "score": score, "min_size": 2}
        survivors[score] = np.count_nonzero(values_of(PruneMagnitude(options).apply(model, context))["w2"])
        if score == "lamp":
            assert survivors[score] < 32, "the other layer is pruned too"
    assert survivors["magnitude"] == 32, "no weight of the layer of large weights is pruned"


def test_exactly_the_weights_below_the_threshold_are_pruned(context: PassContext) -> None:
    before = values_of(net())["w1"]
    after = values_of(PruneMagnitude({"threshold": 0.7}).apply(net(), context))["w1"]
    np.testing.assert_array_equal(after, np.where(np.abs(before) < 0.7, np.float32(0), before))


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (PruneMagnitude, {}, "either ratio or threshold"),
        (PruneMagnitude, {"ratio": 0.5, "threshold": 0.1}, "either ratio or threshold"),
        (PruneMagnitude, {"threshold": 0.1, "score": "activation"}, "score: activation"),
        (Palettize, {"bits": 9}, "bits"),
        (Palettize, {"bit": 4}, "unknown key 'bit'"),
    ],
)
def test_wrong_options_are_named(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        kind(options)


def test_a_pattern_that_matches_nothing_and_a_model_without_weights(context: PassContext) -> None:
    with pytest.raises(RecipeError, match="'third'"):
        Palettize({"exclude": ["third"]}).apply(net(), context)
    with pytest.raises(ModelFileError, match="lower min_size"):
        PruneMagnitude({"ratio": 0.5, "min_size": 10_000}).apply(net(), context)


def test_a_damaged_weight_is_named(context: PassContext) -> None:
    model = net()
    weights = values_of(model)["w1"]
    weights[0, 0, 0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w1"))
    with pytest.raises(ModelFileError, match="'w1' is not finite"):
        Palettize().apply(model, context)


def test_a_packed_variant_is_stored_verified_and_run(tmp_path: Path) -> None:
    """End to end: the packed file itself is verified, and its three sizes are reported."""
    manifest = load_manifest(write_segmenter(tmp_path / "model"))
    recipe = small_recipe(
        tmp_path / "recipe",
        passes=["simplify", {"palettize": {"bits": 6, "min_size": 2}}],
        store="packed",
    )
    images = write_images(tmp_path / "images", 40)
    result = compress_model(manifest, recipe, str(images), work=tmp_path / "work")
    assert result.variant.file == "small.adcpz"
    sizes = result.variant_sizes
    assert sizes.stored_bytes == result.manifest.variant_path("small").stat().st_size
    assert sizes.file_bytes != sizes.stored_bytes, "what the runtime reads is the expanded file"
    assert sizes.loaded_bytes is not None and sizes.running_bytes is not None, "measured in a process"
    assert result.variant.figures["variant_sizes"] == sizes.as_dict()
    open_pipeline(result.manifest, "small").close()
    plain = small_recipe(tmp_path / "plain", passes=["simplify"])
    again = compress_model(manifest, plain, str(images), work=tmp_path / "work")
    assert again.replaced
    files = {path.name for path in again.manifest.folder.iterdir() if path.is_file()}
    assert files == {"model.yaml", "small.onnx"}, "the packed file of the replaced variant is gone"
