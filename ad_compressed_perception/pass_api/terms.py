# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""On which frames a variant is compared with its baseline, and on which terms it is accepted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.renamed import warn_renamed

LEAST_LABEL_DROP = 0.25
"""Default limit of a label's own loss of IoU, at least: thin labels lose that by a pixel at their edges."""

LABEL_DROP_FACTOR = 3.0
"""Default limit of a label's own loss of IoU, as a multiple of ``max_drop``."""


class CameraSpec(StrictModel):
    """The camera, for distances on a flat road: pinhole, without distortion, in pixels of its own images."""

    focal_px: float = Field(gt=0.0, description="focal length, pixels")
    center_y_px: float = Field(description="row of the principal point, pixels")
    height_m: float = Field(gt=0.0, description="height above the road, meters")
    pitch_rad: float = Field(0.0, gt=-1.5, lt=1.5, description="how far it looks down, rad")


class VerifySpec(StrictModel):
    """Frames that the variant is verified on, none of them used for calibration."""

    frames: int = Field(100, ge=1, le=100000, description="frames to verify on")
    iou: float = Field(0.5, gt=0.0, le=1.0, description="detection: overlap of a matching pair")
    score_margin: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="detection: difference of scores up to which a pair may lie across the threshold; "
        "classification: up to which the strict figure calls scores alike",
    )
    lateral_tolerance_m: float = Field(
        0.10, gt=0.0, description="planning: lateral offset up to which a path agrees at the vehicle, meters"
    )
    lateral_tolerance_per_m: float = Field(
        0.01, ge=0.0, le=1.0, description="planning: by how much that grows per meter of distance"
    )
    camera: CameraSpec | None = Field(
        None, description="detection, segmentation: the camera, for agreement in bands of distance"
    )
    labels: list[str] | None = Field(
        None,
        min_length=1,
        description="compare these labels only (not of planning); all of them by default",
    )


class SizeLimits(StrictModel):
    """Largest loss of agreement for each class of object sizes (COCO areas, pixels of the camera)."""

    small: float | None = Field(None, ge=0.0, le=1.0, description="below 32^2 pixels")
    medium: float | None = Field(None, ge=0.0, le=1.0, description="from 32^2, below 96^2 pixels")
    large: float | None = Field(None, ge=0.0, le=1.0, description="from 96^2 pixels")


class DistanceLimits(StrictModel):
    """Largest loss of agreement for each band of distance from the camera."""

    near: float | None = Field(None, ge=0.0, le=1.0, description="below 30 m")
    middle: float | None = Field(None, ge=0.0, le=1.0, description="from 30 m, below 50 m")
    far: float | None = Field(None, ge=0.0, le=1.0, description="from 50 m")


class HeadTerms(StrictModel):
    """Terms of one head of a model with several tasks, instead of those that all heads share."""

    max_drop: float | None = Field(None, ge=0.0, le=1.0, description="as accept.max_drop")
    max_label_drop: float | None = Field(None, ge=0.0, le=1.0, description="as accept.max_label_drop")
    worst_slice: float | None = Field(None, ge=0.0, le=1.0, description="as accept.worst_slice")
    by_size: SizeLimits | None = Field(None, description="as accept.by_size")
    by_distance: DistanceLimits | None = Field(None, description="as accept.by_distance")
    min_sqnr_db: float | None = Field(None, description="as accept.min_sqnr_db")
    min_cosine: float | None = Field(None, ge=-1.0, le=1.0, description="as accept.min_cosine")
    max_accuracy_drop: float | None = Field(None, ge=0.0, description="as accept.max_accuracy_drop")
    accuracy_metric: str | None = Field(None, description="as accept.accuracy_metric")


HEAD_TERMS = tuple(HeadTerms.model_fields)
"""Terms that are judged head by head; the others are of the whole model."""


class AcceptSpec(StrictModel):
    """Terms on which a variant is accepted; an absent limit is not checked."""

    max_drop: float = Field(0.05, ge=0.0, le=1.0, description="largest loss of agreement with the baseline")
    max_label_drop: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="segmentation, classification: largest loss of any informative label's IoU or F1; raw: "
        "largest loss of any informative channel; by default max(0.25, 3 max_drop), at most 1",
    )
    worst_slice: float | None = Field(
        None, ge=0.0, le=1.0, description="largest loss of agreement in the worst slice"
    )
    by_size: SizeLimits | None = Field(
        None, description="detection: largest loss of agreement by size of the object"
    )
    by_distance: DistanceLimits | None = Field(
        None, description="with verify.camera: largest loss of agreement by distance"
    )
    min_sqnr_db: float | None = Field(
        None, description="raw: least signal to noise ratio of the worst part of the outputs, dB"
    )
    min_cosine: float | None = Field(
        None, ge=-1.0, le=1.0, description="raw: least cosine similarity of any output"
    )
    min_frames: int = Field(20, ge=2, description="fewer informative frames leave the agreement undecided")
    max_accuracy_drop: float | None = Field(
        None,
        ge=0.0,
        description="largest loss of accuracy on labeled data: points of a share (mAP, IoU, accuracy), "
        "percent of an error",
    )
    accuracy_metric: str | None = Field(
        None, description="which metric of adcp evaluate that is; map, miou, rmse_rad or accuracy by default"
    )
    min_speedup: float | None = Field(
        None, gt=0.0, description="least baseline/variant ratio of median inference times"
    )
    max_size_ratio: float | None = Field(
        None, gt=0.0, description="largest variant/baseline ratio of file sizes"
    )
    min_integer_coverage: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="least share of convolutions and matrix products run as integer kernels",
    )
    max_p99_ms: float | None = Field(
        None, gt=0.0, description="largest 99th percentile of the inference time, ms"
    )
    timed: Literal["inference", "end_to_end"] = Field(
        "inference",
        description="which times min_speedup and max_p99_ms limit; end_to_end: frame to result",
    )
    heads: dict[str, HeadTerms] | None = Field(
        None, description="model with several heads: terms of a head by its name, instead of the shared ones"
    )

    @property
    def label_limit(self) -> float:
        """The largest loss of IoU of an informative label: ``max_label_drop`` or its default."""
        if self.max_label_drop is not None:
            return self.max_label_drop
        return min(1.0, max(LEAST_LABEL_DROP, LABEL_DROP_FACTOR * self.max_drop))

    @field_validator("timed", mode="before")
    @classmethod
    def _accept_old_value(cls, value: Any) -> Any:
        if value == "whole":
            warn_renamed("value", "whole", "end_to_end")
            return "end_to_end"
        return value
