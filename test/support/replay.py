# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny models with a second variant, and recordings to replay through them."""

from __future__ import annotations

import shutil
from pathlib import Path

from ad_compressed_perception.core.manifest import Variant, Verdict, file_sha256, load_manifest
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.bags import write_bag
from support.models import WRITERS, draw_scene


def add_variant(folder: Path, name: str = "int8", status: str | None = "accepted") -> Path:
    """Add a copy of the baseline as another variant, in full agreement with it."""
    manifest = load_manifest(folder)
    shutil.copy(folder / "fp32.onnx", folder / f"{name}.onnx")
    verdict = None
    if status is not None:
        reasons = ["rejected by the test"] if status == "rejected" else []
        verdict = Verdict(status=status, reasons=reasons)  # type: ignore[arg-type]
    manifest.variants[name] = Variant(
        file=f"{name}.onnx",
        sha256=file_sha256(folder / f"{name}.onnx"),
        derived_from="fp32",
        verdict=verdict,
    )
    save_manifest(manifest, folder)
    return folder


def write_models(folder: Path) -> dict[str, Path]:
    """Write a tiny model of each task, each with an accepted variant ``int8``."""
    return {task: add_variant(write(folder / f"tiny_{task}")) for task, write in WRITERS.items()}


def write_drive(path: Path, frames: int = 6, **options: object) -> Path:
    """Write a recording of scenes in which the tiny models detect objects."""
    images = [draw_scene(index) for index in range(frames)]
    return write_bag(path, images, **options)  # type: ignore[arg-type]
