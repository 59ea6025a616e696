# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""IoU of the labels' pixels of all frames together, as a weighted mean over labels.

Pooled, as PASCAL VOC, CamVid and Cityscapes define it. Gated is the mean weighted by share with a floor
(``metrics/label_weights.py``), beside which each informative label has a limit of its own; the strict
figure is the plain mean over labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
from ad_compressed_perception.core.results import LabelMask
from ad_compressed_perception.metrics.agreement import SegmentationAgreement, segmentation_agreement
from ad_compressed_perception.metrics.label_weights import (
    MIN_SHARE,
    frames_with_area,
    informative_labels,
    iou_of_sums,
    label_weights,
    weighted_mean,
)
from ad_compressed_perception.metrics.object_parts import DISTANCE_BANDS, GroundCamera, band_of_rows
from ad_compressed_perception.metrics.share_interval import share_intervals


class SegmentationScore(AgreementScore):
    """Weighted mean IoU of the pixels of all frames together."""

    difference_unit = "share of the pixels that differ"

    def __init__(self, labels: Sequence[str] | None = None, camera: GroundCamera | None = None) -> None:
        """Compare these labels only, where they are given; in bands of distance with a camera."""
        super().__init__(BaselineInformation(labels=labels))
        self._labels, self._camera = labels, camera
        self._names: tuple[str, ...] = ()
        self._confusions: list[NDArray[np.int64]] = []
        # Of each frame and band of distances, (bands, L, L); empty without a camera.
        self._bands: list[NDArray[np.int64]] = []

    def _add(self, baseline: LabelMask, variant: LabelMask | None) -> float:
        # Without a result no pixel agrees: each gets another label than the baseline's.
        compared = variant or replace(
            baseline, label_ids=((baseline.label_ids + 1) % len(baseline.labels)).astype(np.uint8)
        )
        self._names = baseline.labels
        confusion = segmentation_agreement(baseline, compared).confusion
        self._confusions.append(confusion)
        if self._camera is not None:
            self._bands.append(_band_confusions(baseline, compared, self._camera))
        ids = np.flatnonzero(self._compared())
        concerned = confusion[ids].sum() + confusion[:, ids].sum() - confusion[np.ix_(ids, ids)].sum()
        right = confusion[ids, ids].sum()
        return float(concerned - right) / max(1, int(confusion.sum()))

    def _compared(self) -> NDArray[np.bool_]:
        return np.array([self._labels is None or name in self._labels for name in self._names], bool)

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return the weighted mean IoU with its interval.

        Weights and informative labels are those of all frames, so that slices are compared by one measure.
        """
        every, compared = np.stack(self._confusions), self._compared()
        informative = informative_labels(every, compared)
        weights = label_weights(every.sum(axis=0), informative, compared)
        confusions, count = every[frames], len(frames)
        tables = [_sums(confusions)]
        if self._bands:
            bands = np.stack(self._bands)[frames]
            tables += [_sums(bands[:, band]) for band in range(len(DISTANCE_BANDS))]

        def drops(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            ious = iou_of_sums(sums)
            means = weighted_mean(ious, weights)
            strict = weighted_mean(ious[:, :1], compared.astype(np.float64))
            return 1.0 - np.concatenate([means[:, :1], strict, means[:, 1:], ious[:, 0]], axis=1)

        parts = np.stack(tables, axis=1)
        values = drops(parts.sum(axis=0)[None])[0]
        intervals = share_intervals(parts, drops)
        first = 2 + len(tables) - 1
        with_area = frames_with_area(confusions, compared)
        pooled = SegmentationAgreement(self._names, confusions.sum(axis=0), count)
        several = int(compared.sum()) != 1
        return AgreementFigures(
            f"{'weighted mean IoU' if several else 'IoU'}{of_words(self._labels)}",
            1.0 - float(values[0]),
            float(values[0]),
            *intervals[0],
            count,
            int(self._information.flags()[frames].sum()),
            failed,
            {
                "differing_pixels_share": pooled.differing_pixels_share,
                "per_class_iou": pooled.per_class_iou,
                "weights": {
                    name: float(weight)
                    for name, weight in zip(self._names, weights, strict=True)
                    if weight > 0.0
                },
            },
            f"{'mean IoU' if several else 'IoU'}{of_words(self._labels)}",
            1.0 - float(values[1]),
            labels=tuple(
                PartDrop(
                    self._names[place],
                    float(values[first + place]),
                    *intervals[first + place],
                    int(with_area[place]),
                )
                for place in np.flatnonzero(informative & ~np.isnan(values[first:]))
            ),
            distances=tuple(
                PartDrop(
                    name,
                    float(values[2 + band]),
                    *intervals[2 + band],
                    int((tables[1 + band].sum(axis=(1, 2)) > 0).sum()),
                )
                for band, name in enumerate(DISTANCE_BANDS if self._bands else ())
            ),
            lost=self._lost_labels(confusions, compared & ~informative),
        )

    def _lost_labels(
        self, confusions: NDArray[np.int64], candidates: NDArray[np.bool_]
    ) -> tuple[PartDrop, ...]:
        """Return the labels, too rare to be informative, that lost all of their pixels."""
        pixels = confusions.sum(axis=2)
        least = MIN_SHARE * confusions.sum(axis=(1, 2))[:, None]
        common = np.diagonal(confusions, axis1=1, axis2=2)
        return find_lost(self._names, (pixels >= np.maximum(1.0, least)) & candidates, common > 0)


def _band_confusions(baseline: LabelMask, variant: LabelMask, camera: GroundCamera) -> NDArray[np.int64]:
    """Return (bands, L, L) pixels of the image rows that show the road in each band of distances."""
    bands = band_of_rows(baseline.label_ids.shape[0], camera)
    return np.stack(
        [
            segmentation_agreement(
                replace(baseline, label_ids=baseline.label_ids[bands == band]),
                replace(variant, label_ids=variant.label_ids[bands == band]),
            ).confusion
            for band in range(len(DISTANCE_BANDS))
        ]
    )


def _sums(confusions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N, 3, L): pixels of the baseline, of the variant, of both."""
    return np.stack(
        [confusions.sum(axis=2), confusions.sum(axis=1), np.diagonal(confusions, axis1=1, axis2=2)], axis=1
    )
