# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of two variants over all compared frames, by task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.schemas.fields import Count, Figure


class ClassAgreement(StrictModel):
    """Detection agreement of one class."""

    precision: float = Field(description="share of the variant's objects the baseline has too")
    recall: float = Field(description="share of the baseline's objects the variant has too")
    f1: float = Field(description="harmonic mean of precision and recall")
    matched: Count = Field(description="objects found by both")
    missed: Count = Field(description="objects found by the baseline only")
    extra: Count = Field(description="objects found by the variant only")


class DetectionFigures(ClassAgreement):
    """Detection agreement over all pairs; the baseline is the reference."""

    kind: Literal["detection"] = "detection"
    iou: float = Field(default=0.5, description="overlap from which two boxes are the same object")
    mean_matched_iou: float = Field(description="mean overlap of the matched boxes")
    per_class: dict[str, ClassAgreement] = Field(
        default_factory=dict, description="label to agreement, for classes either side found"
    )


class SegmentationFigures(StrictModel):
    """Segmentation agreement over all pairs, from the pooled confusion matrix."""

    kind: Literal["segmentation"] = "segmentation"
    miou: float = Field(description="mean IoU over the labels either side has")
    differing_pixels_share: float = Field(description="share of pixels whose labels differ")
    per_class_iou: dict[str, float] = Field(default_factory=dict, description="label to IoU")


class PlanningFigures(StrictModel):
    """Planning agreement over all pairs, meters."""

    kind: Literal["planning"] = "planning"
    ade_m: float = Field(description="mean over frames of the average displacement error")
    fde_m: float = Field(description="mean over frames of the final displacement error")
    max_fde_m: float = Field(description="largest final displacement error of a frame")
    mean_lateral_offset_m: float = Field(description="mean over frames of the largest lateral offset")
    max_lateral_offset_m: float = Field(description="largest lateral offset of any point")


class LabelCounts(StrictModel):
    """Frames with a label as the strongest one."""

    both: Count = Field(description="of both sides")
    only_baseline: Count = Field(description="of the baseline only")
    only_variant: Count = Field(description="of the variant only")


class ClassificationFigures(StrictModel):
    """Classification agreement over all pairs; the baseline is the reference."""

    kind: Literal["classification"] = "classification"
    top1: float = Field(description="share of the frames with the same strongest label")
    mean_score_distance: float = Field(
        description="mean over frames of the largest difference of a label's score"
    )
    max_score_distance: float = Field(description="largest difference of a label's score")
    per_class: dict[str, LabelCounts] = Field(
        default_factory=dict, description="label to frames, for labels that either side has"
    )


AgreementFigures = Annotated[
    DetectionFigures | SegmentationFigures | PlanningFigures | ClassificationFigures,
    Field(discriminator="kind"),
]


class FrameScores(StrictModel):
    """Distribution of the agreement of single frames (F1, mIoU or equal labels, 0..1)."""

    mean: Figure = Field(default=None, description="mean of the frames' scores")
    p50: Figure = Field(default=None, description="median")
    p05: Figure = Field(default=None, description="5th percentile: the frames that agree least")
    min: Figure = Field(default=None, description="the frame that agrees least")
