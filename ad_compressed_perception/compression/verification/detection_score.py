# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""F1 of the variant's objects against the baseline's, pooled over all frames.

Gated is the F1 with a margin of score (``metrics/score_margin.py``); the strict one counts every object that
crosses the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.verification.informative import BaselineInformation
from ad_compressed_perception.compression.verification.scores import (
    AgreementFigures,
    AgreementScore,
    Indices,
    PartDrop,
    find_lost,
    of_words,
)
from ad_compressed_perception.core.results import Detections, Result
from ad_compressed_perception.metrics.agreement import MatchCounts
from ad_compressed_perception.metrics.object_parts import (
    DISTANCE_BANDS,
    SIZE_CLASSES,
    GroundCamera,
    distance_bands,
    size_classes,
)
from ad_compressed_perception.metrics.score_margin import (
    ObjectComparison,
    above,
    compare_objects,
    lowest_score,
)
from ad_compressed_perception.metrics.share_interval import share_intervals
from ad_compressed_perception.tasks.base import Task
from ad_compressed_perception.tasks.geometry import Geometry


class DetectionScore(AgreementScore):
    """F1 over all frames' objects; frames without an object on either side are not informative."""

    difference_unit = "scores of the objects that only one of the two found, added up"

    def __init__(
        self,
        iou: float,
        labels: Sequence[str] | None = None,
        *,
        threshold: float = 0.0,
        margin: float = 0.0,
        camera: GroundCamera | None = None,
    ) -> None:
        """Compare objects.

        Args:
            iou: overlap of a matching pair.
            labels: compare these only; None for all.
            threshold: score from which an object is published.
            margin: of score, by which a pair may lie on both sides of the threshold. The results to add must
                then reach down to ``lowest_score``, as those of ``decode`` and ``run`` do.
            camera: for bands of distance; None for none.
        """
        super().__init__(BaselineInformation(labels=labels))
        self._iou, self._labels, self._camera = iou, labels, camera
        self._threshold, self._margin = threshold, margin
        # Of each frame: counts that are strict, gated, of each class of sizes, of each band of distances.
        self._counts: list[NDArray[np.int64]] = []
        # Of each frame, (2, L): whether the baseline has an object of the label, whether one is matched.
        self._by_label: list[NDArray[np.bool_]] = []
        self._names: tuple[str, ...] = ()

    def decode(self, task: Task[Any], outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> Result:
        """Decode down to two margins below the threshold; what lies above it is the same as without.

        Suppression goes from the strongest box to the weakest, so weaker candidates change no other.
        """
        published = task.settings
        lowest = lowest_score(self._threshold, self._margin)
        task.settings = published.model_copy(update={"score_threshold": lowest})
        try:
            return super().decode(task, outputs, geometry)
        finally:
            task.settings = published

    def _published(self, result: Result) -> Result:
        return above(result, self._threshold) if isinstance(result, Detections) else result

    def _add(self, baseline: Detections, variant: Detections | None) -> float:
        reference = _of_labels(baseline, self._labels)
        found = Detections(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), baseline.labels
        )
        found = found if variant is None else _of_labels(variant, self._labels)
        one = compare_objects(reference, found, self._threshold, self._margin, self._iou)
        self._counts.append(self._count(one, reference, found))
        shown = reference.scores >= self._threshold
        kept = shown.copy()
        kept[one.missed] = False
        self._names = reference.labels
        self._by_label.append(
            np.stack(
                [
                    np.bincount(reference.class_ids[chosen], minlength=len(reference.labels)) > 0
                    for chosen in (shown, kept)
                ]
            )
        )
        if variant is None:
            return math.inf
        return float(reference.scores[one.strict_missed].sum() + found.scores[one.strict_extra].sum())

    def _count(self, one: ObjectComparison, reference: Detections, found: Detections) -> NDArray[np.int64]:
        """Return (2 + sizes + bands, 3) int64: matched, missed and extra objects."""
        boxes = (one.matched_boxes_xyxy, reference.boxes_xyxy[one.missed], found.boxes_xyxy[one.extra])
        sizes = [np.bincount(size_classes(each), minlength=len(SIZE_CLASSES)) for each in boxes]
        bands = [
            np.zeros(len(DISTANCE_BANDS), np.int64)
            if self._camera is None
            else np.bincount(distance_bands(each, self._camera), minlength=len(DISTANCE_BANDS))
            for each in boxes
        ]
        totals = [[each.matched, each.missed, each.extra] for each in (one.strict, one.counts)]
        return np.concatenate([totals, np.array(sizes).T, np.array(bands).T]).astype(np.int64)

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return F1 with its interval."""
        rows = 2 + len(SIZE_CLASSES) + len(DISTANCE_BANDS)
        counts = np.array(self._counts, np.int64).reshape(-1, rows, 3)[frames]

        by_label = np.array(self._by_label, bool).reshape(-1, 2, len(self._names))[frames]
        values = _drops(counts.sum(axis=0)[None])[0]
        intervals = share_intervals(counts, _drops, trials=counts[:, :, :2].sum(axis=(0, 2)))
        parts = [
            PartDrop(name, float(values[row]), *intervals[row], int((counts[:, row].sum(axis=1) > 0).sum()))
            for row, name in enumerate((*SIZE_CLASSES, *DISTANCE_BANDS), start=2)
        ]
        gated = counts[:, 1]
        only_variant = (gated[:, :2].sum(axis=1) == 0) & (gated[:, 2] > 0)
        strict, overall = (
            MatchCounts(*(int(number) for number in counts[:, row].sum(axis=0))) for row in (0, 1)
        )
        name = f"F1 at IoU {self._iou:g}{of_words(self._labels)}"
        margin = f", score margin {self._margin:g}" if self._margin else ""
        return AgreementFigures(
            f"{name}{margin}",
            1.0 - float(values[1]),
            float(values[1]),
            *intervals[1],
            len(counts),
            int((self._information.flags()[frames] | only_variant).sum()),
            failed,
            {
                **asdict(overall),
                "precision": overall.precision,
                "recall": overall.recall,
                "strict": {**asdict(strict), "precision": strict.precision, "recall": strict.recall},
            },
            f"strict {name}",
            1.0 - float(values[0]),
            sizes=tuple(parts[: len(SIZE_CLASSES)]),
            distances=() if self._camera is None else tuple(parts[len(SIZE_CLASSES) :]),
            lost=find_lost(self._names, by_label[:, 0], by_label[:, 1]),
        )


def _drops(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return (K, rows) 1 - F1 of (K, rows, 3) matched, missed and extra objects; NaN without any."""
    matched, missed, extra = np.moveaxis(counts.astype(np.float64), 2, 0)
    total = 2.0 * matched + missed + extra
    return 1.0 - np.divide(2.0 * matched, total, out=np.full(total.shape, np.nan), where=total > 0)


def _of_labels(detections: Detections, labels: Sequence[str] | None) -> Detections:
    """Return the objects of these labels, in the same order; all of them for None."""
    if labels is None:
        return detections
    is_chosen = np.array([name in labels for name in detections.labels], bool)
    kept = is_chosen[detections.class_ids]
    return Detections(
        detections.boxes_xyxy[kept], detections.scores[kept], detections.class_ids[kept], detections.labels
    )
