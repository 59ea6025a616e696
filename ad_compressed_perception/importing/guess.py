# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Imports a model file of which nothing else is known."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.importing.import_model import import_model
from ad_compressed_perception.importing.request import ImportRequest


def manifest_for(source: Path, folder: Path, sample: str | None = None) -> Manifest:
    """Import a model file into a new folder with everything guessed; task raw where no decoder fits well.

    Args:
        source: as of ``import_model``.
        folder: to be created.
        sample: BAG, BAG:TOPIC or folder of images to judge candidates on.

    Returns:
        The manifest, whose description says what was guessed and what is unsure.

    Raises:
        AdcpError: as ``import_model``.
    """
    return import_model(source, folder, ImportRequest(sample=sample, raw_when_doubtful=True)).manifest
