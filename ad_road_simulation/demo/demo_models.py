# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models of the demo, each with its recommended compressed variant, which is made where missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.backends.choose_variant import compressed_variant
from ad_compressed_perception.core.errors import DataError, ManifestError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.workspace.default_models import default_models
from ad_compressed_perception.workspace.find import find_all
from ad_road_simulation.demo.steps import StepProgress

if TYPE_CHECKING:
    from rich.console import Console

RECIPE = "int8"
"""Recipe for a model without compressed variants."""


@dataclass(frozen=True)
class DemoModel:
    """A model of the demo.

    Attributes:
        manifest: holds baseline and compressed variant.
        compressed: name of the variant that is compared with the baseline.
    """

    manifest: Manifest
    compressed: str

    @property
    def task(self) -> str:
        """The model's task."""
        return self.manifest.task

    @property
    def is_rejected(self) -> bool:
        """Whether the gate rejected the compressed variant."""
        verdict = self.manifest.variant(self.compressed).verdict
        return verdict is not None and verdict.status == "rejected"

    @property
    def variants(self) -> list[str]:
        """Names of all variants, the baseline first and the compared one second."""
        return list(dict.fromkeys((self.manifest.baseline, self.compressed, *self.manifest.variants)))


def open_models(folders: Sequence[Path]) -> list[Manifest]:
    """Return the manifests of the given models, or of the default ones, in the order of the tasks.

    Raises:
        AdcpError: a model that is missing or malformed, a file that is missing or altered, or two models
            of one task.
    """
    try:
        chosen = [load_manifest(folder) for folder in folders or default_models()]
    except DataError as error:
        raise DataError(f'{error}: make demo MODELS="<model folder> ..."') from error
    of_task: dict[str, Manifest] = {}
    for manifest in chosen:
        if manifest.task in of_task:
            other = of_task[manifest.task].folder
            raise ManifestError(
                f"two models for task {manifest.task}: {other} and {manifest.folder}; give one"
            )
        of_task[manifest.task] = manifest
        for name in manifest.variants:
            manifest.checked_path(name, allow_rejected=True)
    return [of_task[task] for task in ("detection", "segmentation", "planning") if task in of_task]


def prepare_model(
    manifest: Manifest, calibration: str, work: Path | None, progress: StepProgress
) -> DemoModel:
    """Return a model with its recommended compressed variant; compress it where none runs here.

    Args:
        manifest: the model.
        calibration: BAG, BAG:TOPIC or a folder of images.
        work: work folder; None for the default one.
        progress: receives progress updates.

    Raises:
        AdcpError: an invalid model or invalid frames.
    """
    name = compressed_variant(manifest)
    if name is not None:
        return DemoModel(manifest, name)
    return DemoModel(ensure_variant(manifest, calibration, work, progress), RECIPE)


def ensure_variant(
    manifest: Manifest, calibration: str, work: Path | None, progress: StepProgress, recipe: str = RECIPE
) -> Manifest:
    """Compress a model with a shipped recipe unless a variant of that name exists.

    Args:
        manifest: the model.
        calibration: BAG, BAG:TOPIC or a folder of images.
        work: work folder; None for the default one.
        progress: receives progress updates.
        recipe: name of the recipe.

    Returns:
        The manifest that holds the variant.

    Raises:
        AdcpError: an invalid model or invalid frames.
    """
    from ad_compressed_perception.compression.compress import compress_model
    from ad_compressed_perception.compression.recipe import load_recipe

    found = find_all(manifest, work).get(recipe)
    if found is not None:
        return found

    def advance(step: str, done: int, total: int) -> None:
        progress.notify(f"compressing {manifest.name}, {recipe}: {step}")
        progress.advance(done, total)

    return compress_model(manifest, load_recipe(recipe), calibration, work=work, progress=advance).manifest


def print_verdicts(models: Sequence[DemoModel], console: Console) -> None:
    """Print the compared variants and the verdicts of their gates."""
    for model in models:
        verdict = model.manifest.variant(model.compressed).verdict
        status = "no gate verdict" if verdict is None else verdict.status
        reasons = f": {'; '.join(verdict.reasons)}" if verdict is not None and verdict.reasons else ""
        console.print(
            f"{model.manifest.name}/{model.compressed}: {status}{reasons}", highlight=False, soft_wrap=True
        )
    if any(model.is_rejected for model in models):
        console.print(
            "[bold]Variants that their gate REJECTED run here nevertheless, to show the reason. "
            "A node loads them only if allow_rejected is set.[/bold]"
        )
