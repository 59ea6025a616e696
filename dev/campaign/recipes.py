# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutants of recipes, label maps and trainings: read, and some of the recipes run on a tiny model."""

from __future__ import annotations

import random
from pathlib import Path

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.data.labeled.label_map import load_label_map
from ad_compressed_perception.training.default_models.config import load_training
from dev.campaign.mutate_text import mutant
from dev.campaign.pool import REPOSITORY
from support.compression import write_images
from support.models import write_detector, write_planner, write_segmenter

_CONFIG = REPOSITORY / "config"
_RECIPES = sorted((_CONFIG / "recipes").rglob("*.yaml"))
_OTHERS = {
    path: load
    for kind, load in (("label_maps", load_label_map), ("training", load_training))
    for path in sorted((_CONFIG / kind).glob("*.yaml"))
}
# They train for minutes; the others are run to the end.
_TRAINING = (
    *(
        "distill",
        "reconstruct",
        "replace_with_student",
        "quantize_aware",
        "prune_channels",
        "prune_unstructured",
    ),
    *("prune_magnitude",),
)
_RUN_EVERY = 2
_VERIFIED = 8
_models: list[Path] = []
_images: list[Path] = []


def prepare(folder: Path) -> None:
    """Write models and images for the recipes that are run."""
    _models.extend(
        writer(folder / writer.__name__) for writer in (write_detector, write_segmenter, write_planner)
    )
    _images.append(write_images(folder / "images", 24))


def case(pick: random.Random, number: int, folder: Path) -> str:
    """Read one mutant as ``adcp compress``, ``evaluate`` and ``train`` do."""
    source = pick.choice(sorted(_OTHERS)) if pick.random() < 0.15 else pick.choice(_RECIPES)
    path = folder / source.name
    path.write_bytes(mutant(pick, source.read_text(encoding="utf-8")))
    if source in _OTHERS:
        _OTHERS[source](path)
        return "read"
    recipe = LoadedRecipe(path)
    names = {one.name for one in recipe.passes}
    if number % _RUN_EVERY or names & set(_TRAINING):
        return "read"
    model = load_manifest(pick.choice(_models))
    recipe.recipe.verify.frames = min(recipe.recipe.verify.frames, _VERIFIED)
    compress_model(model, recipe, str(_images[0]), frames=4, work=folder / "work", check_baseline=False)
    return "compressed"
