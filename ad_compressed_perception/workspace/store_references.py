# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Enters drift references into the manifest of a model that is stored already."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import MANIFEST_NAME, load_manifest
from ad_compressed_perception.core.signature import StaleSignatureWarning, signature_path
from ad_compressed_perception.drift.manifest_references import join_references
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.workspace.save_manifest import save_manifest


def store_references(folder: Path, learned: Mapping[str, DriftReference]) -> list[str]:
    """Enter references by variant; return the names of those that the folder has with this very file.

    model.yaml is read anew and replaced at once, so that variants entered meanwhile are kept.

    Raises:
        ManifestError: the manifest cannot be read or written; it stays as it was.
    """
    manifest = load_manifest(folder)
    fitting = {
        name: reference
        for name, reference in learned.items()
        if name in manifest.variants and manifest.variants[name].sha256 == reference.model_sha256
    }
    if fitting:
        manifest.drift_reference = join_references(manifest, fitting)
        try:
            save_manifest(manifest, manifest.folder)
        except OSError as error:
            raise ManifestError(
                f"cannot write {manifest.folder / MANIFEST_NAME}: {error.strerror or error}; "
                "copy the model to a folder of your own and name that"
            ) from error
        if signature_path(manifest.folder / MANIFEST_NAME).is_file():
            warnings.warn(StaleSignatureWarning(manifest.folder / MANIFEST_NAME), stacklevel=2)
    return sorted(fitting)
