# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pooled agreements as they stand in the report."""

from __future__ import annotations

from ad_compressed_perception.metrics.agreement import (
    MATCH_IOU,
    Agreement,
    ClassificationAgreement,
    DetectionAgreement,
    MatchCounts,
    SegmentationAgreement,
)
from ad_compressed_perception.report import schema


def figures(pooled: Agreement) -> schema.AgreementFigures:
    """Return a pooled agreement as it stands in the report."""
    if isinstance(pooled, DetectionAgreement):
        overall = _class_figures(pooled.overall)
        return schema.DetectionFigures(
            precision=overall.precision,
            recall=overall.recall,
            f1=overall.f1,
            matched=overall.matched,
            missed=overall.missed,
            extra=overall.extra,
            iou=MATCH_IOU,
            mean_matched_iou=pooled.mean_matched_iou,
            per_class={label: _class_figures(counts) for label, counts in sorted(pooled.per_class.items())},
        )
    if isinstance(pooled, SegmentationAgreement):
        return schema.SegmentationFigures(
            miou=pooled.miou,
            differing_pixels_share=pooled.differing_pixels_share,
            per_class_iou=pooled.per_class_iou,
        )
    if isinstance(pooled, ClassificationAgreement):
        return schema.ClassificationFigures(
            top1=pooled.score,
            mean_score_distance=pooled.mean_score_distance,
            max_score_distance=pooled.score_distance_max,
            per_class={
                label: schema.LabelCounts(
                    both=counts.matched, only_baseline=counts.missed, only_variant=counts.extra
                )
                for label, counts in sorted(pooled.per_class.items())
            },
        )
    return schema.PlanningFigures(
        ade_m=pooled.ade_m,
        fde_m=pooled.fde_m,
        max_fde_m=pooled.max_fde_m,
        mean_lateral_offset_m=pooled.mean_lateral_offset_m,
        max_lateral_offset_m=pooled.max_lateral_offset_m,
    )


def _class_figures(counts: MatchCounts) -> schema.ClassAgreement:
    return schema.ClassAgreement(
        precision=counts.precision,
        recall=counts.recall,
        f1=counts.f1,
        matched=counts.matched,
        missed=counts.missed,
        extra=counts.extra,
    )
