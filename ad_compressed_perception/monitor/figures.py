# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pooled agreements as they stand in the report."""

from __future__ import annotations

from ad_compressed_perception.metrics.agreement import (
    MATCH_IOU,
    Agreement,
    ClassificationAgreement,
    DetectionAgreement,
    SegmentationAgreement,
)
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.agreement import (
    AgreementFigures,
    ClassAgreement,
    ClassificationFigures,
    DetectionFigures,
    LabelCounts,
    PlanningFigures,
    SegmentationFigures,
)


def figures(pooled: Agreement) -> AgreementFigures:
    """Return a pooled agreement as it stands in the report."""
    if isinstance(pooled, DetectionAgreement):
        classes = {label: copied(ClassAgreement, one) for label, one in sorted(pooled.per_class.items())}
        return copied(DetectionFigures, pooled.overall, pooled, iou=MATCH_IOU, per_class=classes)
    if isinstance(pooled, SegmentationAgreement):
        return copied(SegmentationFigures, pooled)
    if isinstance(pooled, ClassificationAgreement):
        return ClassificationFigures(
            top1=pooled.score,
            mean_score_distance=pooled.mean_score_distance,
            max_score_distance=pooled.score_distance_max,
            per_class={
                label: LabelCounts(
                    both=counts.matched, only_baseline=counts.missed, only_variant=counts.extra
                )
                for label, counts in sorted(pooled.per_class.items())
            },
        )
    return copied(PlanningFigures, pooled)
