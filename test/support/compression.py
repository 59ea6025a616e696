# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image folders and recipes small enough to compress a tiny model in a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import yaml

from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.core.host import HostInfo
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.io import input_name, read_model
from ad_compressed_perception.pass_api.passes import PassContext
from support.models import draw_scene

VNNI = HostInfo("x86_64", "with", ("avx512_vnni",))
NO_VNNI = HostInfo("x86_64", "without", ("avx2",))
INT8_PASSES = ["upgrade_opset", "simplify", "infer_shapes", "quantize_int8"]


def write_images(folder: Path, count: int) -> Path:
    """Write ``count`` images of a changing scene, named by stamps 50 ms apart."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{1_000_000_000 + index * 50_000_000}.png"), draw_scene(index))
    return folder


def recipe_text(**fields: object) -> str:
    """Return a small recipe; fields replace its own."""
    recipe: dict[str, object] = {
        "schema": "adcp-recipe/1",
        "name": "small",
        "passes": INT8_PASSES,
        "calibration": {"frames": 8},
        "verify": {"frames": 24},
        # A tiny model's scales weigh more than its weights, and its speed is timing noise.
        "accept": {"max_drop": 0.2},
    }
    return yaml.safe_dump({**recipe, **fields})


def write_recipe(path: Path, **fields: object) -> Path:
    """Write a small recipe; fields replace its own."""
    path.write_text(recipe_text(**fields), encoding="utf-8")
    return path


def small_recipe(folder: Path, **fields: object) -> LoadedRecipe:
    """Write and read a small recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    return LoadedRecipe(write_recipe(folder / "recipe.yaml", **fields))


def model_and_context(
    folder: Path, scratch: Path, host: HostInfo = VNNI
) -> tuple[onnx.ModelProto, PassContext]:
    """Return a folder's baseline and a context whose calibration frames are four of noise."""
    manifest = load_manifest(folder)
    model = read_model(manifest.variant_path("fp32"))
    name = input_name(model)
    scratch.mkdir()
    highest = 255.0 * manifest.input.scale

    def feeds() -> Iterator[dict[str, Any]]:
        rng = np.random.default_rng(1)
        for _ in range(4):
            yield {name: (rng.random(manifest.input.shape) * highest).astype(np.float32)}

    def images() -> Iterator[Frame]:
        for index in range(4):
            yield Frame(draw_scene(index), "BGR", index)

    context = PassContext(
        manifest=manifest,
        input=manifest.input,
        output=manifest.output,
        feeds=feeds,
        images=images,
        frames=4,
        baseline=manifest.variant_path("fp32"),
        host=host,
        scratch=scratch,
        checkpoints=scratch / "checkpoints",
    )
    return model, context
