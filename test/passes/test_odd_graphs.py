# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of odd file through every pass: the outputs stay close, or one line says why not.

A traceback, an invalid graph, a lost output and outputs that differ from the file's own fail the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from ad_compressed_perception.compression.passes.graph.embed_preprocessing import EmbedPreprocessing
from ad_compressed_perception.core.errors import AdcpError, ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec
from ad_compressed_perception.core.registry import PASSES, find
from ad_compressed_perception.onnx_graph.equivalence import relative_difference, run_model
from ad_compressed_perception.onnx_graph.float16 import raise_to_float32
from ad_compressed_perception.onnx_graph.io import read_model
from support.graphs import context_for
from support.odd_graphs import HEIGHT, KINDS, WIDTH, unknown_operator, write

Steps = Mapping[str, Mapping[str, Any]]
SPEC = InputSpec(width=WIDTH, height=HEIGHT, scale=1 / 255, resize="stretch")
FUSED: Steps = {"upgrade_opset": {}, "simplify": {}, "infer_shapes": {}}
# Largest change of an output as a share of its range: eight bits through four layers, eleven, or none.
RECIPES: dict[str, tuple[Steps, float]] = {
    "fp32": (FUSED, 1e-4),
    "fp16": ({"upgrade_opset": {}, "cast_float16": {}}, 0.01),
    "int8": ({"upgrade_opset": {}, "quantize_int8": {}}, 0.15),
    "int8, compute ops": (
        {
            **FUSED,
            "equalize_channels": {"min_spread": 1.0},
            "quantize_int8": {"calibration": "percentile", "placement": "compute_ops"},
        },
        0.3,
    ),
    "int8 mixed": (
        {
            "upgrade_opset": {},
            "quantize_int8_mixed": {
                "max_drop": 0.9,
                "requantization_trials": 1,
                "sensitivity_frames": 1,
            },
        },
        0.5,
    ),
    "int8 weights": ({"upgrade_opset": {}, "quantize_weights": {}, "deduplicate_initializers": {}}, 0.05),
    "palettized, pruned": ({"palettize": {"bits": 8}, "prune_magnitude": {"ratio": 0.01}}, 0.3),
    "edits": (
        {"flush_denormals": {}, "equalize_channels": {"min_spread": 1.0}, "deduplicate_initializers": {}},
        1e-3,
    ),
}
TRAINING: dict[str, tuple[Steps, float]] = {
    "pruned channels": (
        # As many channels as it can, so that nothing is compared but the outputs' names and shapes.
        {"prune_channels": {"ratio": 0.3, "epochs": 0, "round_to": 4, "importance": "magnitude"}},
        np.inf,
    ),
    "qat": (
        {"upgrade_opset": {}, "quantize_int8": {}, "qat": {"epochs": 1, "learning_rate": 1e-7}},
        0.2,
    ),
}
# What a pass rightly refuses, by the reason in its line.
REFUSED = {
    ("fp16", "infinite mask"): "weight 'mask' reaches inf",
    ("pruned channels", "weight in use as output"): "Mul 'n_gained'",
    **{(recipe, "If"): "n_condition" for recipe in TRAINING},
    **{(recipe, kind): f"operator {kind}" for recipe in TRAINING for kind in ("Loop", "BiasGelu")},
}
TRAINED_KINDS = [
    *("constant as output", "weight in use as output", "strange names", "tensor named c2_b/float"),
    *("grouped ConvTranspose", "half, unsorted", "If", "Loop", "BiasGelu", "GroupNormalization"),
]


def opened(kind: str, folder: Path) -> tuple[onnx.ModelProto, Path, dict[str, np.ndarray[Any, Any]], Any]:
    """Return a kind's graph as the passes get it, its file, that file's own outputs, and a context."""
    path = write(KINDS[kind](), folder / "fp32.onnx", external=kind == "plain")
    model = read_model(path)
    half = model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    raise_to_float32(model)
    output = OutputSpec(decoder="argmax", options={"layout": "NCHW", "output": "scores"})
    context = context_for(model, folder, SPEC, output=output)
    manifest = context.manifest.model_copy(update={"labels": ["road", "lane", "sky"]})
    context = replace(context, manifest=manifest, baseline=path)
    feeds = next(context.feeds())
    given = {name: value.astype(np.float16) for name, value in feeds.items()} if half else feeds
    # A node's name in use twice is what ONNX Runtime itself does not read.
    own = model if kind == "all nodes named the same" else onnx.load(path)
    return model, path, run_model(own, given), context


def apply(model: onnx.ModelProto, steps: Steps, context: Any, folder: Path) -> onnx.ModelProto:
    """Apply passes in order."""
    for name, options in steps.items():
        scratch = folder / name
        scratch.mkdir()
        context = replace(context, scratch=scratch, checkpoints=folder / f"{name}_checkpoints", notes={})
        model = find(PASSES, name, RecipeError)(dict(options)).apply(model, context)
    return model


def check(kind: str, recipe: str, steps: Steps, limit: float, folder: Path) -> None:
    model, _, own, context = opened(kind, folder)
    feeds = next(context.feeds())
    reason = REFUSED.get((recipe, kind))
    if reason is not None:
        with pytest.raises(AdcpError, match=reason) as caught:
            apply(model, steps, context, folder)
        assert "\n" not in str(caught.value)
        return

    made = apply(model, steps, context, folder)

    onnx.checker.check_model(made, full_check=True)
    found = run_model(made, feeds)
    assert list(found) == list(own)
    for name, value in own.items():
        assert found[name].shape == value.shape
        # Half precision itself rounds by 2^-11 in each of four layers.
        assert relative_difference(value, found[name]) <= max(limit, 2e-3 if "half" in kind else 0.0), name


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_stay_or_one_line_says_why_not(kind: str, recipe: str, tmp_path: Path) -> None:
    check(kind, recipe, *RECIPES[recipe], tmp_path)


@pytest.mark.parametrize("recipe", TRAINING)
@pytest.mark.parametrize("kind", TRAINED_KINDS)
def test_training_passes_do_likewise(kind: str, recipe: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torch_pruning")
    check(kind, recipe, *TRAINING[recipe], tmp_path)


RESIZED = [
    *("GroupNormalization", "InstanceNormalization", "FusedConv", "BiasGelu", "QuickGelu", "If", "Loop"),
    *("depthwise ConvTranspose", "copied image as output", "half"),
]


@pytest.mark.parametrize("kind", RESIZED)
def test_another_input_size_and_bytes_as_input(kind: str, tmp_path: Path) -> None:
    """The scores of a network without pooling are those of the larger image, as far from its edges."""
    model, _, own, context = opened(kind, tmp_path)
    feeds = next(context.feeds())
    resized = apply(model, {"input_size": {"width": 2 * WIDTH, "height": 2 * HEIGHT}}, context, tmp_path)
    onnx.checker.check_model(resized)
    padded = {name: np.pad(value, ((0, 0), (0, 0), (0, HEIGHT), (0, WIDTH))) for name, value in feeds.items()}
    found = run_model(resized, padded)
    assert found["scores"].shape == (1, 3, 2 * HEIGHT, 2 * WIDTH)
    declared = next(value for value in resized.graph.output if value.name == "scores")
    sizes = [dimension.dim_value for dimension in declared.type.tensor_type.shape.dim]
    assert sizes == [1, 3, 2 * HEIGHT, 2 * WIDTH]
    if "Normalization" not in kind:  # which look at the whole image
        inner = (slice(None), slice(None), slice(0, HEIGHT - 12), slice(0, WIDTH - 12))
        np.testing.assert_allclose(found["scores"][inner], own["scores"][inner], atol=0.01)

    folder = tmp_path / "bytes"
    folder.mkdir()
    model, _, own, context = opened(kind, folder)
    embedded = EmbedPreprocessing({}).apply(model, context)
    pixels = np.rint(feeds["image"] * 255.0).astype(np.uint8).transpose(0, 2, 3, 1)
    if context.input.color == "BGR":
        pixels = pixels[..., ::-1]
    scores = run_model(embedded, {"image": np.ascontiguousarray(pixels)})["scores"]
    assert relative_difference(own["scores"], scores) < 2e-3


def test_bytes_are_refused_where_the_image_is_an_output_too(tmp_path: Path) -> None:
    model, _, _, context = opened("image as output", tmp_path)
    with pytest.raises(ModelFileError, match="input 'image' is an output as well"):
        EmbedPreprocessing({}).apply(model, context)


def test_a_scan_over_rows_of_a_fixed_size_is_refused_by_name(tmp_path: Path) -> None:
    model, _, _, context = opened("Scan", tmp_path)
    with pytest.raises(ModelFileError, match="Scan 'scan' cannot be inferred"):
        apply(model, {"input_size": {"width": 2 * WIDTH, "height": 2 * HEIGHT}}, context, tmp_path)


def test_a_normalization_with_weights_for_every_pixel_is_refused_by_name(tmp_path: Path) -> None:
    model, _, _, context = opened("LayerNormalization", tmp_path)
    with pytest.raises(ModelFileError, match="LayerNormalization 'n_normed' has weights for one size only"):
        apply(model, {"input_size": {"width": 2 * WIDTH, "height": 2 * HEIGHT}}, context, tmp_path)


def test_an_operator_that_no_runtime_knows_is_named(tmp_path: Path) -> None:
    path = write(unknown_operator(), tmp_path / "fp32.onnx")
    context = context_for(read_model(path), tmp_path, SPEC)
    for steps in (FUSED, {"quantize_int8": {}}, {"input_size": {"factor": 2.0}}):
        scratch = tmp_path / "-".join(steps)
        scratch.mkdir()
        with pytest.raises(AdcpError, match=r"Sparkle") as caught:
            apply(read_model(path), steps, context, scratch)
        assert "\n" not in str(caught.value)


def test_a_deconvolution_keeps_its_channels_and_the_rest_is_pruned(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torch_pruning")
    model, _, _, context = opened("depthwise ConvTranspose", tmp_path)
    options = {"ratio": 0.5, "epochs": 0, "round_to": 4, "importance": "magnitude"}

    made = apply(model, {"prune_channels": options}, context, tmp_path)

    sizes = {tensor.name: tuple(tensor.dims) for tensor in made.graph.initializer}
    assert sizes["up_w"] == (32, 1, 4, 4)
    assert sizes["mid_c_w"][0] == 32  # what the deconvolution reads
    assert sizes["down_c_w"][0] < 32 and sizes["after_c_w"][0] < 32 and sizes["last_c_w"][0] < 16
