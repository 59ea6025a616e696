# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Structural mutants of ONNX files: inspected, compressed to int8, loaded and run in every backend."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ad_compressed_perception.analysis.inspect import inspect_file
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.base import zero_feeds
from ad_compressed_perception.backends.checked_load import try_load
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import Manifest, file_sha256, load_manifest
from ad_compressed_perception.core.model_files import further_files
from dev.campaign.mutate_onnx import change_bytes, write_mutant
from dev.campaign.pool import REPOSITORY
from support.compression import small_recipe, write_images
from support.models import write_detector, write_planner, write_segmenter
from support.onnx_files import write_int8, write_two_convolutions
from support.tflite_files import write_relu

_BACKENDS = ("onnxruntime", "openvino")
_OTHER_FORMATS = 0.1
_MODELS: list[Path] = []
_FILES: list[Path] = []
_OTHERS: list[Path] = []
_images: list[Path] = []
_recipes: list[LoadedRecipe] = []


def prepare(folder: Path) -> None:
    """Write the tiny models, images and recipe."""
    _MODELS.extend(
        writer(folder / writer.__name__) for writer in (write_detector, write_segmenter, write_planner)
    )
    _MODELS.append(REPOSITORY / "models" / "road_planning")
    two = write_two_convolutions(folder / "two.onnx")
    _FILES.extend([two, write_int8(two, folder / "int8.onnx")])
    _OTHERS.extend(sorted((REPOSITORY / "models").glob("*/*.adcpz")))
    if find_spec("ai_edge_litert") is not None:
        _OTHERS.extend([write_relu(folder / "a.tflite"), write_relu(folder / "b.tflite", "int8")])
    _images.append(write_images(folder / "images", 24))
    _recipes.append(small_recipe(folder / "recipe", verify={"frames": 8}))


def case(pick: random.Random, number: int, folder: Path) -> str:
    """Use one mutant as the tools and the nodes do; each of them may refuse it in one line."""
    if pick.random() < _OTHER_FORMATS:
        return _other_format(pick, folder)
    model = pick.choice(_MODELS) if pick.random() < 0.7 else None
    source = (
        load_manifest(model).variant_path(load_manifest(model).baseline) if model else pick.choice(_FILES)
    )
    path = folder / "fp32.onnx"
    change = write_mutant(pick, source, path)
    (folder / "change.json").write_text(json.dumps({"source": str(source), "change": change}))
    uses: list[Callable[[], None]] = [partial(_run, path, name) for name in _BACKENDS]
    uses.append(partial(_inspect, path))
    if model:
        uses.append(lambda: _compress(load_manifest(model), folder))
    refused = sum(_refused(use) for use in uses)
    return "worked" if not refused else "refused" if refused == len(uses) else "worked in places"


def _other_format(pick: random.Random, folder: Path) -> str:
    """Use a damaged packed or .tflite file as the tools do: in a process of its own first."""
    source = pick.choice(_OTHERS)
    path = folder / source.name
    path.write_bytes(change_bytes(pick, source.read_bytes()))
    backend = "litert" if path.suffix == ".tflite" else "onnxruntime"
    try_load(backend, path, {})
    _run(path, backend)
    return "worked"


def _refused(use: Callable[[], None]) -> bool:
    try:
        use()
    except AdcpError as error:
        line = str(error)
        assert "\n" not in line and len(line) < 1500, f"bad line: {line[:2000]}"
        return True
    return False


def _run(path: Path, backend: str) -> None:
    session = create_backend(backend).load(path, {"warmup_runs": 1})
    try:
        if all(size is not None for spec in session.info.inputs for size in spec.shape[1:]):
            session.infer(zero_feeds(session.info.inputs))
    finally:
        session.close()


def _inspect(path: Path) -> None:
    inspect_file(path, measure_memory=False)


def _compress(source: Manifest, folder: Path) -> None:
    """Compress a model folder whose manifest has the present hashes of the mutant."""
    variant = source.variant(source.baseline).model_copy(update={"file": "fp32.onnx"})
    path = folder / "fp32.onnx"
    variant.sha256 = file_sha256(path)
    variant.files = {name: file_sha256(folder / name) for name in further_files(path)}
    manifest = source.model_copy(update={"baseline": "fp32", "variants": {"fp32": variant}})
    manifest.folder = folder
    compress_model(manifest, _recipes[0], str(_images[0]), work=folder / "work", check_baseline=False)
