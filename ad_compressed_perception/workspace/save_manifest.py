# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a model's manifest."""

from __future__ import annotations

from pathlib import Path

import yaml

from ad_compressed_perception.core.json_values import plain
from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest
from ad_compressed_perception.workspace.atomic_file import write_file


def save_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write a manifest as ``folder/model.yaml`` atomically, with that folder's permissions; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = plain(manifest.model_dump(mode="json", by_alias=True, exclude_none=True))
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    return write_file(folder / MANIFEST_NAME, text, folder.stat().st_mode & 0o666)
