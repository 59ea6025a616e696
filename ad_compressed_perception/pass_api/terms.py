# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""On which frames a variant is compared with its baseline, and on which terms it is accepted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.renamed import warn_renamed


class VerifySpec(StrictModel):
    """Frames that the variant is verified on, none of them used for calibration."""

    frames: int = Field(100, ge=1, le=100000, description="frames to verify on")
    iou: float = Field(0.5, gt=0.0, le=1.0, description="detection: overlap of a matching pair")
    lateral_tolerance_m: float = Field(
        0.10, gt=0.0, description="planning: lateral offset up to which a path agrees, meters"
    )
    labels: list[str] | None = Field(
        None,
        min_length=1,
        description="detection, segmentation: compare these labels only; all of them by default",
    )


class AcceptSpec(StrictModel):
    """Terms on which a variant is accepted; an absent limit is not checked."""

    max_drop: float = Field(0.05, ge=0.0, le=1.0, description="largest loss of agreement with the baseline")
    min_frames: int = Field(20, ge=2, description="fewer informative frames leave the agreement undecided")
    max_accuracy_drop: float | None = Field(
        None,
        ge=0.0,
        description="largest loss of accuracy on labeled data: points of mAP or IoU, percent of an error",
    )
    accuracy_metric: str | None = Field(
        None, description="which metric of adcp evaluate that is; map, miou or rmse_rad by default"
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

    @field_validator("timed", mode="before")
    @classmethod
    def _accept_old_value(cls, value: Any) -> Any:
        if value == "whole":
            warn_renamed("value", "whole", "end_to_end")
            return "end_to_end"
        return value
