# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models that ship with the package, and which variant of a model is the one to run compressed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, Variant
from ad_compressed_perception.core.resources import models_folder

DEFAULT_MODELS = ("road_detection", "road_segmentation", "road_planning")
"""One a task."""
_RANK = {"accepted": 0, "rejected": 2}


def default_models() -> list[Path]:
    """Return the folders of the default models; raise DataError where one did not come along."""
    folder = models_folder() or Path("models")
    for name in DEFAULT_MODELS:
        if not (folder / name / MANIFEST_NAME).is_file():
            raise DataError(
                f"the default models are not here: {folder / name / MANIFEST_NAME} is missing; get the whole "
                "package, or name model folders of your own"
            )
    return [folder / name for name in DEFAULT_MODELS]


def compressed_variant(
    manifest: Manifest, is_usable: Callable[[Variant], bool] = lambda variant: True
) -> str | None:
    """Return the compressed variant that is recommended: the first accepted one beside the baseline.

    Where none was accepted it is the first that was not rejected, else the first; None where there is
    only the baseline.

    Args:
        manifest: the model.
        is_usable: whether a variant can be chosen, such as one whose runtime is installed.
    """
    statuses = {
        name: variant.verdict.status if variant.verdict else ""
        for name, variant in manifest.variants.items()
        if name != manifest.baseline and is_usable(variant)
    }
    return min(statuses, key=lambda name: _RANK.get(statuses[name], 1), default=None)
