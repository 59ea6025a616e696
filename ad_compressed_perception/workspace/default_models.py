# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models that ship with the package."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import MANIFEST_NAME
from ad_compressed_perception.core.resources import models_folder

DEFAULT_MODELS = ("road_detection", "road_segmentation", "road_planning")
"""One per task."""


def default_models() -> list[Path]:
    """Return the folders of the default models; raise DataError where one is missing."""
    folder = models_folder() or Path("models")
    for name in DEFAULT_MODELS:
        if not (folder / name / MANIFEST_NAME).is_file():
            raise DataError(
                f"the default models are not installed: {folder / name / MANIFEST_NAME} is missing; get the "
                "complete package, or give your own model folders"
            )
    return [folder / name for name in DEFAULT_MODELS]
