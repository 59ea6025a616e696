# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shared by several subcommands: table output, and the variants of a model in all its folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, load_manifest

if TYPE_CHECKING:
    from rich.console import Console

_FILE_WIDTH = 140


def table_console() -> Console:
    """Return a console on standard output; in a pipe or a file tables are not squeezed to 80 columns."""
    import sys

    from rich.console import Console

    is_free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_FILE_WIDTH if is_free else None)


def find_all(manifest: Manifest, work: Path | None) -> dict[str, Manifest]:
    """Return every variant's name with the manifest that holds it: the model's own and the work folder's.

    Args:
        manifest: the model.
        work: work folder; None for ``$ADCP_WORK`` or ``./adcp_work``.

    Raises:
        ManifestError: the work folder's manifest of this model is malformed.
    """
    from ad_compressed_perception.workspace.store import is_same_model, model_folder

    owners = dict.fromkeys(manifest.variants, manifest)
    folder = model_folder(manifest, work)
    if folder != manifest.folder and (folder / MANIFEST_NAME).is_file():
        work_manifest = load_manifest(folder)
        if is_same_model(work_manifest, manifest):
            owners = {**dict.fromkeys(work_manifest.variants, work_manifest), **owners}
    return {manifest.baseline: manifest, **owners}
