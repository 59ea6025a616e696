# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models of the demo, each with its recommended compressed variant, which is made where missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.backends.choose_variant import compressed_variant, missing_runtime, status_of
from ad_compressed_perception.core.errors import DataError, ManifestError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.workspace.default_models import default_models
from ad_compressed_perception.workspace.find import find_all
from ad_road_simulation.demo.verbs import Verbs

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
    def runnable(self) -> list[str]:
        """Names of the variants whose runtime is installed: the baseline, the compared one, the others."""
        names = dict.fromkeys((self.manifest.baseline, self.compressed, *self.manifest.variants))
        return [name for name in names if not missing_runtime(self.manifest.variant(name).backend)]


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


def prepare_models(
    manifests: Sequence[Manifest], calibration: object, work: Path | None, verbs: Verbs
) -> list[DemoModel]:
    """Return the models with their recommended variants, whose verdicts are shown.

    One without any that runs here is compressed, unless the work folder has such a variant.

    Args:
        manifests: the models.
        calibration: BAG:TOPIC or a folder of images.
        work: work folder; None for the default one.
        verbs: runs ``adcp compress``.

    Raises:
        AdcpError: an invalid model or invalid frames.
    """
    models = []
    for manifest in manifests:
        name = compressed_variant(manifest)
        if name is None and RECIPE not in find_all(manifest, work):
            options = ("--recipe", RECIPE, "--calibration", calibration, "--work", work)
            verbs.run("compress", manifest.folder, *options)
        owner = manifest if name else find_all(manifest, work)[RECIPE]
        models.append(DemoModel(owner, name or RECIPE))
    for model in models:
        verdict = model.manifest.variant(model.compressed).verdict
        status = "no gate verdict" if verdict is None else "; ".join([verdict.status, *verdict.reasons])
        print(f"{model.manifest.name}/{model.compressed}: {status}", file=sys.stderr)
    if any(status_of(model.manifest.variant(model.compressed)) == "rejected" for model in models):
        print(
            "Variants that their gate REJECTED run here nevertheless, to show the reason. "
            "A node loads them only if allow_rejected is set.",
            file=sys.stderr,
        )
    return models


def replay_models(models: Sequence[DemoModel], verbs: Verbs, *words: object) -> None:
    """Replay a recording (words of ``adcp replay``) through baseline and compressed variant of each model.

    Raises:
        AdcpError: what ``adcp replay`` raises, or counts that do not close.
    """
    from ad_compressed_perception.replay.report_writer import REPORT_JSON
    from ad_compressed_perception.replay.session import require_no_problems
    from ad_compressed_perception.report.schemas.comparison import Report

    folders = [word for model in models for word in ("--models", model.manifest.folder)]
    variants = ",".join(f"{model.task}={model.compressed}" for model in models)
    verbs.run("replay", *words, *folders, "--variants", variants, "--allow-rejected")
    out = Path(str(words[words.index("--out") + 1]))
    require_no_problems(Report.read(out / REPORT_JSON), out)
