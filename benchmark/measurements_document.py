# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""measurements.json of ``make benchmark``, schema "adcp-measurements/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.evaluation import Evaluation
from ad_compressed_perception.report.schemas.fields import Count, Figure


class ModelFiles(StrictModel):
    """Sizes of a baseline and its compressed variant."""

    baseline_bytes: Count
    variant_bytes: Count
    integer_coverage: Figure = Field(description="of the variant; null where it was not measured")


class Measurements(Document):
    """Baseline and int8 of the reference models: times, agreement, accuracy and sizes."""

    schema_: Literal["adcp-measurements/1"] = field_of_kind("adcp-measurements/1")
    replay: Report = Field(description="of the drive, in which all models are interleaved")
    accuracy: dict[str, Evaluation] = Field(description="by task, on labeled data that chose nothing")
    files: dict[str, ModelFiles] = Field(description="by task")
