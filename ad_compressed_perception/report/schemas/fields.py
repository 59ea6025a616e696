# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Types of the fields of documents."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ad_compressed_perception.core.json_values import finite
from ad_compressed_perception.core.manifest import StrictModel


def _null_if_not_finite(value: Any) -> Any:
    return finite(value) if isinstance(value, float) else value


Figure = Annotated[float | None, BeforeValidator(_null_if_not_finite)]
"""A measured number; null where there is none (NaN and infinities become null)."""

Count = Annotated[int, Field(ge=0)]


class Percentiles(StrictModel):
    """Percentiles of a series of durations; all null where ``count`` is 0."""

    p50: Figure = Field(default=None, description="median, ms")
    p95: Figure = Field(default=None, description="95th percentile, ms")
    p99: Figure = Field(default=None, description="99th percentile, ms")
    max: Figure = Field(default=None, description="largest value, ms")
    count: Count = Field(default=0, description="values in the series")
