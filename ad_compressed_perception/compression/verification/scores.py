# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of a variant's results with the baseline's: one number in 0..1 for each task, with an interval.

| task         | agreement                                                                   |
|--------------|-----------------------------------------------------------------------------|
| detection    | F1 of the variant's objects against the baseline's, pooled over all frames  |
| segmentation | mean over labels of the IoU of their pixels, pooled over all frames         |
| planning     | share of frames whose path stays within a lateral tolerance                 |

A recipe may name the labels that count (``verify: {labels: [...]}``).

The baseline is the reference, so no labeled data is needed; agreement measures what compression changed, not
accuracy. The drop is ``1 - agreement``. The comparison may be limited to the labels that matter to the
vehicle; the others are then ignored.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.verification.informative import BaselineInformation
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.metrics.agreement import (
    MatchCounts,
    PlanningAgreement,
    SegmentationAgreement,
    planning_agreement,
    segmentation_agreement,
)
from ad_compressed_perception.metrics.iou import iou_per_class
from ad_compressed_perception.metrics.share_interval import independent_frames, share_interval
from ad_compressed_perception.metrics.unmatched import unmatched_objects
from ad_compressed_perception.pass_api.terms import VerifySpec

Indices = NDArray[np.int64]

# Two-sided 95 % point of the normal distribution, for Wilson's interval.
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class AgreementFigures:
    """Agreement of a variant with its baseline.

    Attributes:
        measure: its name.
        score: agreement in 0..1; NaN where nothing could be compared.
        drop: 1 - score.
        drop_low: lower end of the 95 % interval of the drop.
        drop_high: upper end.
        frames: frames compared.
        informative_frames: those on which the baseline is informative (``informative.py``).
        failed_frames: those on which the variant gave no result at all.
        details: the task's other figures.
    """

    measure: str
    score: float
    drop: float
    drop_low: float
    drop_high: float
    frames: int
    informative_frames: int
    failed_frames: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for YAML and JSON; NaN becomes None."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def block_length(frames: int) -> int:
    """Return the block length of the bootstrap over frames: the cube root of their number.

    Neighboring frames are alike and are resampled together. The order of the best length for a variance
    (Hall, Horowitz and Jing, "On blocking rules for the bootstrap with dependent data", Biometrika 82(3),
    1995).
    """
    return max(1, round(frames ** (1.0 / 3.0)))


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, JASA 22, 1927); its width is above 0 even at 0 and 1."""
    if trials == 0:
        return (0.0, 1.0)
    share = hits / trials
    z2 = _Z95 * _Z95
    center = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return (max(0.0, center - half), min(1.0, center + half))


class AgreementScore(ABC):
    """Collects results frame by frame; ``variant`` is None where the variant gave no result.

    Attributes:
        difference_unit: unit of ``differences``, as text.
        differences: for each frame how far apart the two results are, 0 for alike; by it frames are
            ranked. Infinite where the variant gave no result.
    """

    difference_unit: ClassVar[str]

    def __init__(self, information: BaselineInformation) -> None:
        self.differences: list[float] = []
        self._failed: list[bool] = []
        self._information = information

    def add(self, baseline: Result, variant: Result | None) -> None:
        """Compare one frame; raise DataError where the results cannot be compared."""
        difference = self._add(baseline, variant)
        self._information.add(baseline)
        self._failed.append(variant is None)
        self.differences.append(math.inf if variant is None else difference)

    def figures(self, frames: Indices | None = None) -> AgreementFigures:
        """Return the agreement over all frames so far, or over these of them, in the order of time.

        Args:
            frames: places of the frames in the order they were added.
        """
        chosen = np.arange(len(self._failed)) if frames is None else np.asarray(frames, np.int64)
        return self._figures(chosen, int(np.array(self._failed, bool)[chosen].sum()))

    @abstractmethod
    def _add(self, baseline: Any, variant: Any) -> float:
        """Compare one frame and return how far apart the results are."""

    @abstractmethod
    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return the agreement over these frames."""


class DetectionScore(AgreementScore):
    """F1 over all frames' objects; frames without an object on either side are not informative."""

    difference_unit = "scores of the objects that only one of the two found, added up"

    def __init__(self, iou: float, labels: Sequence[str] | None = None) -> None:
        """Match boxes that overlap by ``iou``, of these labels only where they are given."""
        super().__init__(BaselineInformation(labels=labels))
        self._iou = iou
        self._labels = labels
        self._counts: list[tuple[int, int, int]] = []

    def _add(self, baseline: Detections, variant: Detections | None) -> float:
        reference = _of_labels(baseline, self._labels)
        if variant is None:
            self._counts.append((0, len(reference.scores), 0))
            return math.inf
        compared = _of_labels(variant, self._labels)
        missed, extra = unmatched_objects(reference, compared, self._iou)
        matched = len(reference.scores) - len(missed)
        self._counts.append((matched, len(missed), len(extra)))
        return float(reference.scores[missed].sum() + compared.scores[extra].sum())

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return F1 with its block-bootstrap interval over frames."""
        counts = np.array(self._counts, dtype=np.int64).reshape(-1, 3)[frames]

        def drop(indices: Indices) -> float:
            matched, missed, extra = counts[indices].sum(axis=0)
            total = 2 * matched + missed + extra
            return float(1.0 - 2 * matched / total) if total else float("nan")

        value = drop(np.arange(len(counts)))
        low, high = share_interval(len(counts), drop, trials=float(counts[:, :2].sum()))
        only_variant = (counts[:, :2].sum(axis=1) == 0) & (counts[:, 2] > 0)
        overall = MatchCounts(*(int(number) for number in counts.sum(axis=0)))
        return AgreementFigures(
            f"F1 at IoU {self._iou:g}{_of_words(self._labels)}",
            1.0 - value,
            value,
            low,
            high,
            len(counts),
            int((self._information.flags()[frames] | only_variant).sum()),
            failed,
            {**asdict(overall), "precision": overall.precision, "recall": overall.recall},
        )


class SegmentationScore(AgreementScore):
    """Mean IoU of the pixels of all frames together.

    Pooled, as PASCAL VOC, CamVid and Cityscapes define it: averaged frame by frame, a label of five
    pixels in one frame would weigh as much as the road.
    """

    difference_unit = "share of the pixels that differ"

    def __init__(self, labels: Sequence[str] | None = None) -> None:
        """Compare these labels only, where they are given."""
        super().__init__(BaselineInformation(labels=labels))
        self._labels = labels
        self._names: tuple[str, ...] = ()
        self._confusions: list[NDArray[np.int64]] = []

    def _add(self, baseline: LabelMask, variant: LabelMask | None) -> float:
        # Without a result no pixel agrees: each gets another label than the baseline's.
        compared = variant or replace(
            baseline, label_ids=((baseline.label_ids + 1) % len(baseline.labels)).astype(np.uint8)
        )
        self._names = baseline.labels
        confusion = segmentation_agreement(baseline, compared).confusion
        self._confusions.append(confusion)
        ids = self._ids()
        concerned = confusion[ids].sum() + confusion[:, ids].sum() - confusion[np.ix_(ids, ids)].sum()
        right = confusion[ids, ids].sum()
        return float(concerned - right) / max(1, int(confusion.sum()))

    def _ids(self) -> list[int]:
        return [
            place for place, name in enumerate(self._names) if self._labels is None or name in self._labels
        ]

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return the mean IoU with its block-bootstrap interval over frames."""
        confusions = np.stack(self._confusions)[frames]
        ids, count = self._ids(), len(confusions)

        def score(indices: Indices) -> float:
            values = iou_per_class(confusions[indices].sum(axis=0))[ids]
            values = values[~np.isnan(values)]
            return float(values.mean()) if values.size else float("nan")

        pooled = SegmentationAgreement(self._names, confusions.sum(axis=0), count)
        value = score(np.arange(count))
        low, high = share_interval(count, lambda indices: 1.0 - score(indices))
        return AgreementFigures(
            f"{'mean IoU' if len(ids) != 1 else 'IoU'}{_of_words(self._labels)}",
            value,
            1.0 - value,
            low,
            high,
            count,
            int(self._information.flags()[frames].sum()),
            failed,
            {
                "differing_pixels_share": pooled.differing_pixels_share,
                "per_class_iou": pooled.per_class_iou,
            },
        )


class PlanningScore(AgreementScore):
    """Share of frames whose whole path lies within the tolerance of the baseline's."""

    difference_unit = "largest lateral offset of the path, m"

    def __init__(self, lateral_tolerance_m: float) -> None:
        super().__init__(BaselineInformation())
        self._tolerance_m = lateral_tolerance_m
        self._frames: list[PlanningAgreement | None] = []

    def _add(self, baseline: Trajectory, variant: Trajectory | None) -> float:
        agreement = None if variant is None else planning_agreement(baseline, variant)
        self._frames.append(agreement)
        return math.inf if agreement is None else agreement.max_lateral_offset_m

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return the share with the wider of the bootstrap's and Wilson's intervals.

        A bootstrap of frames that all agree has no width at all, however few they are; Wilson's interval
        has one, but ignores that neighboring frames are correlated.
        """
        chosen = [self._frames[place] for place in frames]
        outside = np.array(
            [one is None or one.max_lateral_offset_m > self._tolerance_m for one in chosen], np.float64
        )
        offsets_m = np.array([np.inf if one is None else one.max_lateral_offset_m for one in chosen])
        low, high = share_interval(
            len(outside), lambda drawn: float(outside[drawn].mean()), trials=independent_frames(offsets_m)
        )
        details = {"lateral_tolerance_m": self._tolerance_m}
        known = [one for one in chosen if one is not None]
        if known:
            pooled = known[0]
            for one in known[1:]:
                pooled = pooled + one
            details.update(
                ade_m=pooled.ade_m,
                fde_m=pooled.fde_m,
                mean_lateral_offset_m=pooled.mean_lateral_offset_m,
                max_lateral_offset_m=pooled.max_lateral_offset_m,
            )
        return AgreementFigures(
            f"share of frames within {self._tolerance_m:g} m",
            float(1.0 - outside.mean()),
            float(outside.mean()),
            low,
            high,
            len(outside),
            int(self._information.flags()[frames].sum()),
            failed,
            details,
        )


def _of_labels(detections: Detections, labels: Sequence[str] | None) -> Detections:
    """Return the objects of these labels, in the same order; all of them for None."""
    if labels is None:
        return detections
    is_chosen = np.array([name in labels for name in detections.labels], bool)
    kept = is_chosen[detections.class_ids]
    return Detections(
        detections.boxes_xyxy[kept], detections.scores[kept], detections.class_ids[kept], detections.labels
    )


def _of_words(labels: Sequence[str] | None) -> str:
    return "" if labels is None else f" of {', '.join(labels)}"


def create_score(manifest: Manifest, spec: VerifySpec) -> AgreementScore:
    """Return the score of a manifest's task.

    Raises:
        RecipeError: ``labels`` names one that the model does not have, or the task has no labels.
    """
    if spec.labels is not None:
        unknown = sorted(set(spec.labels) - set(manifest.labels))
        if manifest.task == "planning":
            raise RecipeError("verify.labels: planning has no labels to compare; take the key out")
        if unknown:
            raise RecipeError(
                f"verify.labels: {manifest.name!r} has no label {', '.join(map(repr, unknown))}; it has: "
                f"{', '.join(manifest.labels)}"
            )
    if manifest.task == "detection":
        return DetectionScore(spec.iou, spec.labels)
    if manifest.task == "segmentation":
        return SegmentationScore(spec.labels)
    return PlanningScore(spec.lateral_tolerance_m)
