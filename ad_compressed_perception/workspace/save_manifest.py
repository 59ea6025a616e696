# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a model's manifest."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest


def save_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write a manifest as ``folder/model.yaml`` atomically; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    data = _finite(manifest.model_dump(mode="json", by_alias=True, exclude_none=True))
    path = folder / MANIFEST_NAME
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".model-", suffix=".yaml")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            yaml.safe_dump(data, stream, sort_keys=False, allow_unicode=True, width=100)
        # mkstemp creates files of mode 0600; the manifest gets the permissions of its folder.
        os.chmod(temporary, folder.stat().st_mode & 0o666)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _finite(value: Any) -> Any:
    """Return a document with None for NaN and infinities, which load_manifest refuses."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
