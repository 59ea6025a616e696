# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a variant on labeled data, and of two variants against each other, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ad_compressed_perception.analysis.accuracy import AccuracyScore, Indices, create_accuracy
from ad_compressed_perception.analysis.output_plausibility import check_outputs, choose_evenly
from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.errors import DataError, ImageError, ResultError
from ad_compressed_perception.core.manifest import VerdictStatus
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame
from ad_compressed_perception.metrics.bootstrap import vector_bootstrap
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.evaluation import IntervalMethod, VariantAccuracy
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_compressed_perception.tasks.planning import PlanningTask

LEVEL = 0.95
Watch = Callable[[int, LabeledFrame, Any], None]
"""Called with a frame's index in the data, the frame, and the variant's result on it."""
DETECTION_SETTINGS = {"score_threshold": 0.01, "nms_iou_threshold": 0.65, "max_detections": 100}
"""Settings of published detector figures: average precision needs the low-score boxes too.

As in the evaluation of YOLOX (Ge et al., arXiv:2107.08430). A node's defaults differ: in driving a
low-score box is a false alarm.
"""


@dataclass(frozen=True)
class EvaluationResult:
    """Accuracy of a variant.

    Attributes:
        model: the manifest's name.
        variant: the variant's name.
        task: detection, segmentation, planning or classification.
        data: where the labeled frames come from.
        indices: which of them were used.
        info: the loaded model's runtime, provider and precision.
        settings: the task's settings in use.
        figures: name to value and interval.
        per_class: class to further figures.
        resamples: bootstrap resamples of each interval.
        block_length: frames that were resampled together.
        notes: for the reader, in sentences.
        score: the frames' results, for comparisons.
        confusion: classification: class to the number of its frames by the class found.
    """

    model: str
    variant: str
    task: str
    data: str
    indices: tuple[int, ...]
    info: SessionInfo
    settings: dict[str, Any]
    figures: dict[str, Interval]
    per_class: dict[str, dict[str, float]]
    resamples: int
    block_length: int
    notes: list[str]
    score: AccuracyScore = field(repr=False, compare=False)
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)

    def document(self, verdict: VerdictStatus | None = None) -> VariantAccuracy:
        """Return it as a document has it, without data and settings, which are the same for all variants."""
        method = copied(IntervalMethod, self, level=LEVEL)
        return copied(VariantAccuracy, self, self.info, verdict=verdict, interval=method)


def evaluate(
    pipeline: Pipeline,
    data: LabeledData,
    indices: Sequence[int] | None = None,
    advance: Advance | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> EvaluationResult:
    """Run a variant over labeled frames.

    Frames of a drive are alike from one to the next, so the intervals of a series come from a
    moving-block bootstrap, whose blocks are as long as the errors are correlated; resampling single
    frames would give intervals that are far too narrow.

    Args:
        pipeline: the loaded variant; its task's settings apply as they are.
        data: labeled frames of its task.
        indices: which of them, ascending; all when None.
        advance: called with the frames done and all of them.
        seed: of the bootstrap.
        watch: called with every frame and its result.

    Raises:
        DataError: the data is for another task, or a frame cannot be read or compared.
        OutputError: the baseline's outputs are not what its decoder expects.
    """
    manifest = pipeline.task.manifest
    settings = pipeline.task.settings.model_dump()
    chosen = tuple(range(len(data)) if indices is None else indices)
    if pipeline.variant == manifest.baseline:
        shown = (item.frame for item in data.items(choose_evenly(chosen)))
        check_outputs(pipeline, shown, data.describe)
    score = collect(pipeline, data, chosen, advance, watch)
    subject = Subject(
        manifest.name,
        pipeline.variant,
        pipeline.session.info,
        settings if manifest.task == "detection" else {},
    )
    return summarize(score, data, chosen, subject, seed)


@dataclass(frozen=True)
class Subject:
    """What was evaluated; see EvaluationResult."""

    model: str
    variant: str
    info: SessionInfo
    settings: dict[str, Any]


def summarize(
    score: AccuracyScore, data: LabeledData, indices: tuple[int, ...], subject: Subject, seed: int = 0
) -> EvaluationResult:
    """Return the figures of a finished score with their intervals.

    Args:
        score: of the frames ``indices`` of ``data``.
        data: the labeled frames.
        indices: which of them.
        subject: what was evaluated.
        seed: of the bootstrap.
    """
    block = score.block_length() if data.is_series else 1
    intervals = vector_bootstrap(score.samples, score.figures, score.resamples, seed, LEVEL, block)
    figures = {
        name: Interval(value, *interval)
        for name, value, interval in zip(score.names, score.figures(), intervals, strict=True)
    }
    return EvaluationResult(
        model=subject.model,
        variant=subject.variant,
        task=data.task,
        data=data.describe,
        indices=indices,
        info=subject.info,
        settings=subject.settings,
        figures=figures,
        per_class=score.per_class(),
        resamples=score.resamples,
        block_length=block,
        notes=[*data.notes, *score.notes()],
        score=score,
        confusion=score.confusion(),
    )


def collect(
    pipeline: Pipeline,
    data: LabeledData,
    indices: Sequence[int],
    advance: Advance | None = None,
    watch: Watch | None = None,
    failed: list[int] | None = None,
) -> AccuracyScore:
    """Run a variant over labeled frames and return its score, finished.

    Args:
        pipeline: the loaded variant; its task's settings apply as they are.
        data: labeled frames of its task.
        indices: which of them, ascending.
        advance: called with the frames done and all of them.
        watch: called with every frame that has a result.
        failed: gets the indices of the frames on which the variant gives no valid result, which are then
            left out; None: the first one is an error.

    Raises:
        DataError: as evaluate.
        ResultError: the variant gives no valid result on a frame, or on none of them.
    """
    manifest = pipeline.task.manifest
    if data.task != manifest.task:
        raise DataError(
            f"data for {data.task} cannot evaluate {manifest.name!r}, which is for {manifest.task}"
        )
    score = create_accuracy(data, pipeline.task.settings.model_dump().get("max_detections", 100))
    for done, (index, item) in enumerate(zip(indices, data.items(indices), strict=False), start=1):
        if item.speed_mps is not None and isinstance(pipeline.task, PlanningTask):
            pipeline.task.observe_speed(item.speed_mps)
        try:
            result, _ = pipeline.run(item.frame)
        except ImageError as cause:
            raise DataError(f"frame {index} of {data.describe}: {cause}") from cause
        except ResultError as cause:
            if failed is None or (not score.samples and done == len(indices)):
                raise ResultError(
                    f"{pipeline.variant} on frame {index} of {data.describe}: {cause}"
                ) from cause
            failed.append(index)
            continue
        score.add(result, item.ground_truth)
        if watch is not None:
            watch(index, item, result)
        if advance is not None:
            advance(done, len(indices))
    if score.samples == 0:
        raise DataError(f"{data.describe}: no frame to evaluate")
    score.finish()
    return score


def compare(reference: EvaluationResult, candidate: EvaluationResult, seed: int = 0) -> dict[str, Interval]:
    """Return candidate minus reference for every figure, with the interval of the paired difference.

    Both are resampled by the same frames, so that what makes a frame hard for both cancels out: the
    interval is narrower than those of the two figures, and it decides whether
    compression cost anything.

    Raises:
        DataError: they are not results on the same frames.
    """
    first, second = reference.score, candidate.score
    if (reference.data, reference.indices) != (candidate.data, candidate.indices):
        raise DataError(f"{reference.variant} and {candidate.variant} were not evaluated on the same frames")
    if first.names != second.names:
        raise DataError(f"{reference.variant} and {candidate.variant} do not have the same figures")

    def difference(indices: Indices | None) -> Any:
        return np.subtract(second.figures(indices), first.figures(indices))

    block = max(reference.block_length, candidate.block_length)
    intervals = vector_bootstrap(first.samples, difference, first.resamples, seed, LEVEL, block)
    return {
        name: Interval(float(value), *interval)
        for name, value, interval in zip(first.names, difference(None), intervals, strict=True)
    }


def use_settings(pipeline: Pipeline, **values: Any) -> None:
    """Set settings of a pipeline's task, leaving the others; ManifestError names an unknown or wrong one."""
    task = pipeline.task
    task.settings = task.parse_settings({**task.settings.model_dump(), **values})
