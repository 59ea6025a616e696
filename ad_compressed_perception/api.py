# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The package from Python: load a model and call it, compress, evaluate and compare.

``import ad_compressed_perception as adcp`` offers these names and imports this module when one of them is
used. Each function does what the verb of the command line of its name does, with the same checks, and
returns the library's own results. Everything that a user can fix is raised as an AdcpError of one line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ad_compressed_perception.core.errors import AdcpError, DataError, ManifestError
from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, load_manifest
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.core.resources import models_folder
from ad_compressed_perception.core.results import (
    Classification,
    Detections,
    HeadResults,
    LabelMask,
    RawOutputs,
    Result,
    Trajectory,
)
from ad_compressed_perception.tasks.loaded_model import Model

if TYPE_CHECKING:
    from ad_compressed_perception.analysis.evaluate import EvaluationResult
    from ad_compressed_perception.compression.recipe import LoadedRecipe
    from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice
    from ad_compressed_perception.compression.verification.outcome import CompressionResult
    from ad_compressed_perception.compression.verification.verify import Verification
    from ad_compressed_perception.metrics.interval import Interval
    from ad_compressed_perception.pass_api.terms import VerifySpec

__all__ = [
    "AdcpError",
    "Classification",
    "Detections",
    "Evaluation",
    "HeadResults",
    "LabelMask",
    "Model",
    "RawOutputs",
    "Result",
    "Trajectory",
    "compare",
    "compress",
    "evaluate",
    "load",
]

PathLike: TypeAlias = str | os.PathLike[str]

COMPARED_FRAMES = 100
"""Frames that ``compare`` runs, as many as a recipe verifies on by default."""


def load(
    model: PathLike,
    variant: str | None = None,
    *,
    backend: str | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    work: PathLike | None = None,
    allow_rejected: bool = False,
) -> Model:
    """Load a variant of a model after all checks that a node makes: hash, verdict, contract of its tensors.

    Args:
        model: folder with a ``model.yaml``, or a model file, which is imported into the work folder first; a
            model that ships with the package also by its name.
        variant: its name; ``"accepted"`` for the first accepted one that runs here; the baseline when None.
            Variants that ``compress`` made are found in the work folder.
        backend: runs the variant's file on another runtime than it was made for.
        options: of the backend, such as ``{"threads": 2}``; they override the manifest's.
        settings: of the task, such as ``{"score_threshold": 0.3}``; they override the manifest's.
        work: work folder; None for ``$ADCP_WORK`` or ``./adcp_work``.
        allow_rejected: load a variant that its accept gate rejected.

    Raises:
        AdcpError: no such model or variant, an altered file, a rejected variant, a runtime that is missing.
    """
    from ad_compressed_perception.tasks.pipeline import open_pipeline

    manifest, (name,) = _find(model, work, [variant])
    pipeline = open_pipeline(manifest, name, backend=backend, options=options, allow_rejected=allow_rejected)
    try:
        if settings:
            from ad_compressed_perception.analysis.evaluate import use_settings

            use_settings(pipeline, **settings)
    except BaseException:
        pipeline.close()
        raise
    return Model(manifest, pipeline)


def compress(
    model: PathLike,
    recipe: str | os.PathLike[str] | LoadedRecipe,
    calibration: PathLike,
    *,
    frames: int | None = None,
    name: str | None = None,
    work: PathLike | None = None,
    in_place: bool = False,
    backend: str | None = None,
    data: PathLike | LabeledChoice | None = None,
    progress: Progress = no_progress,
) -> CompressionResult:
    """Compress a model's baseline by a recipe, verify the result and store it with its verdict and report.

    A variant that its accept gate rejects is stored and marked: look at ``result.verdict.status``.

    Args:
        model: folder with a ``model.yaml``, or a model file.
        recipe: name of a shipped recipe such as ``"static_int8"``, a recipe file, or a loaded recipe.
        calibration: BAG, BAG:TOPIC or a folder of images; some of its frames calibrate, others verify.
        frames: frames to calibrate on; None for the recipe's number.
        name: of the variant; None for the recipe's.
        work: folder that variants go to; None for ``$ADCP_WORK`` or ``./adcp_work``.
        in_place: store the variant in the model's own folder instead.
        backend: runs the variant instead of the recipe's.
        data: labeled data to measure accuracy on; of a model with several heads ``HEAD=SPEC[,HEAD=SPEC]``.
        progress: called with (step, done, total).

    Raises:
        AdcpError: anything wrong with the model, the recipe, the frames or the folders.
    """
    from ad_compressed_perception.cli.models import loadable_model
    from ad_compressed_perception.compression.compress import compress_model
    from ad_compressed_perception.compression.recipe import LoadedRecipe, load_recipe

    if frames is not None and frames < 1:
        raise DataError(f"frames is {frames}: compress calibrates on at least one")
    loaded = recipe if isinstance(recipe, LoadedRecipe) else load_recipe(os.fspath(recipe))
    folder, source = _path(work), os.fspath(calibration)
    return compress_model(
        loadable_model(_place(model), folder, source, in_place=in_place),
        loaded,
        source,
        frames=frames,
        name=name,
        work=folder,
        in_place=in_place,
        backend=backend,
        labeled=None if data is None else _choice(data),
        progress=progress,
    )


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of variants on labeled data.

    Attributes:
        results: variant to its figures, each with a 95 % interval.
        differences: variant to figure minus that of the first variant, with the interval of the paired
            difference; without the first variant.
    """

    results: dict[str, EvaluationResult]
    differences: dict[str, dict[str, Interval]]


def evaluate(
    model: PathLike,
    data: PathLike | LabeledChoice,
    variants: str | Sequence[str] | None = None,
    *,
    head: str | None = None,
    backend: str | None = None,
    settings: Mapping[str, Any] | None = None,
    work: PathLike | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Measure the accuracy of variants on labeled data; rejected variants take part.

    Args:
        model: folder with a ``model.yaml``, or a model file.
        data: FOLDER, LABELS or LABELS@FRAMES as ``adcp evaluate --data`` takes them, or a LabeledChoice,
            which also has the label map and the part of the data.
        variants: names; those after the first are compared with it. The baseline when None.
        head: of a model with several heads: the one that the data is for.
        backend: runs all of them instead of their own.
        settings: of the task; detection has the thresholds of published figures where they are not given.
        work: work folder; None for ``$ADCP_WORK`` or ``./adcp_work``.
        progress: called with (variant, done, total).

    Raises:
        AdcpError: no such model or variant, data that is missing, malformed or of another task.
    """
    from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS
    from ad_compressed_perception.analysis.evaluate import compare as difference
    from ad_compressed_perception.analysis.evaluate_variants import evaluate_variants
    from ad_compressed_perception.data.labeled.dataset import choose_indices
    from ad_compressed_perception.data.labeled.open import open_labeled
    from ad_compressed_perception.tasks.pipeline import of_head, open_head

    given = variants.split(",") if isinstance(variants, str) else list(variants or [])
    manifest, names = _find(model, work, [name.strip() for name in given if name.strip()] or [None])
    choice = _choice(data)
    whole, manifest = manifest, of_head(manifest, head, "head")
    labeled = open_labeled(choice.spec, manifest, choice.label_map, choice.tolerance_ms)
    chosen = choose_indices(len(labeled), choice.from_share, choice.to_share, choice.limit)
    measured = evaluate_variants(
        lambda name: open_head(whole, head, name, backend=backend, allow_rejected=True),
        names,
        labeled,
        labeled.readable(chosen, choice.max_bad_frames),
        {**(DETECTION_SETTINGS if manifest.task == "detection" else {}), **(settings or {})},
        progress=progress,
    )
    return Evaluation(
        {result.variant: result for result in measured},
        {result.variant: difference(measured[0], result) for result in measured[1:]},
    )


def compare(
    model: PathLike,
    frames: PathLike,
    variant: str = "accepted",
    *,
    limit: int = COMPARED_FRAMES,
    verify: VerifySpec | None = None,
    work: PathLike | None = None,
    progress: Progress = no_progress,
) -> Verification:
    """Run a variant and its baseline side by side on camera frames: agreement and times, without labels.

    Both run on every frame in changing order. Frames that calibrated the variant flatter it; use others.

    Args:
        model: folder with a ``model.yaml``, or a model file.
        frames: BAG, BAG:TOPIC, video file or folder of images.
        variant: its name, or ``"accepted"``; a rejected one may be named.
        limit: most frames, at even steps.
        verify: terms of agreement; None for a recipe's defaults.
        work: work folder; None for ``$ADCP_WORK`` or ``./adcp_work``.
        progress: called with (step, done, total).

    Raises:
        AdcpError: no such model, variant or frames; the variant is the baseline; the baseline says the same
            on every frame, so that any variant would agree with it.
    """
    from ad_compressed_perception.analysis.output_plausibility import check_outputs, choose_evenly
    from ad_compressed_perception.compression.frame_split import FrameSample
    from ad_compressed_perception.compression.verification.informative import refuse_uninformative
    from ad_compressed_perception.compression.verification.task_scores import create_score
    from ad_compressed_perception.compression.verification.verify import verify as run_verification
    from ad_compressed_perception.data.input_frames import open_model_frames
    from ad_compressed_perception.pass_api.terms import VerifySpec
    from ad_compressed_perception.tasks.pipeline import open_pipeline

    manifest, (name,) = _find(model, work, [variant])
    if name == manifest.baseline:
        raise ManifestError(
            f"{name!r} is the baseline of {manifest.name!r}: name a variant to compare it with"
        )
    if limit < 1:
        raise DataError(f"limit is {limit}: compare needs at least one frame")
    score = create_score(manifest, verify or VerifySpec())
    opened = open_model_frames(manifest, os.fspath(frames))
    sample = FrameSample(opened, opened.readable(choose_evenly(range(len(opened)), limit)))
    with ExitStack() as stack:
        pair = [
            stack.enter_context(closing(open_pipeline(manifest, each, allow_rejected=True)))
            for each in (manifest.baseline, name)
        ]
        check_outputs(pair[0], opened.frames(choose_evenly(sample.indices)), opened.describe)
        refuse_uninformative(pair[0], manifest, sample, partial(progress, "baseline"))
        return run_verification(pair[0], pair[1], sample, score, partial(progress, "compare"))


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def _choice(data: PathLike | LabeledChoice) -> LabeledChoice:
    from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice

    return data if isinstance(data, LabeledChoice) else LabeledChoice(os.fspath(data))


def _place(model: PathLike) -> Path:
    """Return the path of a model folder or file, or of a shipped model given by its name."""
    path, shipped = Path(model).expanduser(), models_folder()
    is_name = path in (Path(path.name), Path("models", path.name))
    if shipped is not None and is_name and not path.exists():
        return shipped / path.name if (shipped / path.name / MANIFEST_NAME).is_file() else path
    return path


def _find(
    model: PathLike, work: PathLike | None, variants: Sequence[str | None]
) -> tuple[Manifest, list[str]]:
    """Return the manifest, the model's own or the work folder's, that has all variants, and their names."""
    from ad_compressed_perception.backends.choose_variant import ACCEPTED, find_variant
    from ad_compressed_perception.cli.model_file import folder_of
    from ad_compressed_perception.workspace.find import find_all
    from ad_compressed_perception.workspace.store import find_variants

    folder = _path(work)
    manifest = load_manifest(folder_of(_place(model), folder))
    names = list(dict.fromkeys(manifest.baseline if name is None else name for name in variants))
    if ACCEPTED not in names:
        return find_variants(manifest, folder, names), names
    holders = {id(one): one for one in find_all(manifest, folder).values()}  # the model's own comes first
    refusals = []
    for holder in holders.values():
        try:
            chosen = [find_variant(holder, name) for name in names]
        except ManifestError as error:
            refusals.append(error)
        else:
            return holder, list(dict.fromkeys(chosen))
    raise refusals[-1]
