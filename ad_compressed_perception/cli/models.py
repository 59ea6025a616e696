# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds a model and its variants as given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.workspace.store import find_variants


def open_model(path: str | Path, work: Path | None, variant: str | Sequence[str] | None) -> Manifest:
    """Return a model's manifest that has the requested variants.

    A variant that MODEL_DIR/model.yaml does not have is looked for in the work folder, in
    WORK/<name>/model.yaml, if that is of the same model (name and baseline file).

    Args:
        path: model folder or its model.yaml.
        work: work folder; None for ``$ADCP_WORK`` or ``./adcp_work``.
        variant: the variant requested, or several; None or empty for the baseline.

    Raises:
        ManifestError: no model there, or no such variant in either folder.
    """
    manifest = load_manifest(path)
    names = [variant] if isinstance(variant, str) else list(variant or [])
    return find_variants(manifest, work, [name for name in names if name])


def loadable_model(model: Path, work: Path | None, sample: str, *, in_place: bool) -> Manifest:
    """Return the manifest of a model or model file whose baseline loads and runs, in a process of its own."""
    from ad_compressed_perception.backends.checked_load import try_load
    from ad_compressed_perception.cli.model_file import folder_of

    manifest = load_manifest(folder_of(model, work, sample, in_place=in_place))
    baseline = manifest.variant(manifest.baseline)
    path = manifest.checked_path(manifest.baseline, allow_rejected=True)
    try_load(baseline.backend, path, baseline.options)
    return manifest
