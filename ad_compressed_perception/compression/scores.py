# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far a variant's results agree with the baseline's, as one number a task in 0..1, with an interval.

| task         | agreement                                                                   |
|--------------|-----------------------------------------------------------------------------|
| detection    | F1 of the variant's objects against the baseline's, pooled over all frames  |
| segmentation | mean over labels of the IoU of their pixels, pooled over all frames         |
| planning     | share of frames whose path stays within a lateral tolerance                 |

The baseline plays the truth, so this needs no labels; it says what compression changed, not what is
right. The drop is ``1 - agreement``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.recipe import VerifySpec
from ad_compressed_perception.manifest import Manifest
from ad_compressed_perception.metrics.agreement import (
    DetectionAgreement,
    PlanningAgreement,
    SegmentationAgreement,
    detection_agreement,
    planning_agreement,
    segmentation_agreement,
)
from ad_compressed_perception.metrics.bootstrap import paired_bootstrap
from ad_compressed_perception.results import Detections, LabelMask, Result, Trajectory

# Two-sided 95 % point of the normal distribution, for Wilson's interval.
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class AgreementFigures:
    """Agreement of a variant with its baseline.

    Attributes:
        measure: what was measured, in words.
        score: agreement in 0..1; NaN where nothing could be compared.
        drop: 1 - score.
        drop_low: lower end of the 95 % interval of the drop.
        drop_high: upper end.
        frames: frames compared.
        telling_frames: those that could have shown a difference.
        failed_frames: those on which the variant gave no result at all.
        details: the task's other figures.
    """

    measure: str
    score: float
    drop: float
    drop_low: float
    drop_high: float
    frames: int
    telling_frames: int
    failed_frames: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for YAML and JSON; NaN becomes None."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def block_length(frames: int) -> int:
    """Neighbouring frames are alike and are drawn together, in runs of the cube root of their number.

    The order of the best length for a variance (Hall, Horowitz and Jing, "On blocking rules for the
    bootstrap with dependent data", Biometrika 82(3), 1995).
    """
    return max(1, round(frames ** (1.0 / 3.0)))


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, JASA 22, 1927); it has a width even at 0 and 1."""
    if trials == 0:
        return (0.0, 1.0)
    share = hits / trials
    z2 = _Z95 * _Z95
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return (max(0.0, centre - half), min(1.0, centre + half))


class AgreementScore(ABC):
    """Collects frame after frame; ``candidate`` is None where the variant gave no result."""

    def __init__(self) -> None:
        self._failed = 0

    def add(self, baseline: Result, candidate: Result | None) -> None:
        """Compare one frame; raise DataError where the results cannot be compared."""
        self._failed += candidate is None
        self._add(baseline, candidate)

    @abstractmethod
    def _add(self, baseline: Any, candidate: Any) -> None:
        """Compare one frame."""

    @abstractmethod
    def figures(self) -> AgreementFigures:
        """Return the agreement over all frames so far."""


class DetectionScore(AgreementScore):
    """F1 over all frames' objects; frames without an object on either side tell nothing."""

    def __init__(self, iou: float) -> None:
        super().__init__()
        self._iou = iou
        self._pooled = DetectionAgreement()
        self._counts: list[tuple[int, int, int]] = []

    def _add(self, baseline: Detections, candidate: Detections | None) -> None:
        if candidate is None:
            self._counts.append((0, len(baseline.scores), 0))
            return
        agreement = detection_agreement(baseline, candidate, iou=self._iou)
        self._pooled += agreement
        counts = agreement.overall
        self._counts.append((counts.matched, counts.missed, counts.extra))

    def figures(self) -> AgreementFigures:
        """Return F1 with the interval of frames drawn again in runs."""
        counts = np.array(self._counts, dtype=np.int64).reshape(-1, 3)

        def drop(indices: NDArray[np.int64]) -> float:
            matched, missed, extra = counts[indices].sum(axis=0)
            total = 2 * matched + missed + extra
            return float(1.0 - 2 * matched / total) if total else float("nan")

        value = drop(np.arange(len(counts)))
        low, high = paired_bootstrap(len(counts), drop, block_length=block_length(len(counts)))
        matched, missed, extra = (int(number) for number in counts.sum(axis=0))
        overall = self._pooled.overall
        return AgreementFigures(
            f"F1 at IoU {self._iou:g}",
            1.0 - value,
            value,
            low,
            high,
            len(counts),
            int(counts.any(axis=1).sum()),
            self._failed,
            {
                "matched": matched,
                "missed": missed,
                "extra": extra,
                "precision": overall.precision,
                "recall": matched / (matched + missed) if matched + missed else 1.0,
            },
        )


class SegmentationScore(AgreementScore):
    """Mean IoU of the pixels of all frames together.

    Pooled, as PASCAL VOC, CamVid and Cityscapes define it: averaged frame by frame, a label of five
    pixels in one frame would weigh as much as the road.
    """

    def __init__(self) -> None:
        super().__init__()
        self._frames: list[SegmentationAgreement] = []

    def _add(self, baseline: LabelMask, candidate: LabelMask | None) -> None:
        # Without a result no pixel agrees: every one counts as the next label.
        judged = candidate or replace(
            baseline, label_ids=((baseline.label_ids + 1) % len(baseline.labels)).astype(np.uint8)
        )
        self._frames.append(segmentation_agreement(baseline, judged))

    def figures(self) -> AgreementFigures:
        """Return the mean IoU with the interval of frames drawn again in runs."""
        confusions = np.stack([frame.confusion for frame in self._frames])
        labels = self._frames[0].labels

        def drop(indices: NDArray[np.int64]) -> float:
            return 1.0 - SegmentationAgreement(labels, confusions[indices].sum(axis=0)).miou

        pooled = SegmentationAgreement(labels, confusions.sum(axis=0), len(self._frames))
        count = len(self._frames)
        low, high = paired_bootstrap(count, drop, block_length=block_length(count))
        return AgreementFigures(
            "mean IoU",
            pooled.miou,
            1.0 - pooled.miou,
            low,
            high,
            count,
            count,
            self._failed,
            {
                "differing_pixels_share": pooled.differing_pixels_share,
                "per_class_iou": pooled.per_class_iou,
            },
        )


class PlanningScore(AgreementScore):
    """Share of frames whose whole path lies within the tolerance of the baseline's."""

    def __init__(self, lateral_tolerance_m: float) -> None:
        super().__init__()
        self._tolerance_m = lateral_tolerance_m
        self._within: list[bool] = []
        self._pooled: PlanningAgreement | None = None

    def _add(self, baseline: Trajectory, candidate: Trajectory | None) -> None:
        if candidate is None:
            self._within.append(False)
            return
        agreement = planning_agreement(baseline, candidate)
        self._within.append(agreement.max_lateral_offset_m <= self._tolerance_m)
        self._pooled = agreement if self._pooled is None else self._pooled + agreement

    def figures(self) -> AgreementFigures:
        """Return the share with the wider of the bootstrap's and Wilson's intervals.

        A bootstrap of nothing but hits has no width at all, however few they are; Wilson's interval
        has one, but knows nothing of neighbouring frames being alike.
        """
        outside = 1.0 - np.array(self._within, dtype=np.float64)
        low, high = _mean_interval(outside)
        wilson = wilson_interval(int(outside.sum()), len(outside))
        pooled = self._pooled
        details = {"lateral_tolerance_m": self._tolerance_m}
        if pooled is not None:
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
            min(low, wilson[0]),
            max(high, wilson[1]),
            len(outside),
            len(outside),
            self._failed,
            details,
        )


def _mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    return paired_bootstrap(
        len(values), lambda drawn: float(values[drawn].mean()), block_length=block_length(len(values))
    )


def create_score(manifest: Manifest, spec: VerifySpec) -> AgreementScore:
    """Return the score of a manifest's task."""
    if manifest.task == "detection":
        return DetectionScore(spec.iou)
    if manifest.task == "segmentation":
        return SegmentationScore()
    return PlanningScore(spec.lateral_tolerance_m)
