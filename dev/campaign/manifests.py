# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutants of model.yaml: read, checked, its variants loaded and run on a frame, saved and read again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import MANIFEST_NAME, load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from dev.campaign.mutate_text import mutant
from dev.campaign.pool import REPOSITORY
from support.models import write_detector, write_planner, write_segmenter, write_trajectory_planner

_WRITERS = (write_detector, write_segmenter, write_planner, write_trajectory_planner)
_SHIPPED = sorted((REPOSITORY / "models").glob(f"*/{MANIFEST_NAME}"))
_VARIANTS = 3
_VARIANTS_OF_SHIPPED = 1  # they take a second to load
_sources: list[tuple[str, Path]] = []


def prepare(folder: Path) -> None:
    """Write the tiny models, whose files every case copies."""
    for writer in _WRITERS:
        made = writer(folder / writer.__name__)
        _sources.append(((made / MANIFEST_NAME).read_text(encoding="utf-8"), made))
    _sources.extend((path.read_text(encoding="utf-8"), path.parent) for path in _SHIPPED)


def case(pick: random.Random, number: int, folder: Path) -> str:
    """Use one mutant as a node and the tools do."""
    text, model = pick.choice(_sources)
    for file in model.iterdir():
        if file.is_file() and file.name != MANIFEST_NAME:
            shutil.copyfile(file, folder / file.name)  # a link would lead outside of the folder
    (folder / MANIFEST_NAME).write_bytes(mutant(pick, text))
    manifest = load_manifest(folder)
    saved = load_manifest(save_manifest(manifest, folder / "saved"))
    assert saved.model_dump() == manifest.model_dump(), "what was saved is not what was loaded"
    refused = None
    shipped = model.parent == REPOSITORY / "models"
    for name in list(manifest.variants)[: _VARIANTS_OF_SHIPPED if shipped else _VARIANTS]:
        try:
            pipeline = open_pipeline(manifest, name, options={"warmup_runs": 1})
            try:
                pipeline.run(Frame(np.full((48, 64, 3), 114, np.uint8), "BGR"))
            finally:
                pipeline.close()
        except AdcpError as error:
            refused = error
    if refused is not None:
        raise refused
    return "worked"
