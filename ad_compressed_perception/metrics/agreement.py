# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of a variant's result with the baseline's on the same frame; can be pooled over frames.

The baseline is the reference: nothing here says which of the two is right. Every agreement can be
added to another of its kind (counts add up, means are weighted by frames) and has a ``score`` in
0..1 where the task has a natural one. No figure is ever NaN: two empty results agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Classification, Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.metrics.class_agreement import (
    ClassificationAgreement,
    classification_agreement,
)
from ad_compressed_perception.metrics.iou import iou_per_class
from ad_compressed_perception.metrics.match_counts import MatchCounts as MatchCounts
from ad_compressed_perception.metrics.path_offset import (
    checked_points,
    lateral_offsets_m,
    resample_by_arc_length,
)

MATCH_IOU = 0.5
"""Overlap from which two boxes of a class are the same object."""
_EXACT_IN_FLOAT32 = 2**24


@dataclass(frozen=True)
class DetectionAgreement:
    """Matched and unmatched objects per class over ``frames`` frames.

    Attributes:
        frames: frames pooled.
        per_class: label to counts, for the classes that either side found.
        matched_iou_sum: sum of the overlaps of the matched boxes.
    """

    frames: int = 0
    per_class: dict[str, MatchCounts] = field(default_factory=dict)
    matched_iou_sum: float = 0.0

    def __add__(self, other: DetectionAgreement) -> DetectionAgreement:
        """Pool two agreements; counts add up."""
        pooled = dict(self.per_class)
        for label, counts in other.per_class.items():
            pooled[label] = pooled.get(label, MatchCounts()) + counts
        return DetectionAgreement(
            self.frames + other.frames, pooled, self.matched_iou_sum + other.matched_iou_sum
        )

    @property
    def overall(self) -> MatchCounts:
        """Counts over all classes."""
        return sum(self.per_class.values(), MatchCounts())

    @property
    def mean_matched_iou(self) -> float:
        """Mean overlap of the matched boxes; 1 where none was matched."""
        matched = self.overall.matched
        return self.matched_iou_sum / matched if matched else 1.0

    @property
    def score(self) -> float:
        """F1 over all classes."""
        return self.overall.f1


def detection_agreement(
    baseline: Detections, variant: Detections, iou: float = MATCH_IOU
) -> DetectionAgreement:
    """Match the variant's boxes to the baseline's of the same label, best score first.

    Each variant box, in descending score, takes the still free baseline box of its class with the
    largest overlap of at least ``iou`` (the greedy matching of COCO: Lin et al., "Microsoft COCO:
    Common Objects in Context", ECCV 2014, and its evaluation code). Classes are compared by label,
    not by index.

    Args:
        baseline: the reference; its scores are not used.
        variant: compared with it.
        iou: overlap from which two boxes are the same object, in (0, 1].
    """
    if not 0.0 < iou <= 1.0:
        raise DataError(f"iou must be in (0, 1], not {iou}")
    reference_labels, found_labels = labels_of(baseline), labels_of(variant)
    per_class: dict[str, MatchCounts] = {}
    iou_sum = 0.0
    for label in sorted({*reference_labels, *found_labels}):
        reference = baseline.boxes_xyxy[[name == label for name in reference_labels]]
        is_label = np.array([name == label for name in found_labels], dtype=bool)
        order = np.argsort(-variant.scores[is_label], kind="stable")
        overlaps = [pair[2] for pair in match_boxes(reference, variant.boxes_xyxy[is_label][order], iou)]
        per_class[label] = MatchCounts(
            len(overlaps), len(reference) - len(overlaps), len(order) - len(overlaps)
        )
        iou_sum += sum(overlaps)
    return DetectionAgreement(1, per_class, iou_sum)


def labels_of(detections: Detections) -> list[str]:
    """Return the label of every box."""
    known = detections.labels
    return [
        known[index] if 0 <= index < len(known) else str(index) for index in detections.class_ids.tolist()
    ]


def match_boxes(
    reference: NDArray[np.float32], found: NDArray[np.float32], iou: float
) -> list[tuple[int, int, float]]:
    """Matched pairs: index in ``found``, which is in descending score, index in ``reference``, overlap."""
    return match_table(pairwise_iou(found, reference), iou)


def match_table(overlaps: NDArray[np.float64], iou: float) -> list[tuple[int, int, float]]:
    """Match each row of (A, B) overlaps in turn to the free column of the largest one of at least ``iou``.

    Returns:
        Row, column and overlap of each pair.
    """
    table, pairs = overlaps.copy(), []
    for row in range(len(table)) if table.size else ():
        best = int(np.argmax(table[row]))
        if table[row, best] >= iou:
            pairs.append((row, best, float(table[row, best])))
            table[:, best] = -1.0
    return pairs


def pairwise_iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Overlap of every box of the first (A, 4) with every box of the second (B, 4): (A, B)."""
    a, b = first.astype(np.float64)[:, None, :], second.astype(np.float64)[None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.clip(sides, 0.0, None), axis=2)
    areas = [np.prod(np.clip(box[..., 2:] - box[..., :2], 0.0, None), axis=2) for box in (a, b)]
    union = areas[0] + areas[1] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0.0))


@dataclass(frozen=True)
class SegmentationAgreement:
    """Pixels by the baseline's label (rows) and the variant's (columns), over ``frames`` frames.

    Attributes:
        labels: the class names.
        confusion: (L, L) int64 pixel counts.
        frames: frames pooled.
    """

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    frames: int = 1

    def __add__(self, other: SegmentationAgreement) -> SegmentationAgreement:
        """Pool two agreements; raise DataError where their labels differ."""
        if self.labels != other.labels:
            raise DataError(f"cannot pool masks of labels {list(self.labels)} and {list(other.labels)}")
        return SegmentationAgreement(
            self.labels, self.confusion + other.confusion, self.frames + other.frames
        )

    @property
    def per_class_iou(self) -> dict[str, float]:
        """Intersection over union of each label that either side has."""
        values = zip(self.labels, iou_per_class(self.confusion).tolist(), strict=True)
        return {label: value for label, value in values if not math.isnan(value)}

    @property
    def miou(self) -> float:
        """Mean of the per-class IoU over the labels that either side has; 1 without a pixel."""
        values = list(self.per_class_iou.values())
        return float(np.mean(values)) if values else 1.0

    @property
    def differing_pixels_share(self) -> float:
        """Share of the pixels whose labels differ; 0 without a pixel."""
        total = int(self.confusion.sum())
        return 1.0 - float(np.trace(self.confusion)) / total if total else 0.0

    @property
    def score(self) -> float:
        """The mIoU."""
        return self.miou


def segmentation_agreement(baseline: LabelMask, variant: LabelMask) -> SegmentationAgreement:
    """Count the pixels by both masks' labels.

    Raises:
        DataError: the masks differ in labels or size, or hold an id without a label.
    """
    if baseline.labels != variant.labels:
        raise DataError(
            f"masks of different labels: baseline {list(baseline.labels)}, variant {list(variant.labels)}"
        )
    if baseline.label_ids.shape != variant.label_ids.shape:
        raise DataError(
            f"masks of different sizes: baseline {baseline.label_ids.shape}, "
            f"variant {variant.label_ids.shape}"
        )
    count = len(baseline.labels)
    for whose, mask in (("baseline", baseline), ("variant", variant)):
        highest = int(mask.label_ids.max(initial=0))
        if mask.label_ids.size and highest >= count:
            raise DataError(f"the {whose}'s mask has label id {highest}, but there are {count} labels")
    return SegmentationAgreement(
        baseline.labels, _count_pairs(baseline.label_ids, variant.label_ids, count).reshape(count, count)
    )


def _count_pairs(first: NDArray[np.uint8], second: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Return how often each pair of ids below ``count`` occurs: (count * count,) int64."""
    is_bytes = first.dtype == second.dtype == np.uint8 and count <= 16
    if is_bytes and 0 < first.size < _EXACT_IN_FLOAT32:
        # Four times as fast as bincount, which first makes eight bytes of each; its counts are float32.
        codes = first * np.uint8(count)
        codes += second
        histogram = cv2.calcHist([codes], [0], None, [256], [0, 256])
        return np.asarray(histogram[: count * count, 0], np.int64)
    wide = first.astype(np.intp) * count + second
    return np.bincount(wide.ravel(), minlength=count * count).astype(np.int64)


@dataclass(frozen=True)
class PlanningAgreement:
    """Distances between the variant's path and the baseline's over ``frames`` frames, in meters.

    Attributes:
        frames: frames pooled.
        ade_m: mean over frames of the average displacement error.
        fde_m: mean over frames of the final displacement error.
        mean_lateral_offset_m: mean over frames of the frame's largest lateral offset, without sign.
        max_lateral_offset_m: largest lateral offset of any point of any frame, without sign.
        max_fde_m: largest final displacement error of any frame.
    """

    frames: int
    ade_m: float
    fde_m: float
    mean_lateral_offset_m: float
    max_lateral_offset_m: float
    max_fde_m: float

    def __add__(self, other: PlanningAgreement) -> PlanningAgreement:
        """Pool two agreements: means weighted by frames, maxima of both."""
        frames = self.frames + other.frames

        def mean(mine: float, theirs: float) -> float:
            return (mine * self.frames + theirs * other.frames) / frames if frames else 0.0

        return PlanningAgreement(
            frames,
            mean(self.ade_m, other.ade_m),
            mean(self.fde_m, other.fde_m),
            mean(self.mean_lateral_offset_m, other.mean_lateral_offset_m),
            max(self.max_lateral_offset_m, other.max_lateral_offset_m),
            max(self.max_fde_m, other.max_fde_m),
        )

    @property
    def score(self) -> None:
        """None: a distance in meters has no natural place in 0..1."""
        return None


def planning_agreement(baseline: Trajectory, variant: Trajectory) -> PlanningAgreement:
    """Measure how far the variant's path lies from the baseline's.

    ADE = mean_k |c_k - b_k| and FDE = |c_N - b_N| (Pellegrini et al., "You'll never walk alone",
    ICCV 2009; Alahi et al., "Social LSTM", CVPR 2016), point k against point k: both paths have the
    same horizon, so the same index means the same distance or time ahead. Paths of different
    numbers of points are first both resampled to the larger number at equal steps of their own arc
    length. The lateral offset is that of ``path_offset.lateral_offsets_m`` from the baseline path.

    Raises:
        DataError: a path without points or with a coordinate that is not finite.
    """
    reference = checked_points(baseline.points_xy_m, "baseline's")
    compared = checked_points(variant.points_xy_m, "variant's")
    lateral_m = float(np.abs(lateral_offsets_m(reference, baseline.headings_rad, compared)).max())
    if len(reference) != len(compared):
        count = max(len(reference), len(compared))
        reference, compared = (resample_by_arc_length(path, count) for path in (reference, compared))
    apart_m = np.linalg.norm(compared - reference, axis=1)
    final_m = float(apart_m[-1])
    return PlanningAgreement(1, float(apart_m.mean()), final_m, lateral_m, lateral_m, final_m)


Agreement = DetectionAgreement | SegmentationAgreement | PlanningAgreement | ClassificationAgreement


def agreement(baseline: Result, variant: Result) -> Agreement:
    """Compare two results of one frame by the measure of their task.

    Raises:
        DataError: results of different kinds, or that cannot be compared.
    """
    if isinstance(baseline, Detections) and isinstance(variant, Detections):
        return detection_agreement(baseline, variant)
    if isinstance(baseline, LabelMask) and isinstance(variant, LabelMask):
        return segmentation_agreement(baseline, variant)
    if isinstance(baseline, Trajectory) and isinstance(variant, Trajectory):
        return planning_agreement(baseline, variant)
    if isinstance(baseline, Classification) and isinstance(variant, Classification):
        return classification_agreement(baseline, variant)
    raise DataError(f"cannot compare a {type(baseline).__name__} with a {type(variant).__name__}")


def pool(first: Agreement | None, second: Agreement) -> Agreement:
    """Add an agreement to what was pooled so far (None at the start); DataError on mixed kinds."""
    if first is None:
        return second
    if isinstance(first, DetectionAgreement) and isinstance(second, DetectionAgreement):
        return first + second
    if isinstance(first, SegmentationAgreement) and isinstance(second, SegmentationAgreement):
        return first + second
    if isinstance(first, PlanningAgreement) and isinstance(second, PlanningAgreement):
        return first + second
    if isinstance(first, ClassificationAgreement) and isinstance(second, ClassificationAgreement):
        return first + second
    raise DataError(f"cannot pool a {type(first).__name__} with a {type(second).__name__}")
