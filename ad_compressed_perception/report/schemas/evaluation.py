# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp evaluate`` measures, schema "adcp-evaluation/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.json_values import Plain
from ad_compressed_perception.core.manifest import StrictModel, VerdictStatus
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure


class IntervalMethod(StrictModel):
    """How the intervals were made."""

    level: float = Field(description="share of the resampled figures inside an interval")
    method: str = "percentile bootstrap over frames"
    resamples: Count
    block_length: Count = Field(description="neighboring frames that are resampled together")


class VariantAccuracy(StrictModel):
    """Accuracy of one variant."""

    verdict: VerdictStatus | None = Field(
        default=None, description="of the accept gate; null for a baseline and for results of other programs"
    )
    backend: str = Field(description="runtime")
    provider: str = Field(description="device or execution provider that ran it")
    precision: str = Field(description="of the heavy layers as executed")
    figures: dict[str, Interval] = Field(description="name to figure with its 95 % interval")
    per_class: dict[str, dict[str, int | Figure]] = Field(description="class to further figures")
    confusion: dict[str, dict[str, Count]] = Field(
        default_factory=dict, description="classification: class to the number of its frames by class found"
    )
    interval: IntervalMethod
    notes: list[str] = Field(default_factory=list, description="notes for the reader, in sentences")


class LabeledSource(StrictModel):
    """The labeled data."""

    source: str = Field(description="where it comes from")
    available: Count = Field(description="frames it has")
    evaluated: Count = Field(description="frames that were used")
    classes: list[str] = Field(description="their names in the data")


class Difference(StrictModel):
    """A variant minus another one, paired by frame."""

    reference: str = Field(description="the other one")
    difference: dict[str, Interval] = Field(description="figure to difference with its 95 % interval")


class Evaluation(Document):
    """Accuracy of variants on labeled data."""

    schema_: Literal["adcp-evaluation/1"] = field_of_kind("adcp-evaluation/1")
    model: str = Field(description="the model's name")
    task: str
    data: LabeledSource
    settings: dict[str, Plain] = Field(description="detection: of the decoder")
    lower_is_better: list[str] = Field(description="figures that are errors")
    variants: dict[str, VariantAccuracy] = Field(description="name to accuracy")
    comparison: dict[str, Difference] = Field(description="variant to its difference from the first one")
    saved: list[str] = Field(default_factory=list, description="files with the results, of --save")
