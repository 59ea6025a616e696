# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models that ship with the package, and the choice of a model's compressed variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, Variant
from ad_compressed_perception.core.resources import models_folder

DEFAULT_MODELS = ("road_detection", "road_segmentation", "road_planning")
"""One per task."""
_RANK = {"accepted": 0, "rejected": 2}


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


def compressed_variant(
    manifest: Manifest, is_usable: Callable[[Variant], bool] = lambda variant: True
) -> str | None:
    """Return the compressed variant that is recommended: the first accepted one other than the baseline.

    Where none was accepted it is the first that was not rejected, else the first; None where there is
    only the baseline.

    Args:
        manifest: the model.
        is_usable: whether a variant can be chosen, for example whether its runtime is installed.
    """
    statuses = {
        name: variant.verdict.status if variant.verdict else ""
        for name, variant in manifest.variants.items()
        if name != manifest.baseline and is_usable(variant)
    }
    return min(statuses, key=lambda name: _RANK.get(statuses[name], 1), default=None)
