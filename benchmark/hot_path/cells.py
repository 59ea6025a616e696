# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is measured: tasks, variant, image format, size and rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from ad_compressed_perception.core.errors import BackendError, DataError, ManifestError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.resources import models_folder
from ad_compressed_perception.tasks.pipeline import open_pipeline

THREE = "three"
TASKS = ("planning", "detection", "segmentation")
FORMATS = ("jpeg", "raw")
SIZES = ("640x480", "1920x1080")
RATES_HZ = (10.0, 20.0, 30.0)
VARIANTS = ("compressed", "baseline")


@dataclass(frozen=True)
class Cell:
    """One combination.

    Attributes:
        tasks: a task, or "three" for all of them on one camera.
        variant: "baseline" or "compressed".
        image_format: "jpeg" or "raw".
        size: WIDTHxHEIGHT in pixels.
        rate_hz: frames a second.
    """

    tasks: str = "planning"
    variant: str = "compressed"
    image_format: str = "jpeg"
    size: str = "640x480"
    rate_hz: float = 20.0

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return TASKS if self.tasks == THREE else (self.tasks,)

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What processes have to be started for; only the rate can change without."""
        return self.tasks, self.variant, self.image_format, self.size

    @property
    def title(self) -> str:
        """As text."""
        return f"{self.tasks} {self.variant} {self.image_format} {self.size} {self.rate_hz:g} Hz"

    @property
    def file_name(self) -> str:
        """As part of a file's name."""
        return self.title.replace(" Hz", "hz").replace(" ", "_")


def one_at_a_time(tasks: Iterable[str]) -> list[Cell]:
    """Return the usual cell of tasks and those that differ from it in one respect; raw also in both sizes."""
    cells = []
    for name in tasks:
        usual = Cell(name)
        cells += [usual, replace(usual, variant="baseline"), replace(usual, size=SIZES[1])]
        cells += [replace(usual, image_format="raw", size=size) for size in SIZES]
        cells += [replace(usual, rate_hz=rate) for rate in RATES_HZ if rate != usual.rate_hz]
    return cells


def product_of(
    tasks: Sequence[str],
    variants: Sequence[str],
    formats: Sequence[str],
    sizes: Sequence[str],
    rates_hz: Sequence[float],
) -> list[Cell]:
    """Return every combination, those that share processes in a row."""
    return [Cell(*each) for each in product(tasks, variants, formats, sizes, rates_hz)]


@dataclass(frozen=True)
class Model:
    """A task's model and the variant to run.

    Attributes:
        manifest: the model.
        variant: a name in it.
    """

    manifest: Manifest
    variant: str


def default_model(task: str, variant: str) -> Model:
    """Return a default model with its baseline, or its first accepted variant whose runtime is installed.

    Raises:
        AdcpError: there are no default models, none of the task, or no such variant.
    """
    folder = models_folder()
    if folder is None:
        raise DataError("no default models found beside the package")
    manifest = load_manifest(folder / f"road_{task}")
    if variant == "baseline":
        return Model(manifest, manifest.baseline)
    reasons = []
    for name, each in manifest.variants.items():
        if name == manifest.baseline or each.verdict is None or each.verdict.status != "accepted":
            continue
        try:
            open_pipeline(manifest, name).close()
        except BackendError as error:  # its runtime is not installed; the next one's may be
            reasons.append(f"{name}: {error}")
            continue
        return Model(manifest, name)
    raise ManifestError(f"{manifest.name}: no accepted variant can be run here; {'; '.join(reasons)}")
