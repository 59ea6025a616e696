# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model file in place of a model folder: imported into the work folder once, and found there again."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, file_sha256, load_manifest
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.store import work_folder

_RECORD = "imported_from"
_MANIFEST_SUFFIXES = (".yaml", ".yml")


def is_model_file(path: Path) -> bool:
    """Return whether a path is a model file, and neither a folder nor a manifest."""
    return path.is_file() and path.suffix.lower() not in _MANIFEST_SUFFIXES


def folder_of(model: Path, work: Path | None, sample: str | None = None, *, in_place: bool = False) -> Path:
    """Return a model's folder; a model file is imported into WORK/NAME, where the next run finds it.

    What the file was taken for is printed in one line on standard error.

    Args:
        model: model folder, its model.yaml, or a model file.
        work: work folder; None for ``$ADCP_WORK`` or ``./adcp_work``.
        sample: frames that the guesses are tried on: BAG, BAG:TOPIC or a folder of images.
        in_place: whether variants were to go into the model's own folder, which a file has none of.

    Raises:
        ManifestError: the folder holds another model, or one of another state of the file.
        AdcpError: the file cannot be imported.
    """
    if not is_model_file(model):
        return model
    if in_place:
        raise ManifestError(f"{model} is a file, which has no folder to write into: leave --in-place out")
    source, folder = model.resolve(), work_folder(work) / name_of(model)
    record = {"file": str(source), "sha256": file_sha256(source), "sample": sample or ""}
    manifest = load_manifest(folder) if (folder / MANIFEST_NAME).is_file() else None
    if manifest is not None:
        found = _check_same(manifest, record, folder)
        if sample and not found.get("sample") and len(manifest.variants) == 1:
            (folder / MANIFEST_NAME).unlink()  # guessed on drawn images, and nothing was made with it yet
            manifest = None
    if manifest is None:
        manifest = _import(source, folder, sample, record)
    print(_what_it_is(model, manifest), file=sys.stderr)
    return folder


def name_of(model: Path) -> str:
    """Return the name of the model that a file becomes."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", model.stem).lstrip("_.-") or "model"


def _import(source: Path, folder: Path, sample: str | None, record: dict[str, str]) -> Manifest:
    from ad_compressed_perception.importing.guess import manifest_for
    from ad_compressed_perception.importing.trial import try_source

    try_source(source)
    manifest = manifest_for(source, folder, sample)
    manifest.variant(manifest.baseline).provenance[_RECORD] = record
    save_manifest(manifest, folder)
    return manifest


def _check_same(manifest: Manifest, record: dict[str, str], folder: Path) -> dict[str, str]:
    found = manifest.variant(manifest.baseline).provenance.get(_RECORD)
    way_out = "remove that folder or name another work folder"
    if not isinstance(found, dict) or "sha256" not in found:
        raise ManifestError(f"{folder} holds another model of this name, not made from a file: {way_out}")
    if found["sha256"] != record["sha256"]:
        other = found.get("file")
        what = "has changed since" if other == record["file"] else f"is not {other}, from which"
        raise ManifestError(
            f"{record['file']} {what} {folder} was made (sha256 {record['sha256'][:12]}..., there "
            f"{str(found['sha256'])[:12]}...): {way_out}"
        )
    return found


def _what_it_is(model: Path, manifest: Manifest) -> str:
    spec = manifest.input
    taken = (
        "task raw, outputs as they are"
        if manifest.task == RAW
        else f"{manifest.task}, decoder {manifest.output.decoder}"
    )
    unsure = manifest.description.rpartition("unsure: ")[2]
    return (
        f"{model.name} is taken for {taken}; input {spec.width}x{spec.height} {spec.color}, "
        f"scale {spec.scale:.4g}, {spec.resize}; unsure: {unsure}. If that is wrong: "
        f"adcp import {model} MODEL_DIR --task ... --decoder ... "
        f"(manifest: {manifest.folder / MANIFEST_NAME})"
    )
