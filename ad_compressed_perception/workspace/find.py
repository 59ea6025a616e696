# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The variants of a model, in its own folder and in the work folder."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, load_manifest
from ad_compressed_perception.workspace.store import is_same_model, model_folder


def find_all(manifest: Manifest, work: Path | None) -> dict[str, Manifest]:
    """Return every variant's name with the manifest that holds it: the model's own and the work folder's.

    Args:
        manifest: the model.
        work: work folder; None for ``$ADCP_WORK`` or ``./adcp_work``.

    Raises:
        ManifestError: the work folder's manifest of this model is malformed.
    """
    owners = dict.fromkeys(manifest.variants, manifest)
    folder = model_folder(manifest, work)
    if folder != manifest.folder and (folder / MANIFEST_NAME).is_file():
        made = load_manifest(folder)
        if is_same_model(made, manifest):
            owners = {**dict.fromkeys(made.variants, made), **owners}
    return {manifest.baseline: manifest, **owners}
