# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Baseline and variant on labeled data: loss of accuracy, overall and in slices.

The loss of a figure that is a share (mAP, IoU, correlation) is ``100 (baseline - variant)`` points; that of
an error (RMSE, MAE) is ``100 (variant / baseline - 1)`` percent. Both models are resampled by the same
frames, so the interval is that of the paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.accuracy import AccuracyScore, Indices, create_accuracy
from ad_compressed_perception.analysis.evaluate import (
    DETECTION_SETTINGS,
    LEVEL,
    collect,
    use_settings,
)
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.frame_log import brightness, label_edges
from ad_compressed_perception.compression.verification.gate import AccuracyDrop
from ad_compressed_perception.compression.verification.slices import SliceRule, choose_slices
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.labeled.classes import GroundTruthClass
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame, choose_indices
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.metrics.average_precision import GroundTruthBoxes
from ad_compressed_perception.metrics.bootstrap import vector_bootstrap
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.pass_api.terms import AcceptSpec
from ad_compressed_perception.tasks.pipeline import Pipeline

_MAIN_METRICS = {
    "detection": "map",
    "segmentation": "miou",
    "planning": "rmse_rad",
    "classification": "accuracy",
}
_PATH_METRIC = "ade_m"
"""Preferred to the steering error where the data has trajectories: the path is what the vehicle follows."""


@dataclass(frozen=True)
class LabeledChoice:
    """Labeled data to measure accuracy on, and which part of it, as ``adcp evaluate`` takes them.

    Attributes:
        spec: FOLDER, LABELS or LABELS@FRAMES.
        label_map: file or shipped name of the map from the data's names to the model's labels.
        from_share: share of the data, 0..1, to begin at.
        to_share: share to end at.
        limit: most frames, at even steps.
        tolerance_ms: planning: farthest label taken for a frame.
        max_bad_frames: how many frames may be left out because they cannot be read; None for a tenth.
    """

    spec: str
    label_map: str | None = None
    from_share: float = 0.0
    to_share: float = 1.0
    limit: int | None = None
    tolerance_ms: float = 50.0
    max_bad_frames: BadFrameLimit | None = None


@dataclass(frozen=True)
class LabeledFrames:
    """Opened labeled data, the frames chosen, and the metric that the gate uses."""

    data: LabeledData
    indices: list[int]
    metric: str


@dataclass(frozen=True)
class AccuracyComparison:
    """Figures of both on some frames.

    Attributes:
        frames: how many.
        baseline: name to value with interval.
        variant: likewise.
        drop: name to the loss, paired.
    """

    frames: int
    baseline: dict[str, Interval]
    variant: dict[str, Interval]
    drop: dict[str, AccuracyDrop]


@dataclass(frozen=True)
class LabeledCheck:
    """The comparison on labeled data.

    Attributes:
        labeled: the data.
        overall: over all its frames.
        slices: over tenths of them; their attributes come from the labels.
        settings: of the detection task.
        resamples: bootstrap resamples of each interval.
        block_length: neighboring frames that are resampled together.
        notes: for the reader, in sentences.
        failed_frames: labeled frames on which the variant gave no result; no figure includes them.
    """

    labeled: LabeledFrames
    overall: AccuracyComparison
    slices: dict[SliceRule, AccuracyComparison]
    settings: dict[str, Any]
    resamples: int
    block_length: int
    notes: list[str]
    failed_frames: int = 0

    @property
    def gate_drop(self) -> AccuracyDrop:
        """The loss that the gate uses."""
        return replace(self.overall.drop[self.labeled.metric], failed_frames=self.failed_frames)


def open_choice(
    manifest: Manifest,
    recipe: LoadedRecipe,
    choice: LabeledChoice | None,
    accept: AcceptSpec | None = None,
) -> LabeledFrames | None:
    """Open labeled data and find the metric of the accept terms; None where no data was given.

    Args:
        manifest: the model, or one head of it.
        recipe: what it is compressed by.
        choice: which data.
        accept: terms of the head; None for the recipe's.

    Raises:
        RecipeError: the recipe limits accuracy and no data was given, or names a metric the task lacks.
        DataError: the data is missing, malformed or empty.
    """
    accept = accept or recipe.recipe.accept
    if choice is None:
        if accept.max_accuracy_drop is not None:
            raise RecipeError(
                f"recipe {recipe.path} asks for max_accuracy_drop, which needs labeled data: give it, or "
                "take the term out"
            )
        return None
    return open_labels(manifest, choice, accept.accuracy_metric, recipe.recipe.verify.labels)


def open_labels(
    manifest: Manifest,
    choice: LabeledChoice,
    metric: str | None,
    evaluated_labels: Sequence[str] | None = None,
) -> LabeledFrames:
    """Open labeled data with the metric for the gate.

    Args:
        manifest: the model.
        choice: which data.
        metric: its name; None for the task's own.
        evaluated_labels: detection without a label map: the labels that count; None for all.

    Raises:
        RecipeError: the task has no such figure.
        DataError: the data is missing, malformed or empty.
    """
    data = open_labeled(choice.spec, manifest, choice.label_map, choice.tolerance_ms, evaluated_labels)
    indices = choose_indices(len(data), choice.from_share, choice.to_share, choice.limit)
    indices = data.readable(indices, choice.max_bad_frames)
    known = create_accuracy(data).names
    gate_metric = metric or (_PATH_METRIC if _PATH_METRIC in known else _MAIN_METRICS[manifest.task])
    if gate_metric not in known:
        raise RecipeError(
            f"accept.accuracy_metric: {manifest.task} on {data.describe} has no figure {gate_metric!r}; "
            f"it has: {', '.join(known)}"
        )
    return LabeledFrames(data, indices, gate_metric)


def check_labeled(
    baseline: Pipeline,
    variant: Pipeline,
    labeled: LabeledFrames,
    advance: Advance = no_advance,
) -> LabeledCheck:
    """Run both over the labeled frames and compare.

    A detector's settings become those of published figures (low-score boxes count), in both pipelines.

    Raises:
        DataError: a frame or label cannot be read or compared.
        ResultError: the baseline gives no valid result on a frame, or the variant on none of them.
        AdcpError: a runtime failed.
    """
    data, indices = labeled.data, labeled.indices
    attributes: dict[str, list[float]] = {"brightness": [], "object_density": [], "steering_magnitude": []}

    def watch(_index: int, item: LabeledFrame, _result: Any) -> None:
        attributes["brightness"].append(brightness(item.frame))
        for name, value in _attributes_of_ground_truth(item.ground_truth).items():
            attributes[name].append(value)

    def steps(done_before: int) -> Advance:
        return lambda count, _: advance(done_before + count, 2 * len(indices))

    if data.task == "detection":
        for pipeline in (baseline, variant):
            use_settings(pipeline, **DETECTION_SETTINGS)
    # The variant first: frames on which it fails cannot be compared, and reject it.
    failed: list[int] = []
    second = collect(variant, data, indices, steps(0), failed=failed)
    left = [index for index in indices if index not in set(failed)]
    first = collect(baseline, data, left, steps(len(indices)), watch)
    scores = (first, second)
    block = max(score.block_length() for score in scores) if data.is_series else 1
    slices = choose_slices({name: np.array(values) for name, values in attributes.items() if values})
    return LabeledCheck(
        labeled,
        compare_scores(first, second, np.arange(first.samples), block),
        # Frames of a slice are seldom neighbors, so the blocks are shorter.
        {rule: compare_scores(first, second, places, max(1, block // 10)) for rule, places in slices.items()},
        dict(DETECTION_SETTINGS) if data.task == "detection" else {},
        first.resamples,
        block,
        [*data.notes, *first.notes(), *_note_of_failures(len(failed), len(indices))],
        len(failed),
    )


def _note_of_failures(failed: int, asked: int) -> list[str]:
    if not failed:
        return []
    return [f"The variant gave no result on {failed} of {asked} labeled frames, which no figure includes."]


def _attributes_of_ground_truth(ground_truth: Any) -> dict[str, float]:
    if isinstance(ground_truth, GroundTruthBoxes):
        return {"object_density": float((~ground_truth.is_crowd).sum())}
    if isinstance(ground_truth, np.ndarray):
        return {"object_density": label_edges(ground_truth)}
    if isinstance(ground_truth, GroundTruthClass):
        return {}
    return {"steering_magnitude": abs(float(ground_truth))}


def compare_scores(
    first: AccuracyScore, second: AccuracyScore, places: NDArray[np.int64], block: int
) -> AccuracyComparison:
    """Return the figures of both on these frames; all share one set of bootstrap resamples."""
    names, lower = first.names, [name in first.lower_is_better for name in first.names]

    def statistics(drawn: Indices) -> NDArray[np.float64]:
        one = np.asarray(first.figures(places[drawn]), np.float64)
        other = np.asarray(second.figures(places[drawn]), np.float64)
        return np.concatenate([one, other, _drops(one, other, lower)])

    values = statistics(np.arange(len(places)))
    intervals = vector_bootstrap(len(places), statistics, first.resamples, 0, LEVEL, block)
    count = len(names)
    figures = [Interval(float(value), *interval) for value, interval in zip(values, intervals, strict=True)]
    least = first.of_nothing()
    drop = {
        name: AccuracyDrop(
            name,
            "percent" if is_error else "points",
            one.value,
            one.low,
            one.high,
            len(places),
            to_lose=math.inf if is_error else 100.0 * (figures[row].value - least.get(name, 0.0)),
        )
        for row, (name, is_error, one) in enumerate(zip(names, lower, figures[2 * count :], strict=True))
    }
    return AccuracyComparison(
        len(places),
        dict(zip(names, figures[:count], strict=True)),
        dict(zip(names, figures[count : 2 * count], strict=True)),
        drop,
    )


def _drops(
    baseline: NDArray[np.float64], variant: NDArray[np.float64], lower_is_better: Sequence[bool]
) -> NDArray[np.float64]:
    """Return how much worse the variant is: points of a share, percent of an error (NaN where it is 0)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(baseline > 0.0, 100.0 * (variant / baseline - 1.0), np.nan)
    return np.where(lower_is_better, relative, 100.0 * (baseline - variant))
