# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A figure with its interval."""

# Annotations are objects here: pydantic 2.5 reads those of a dataclass in the namespace of its user.

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ad_compressed_perception.core.json_values import NanIsNull

Ends = tuple[float, float]
"""Lower and upper end of an interval; NaN where undefined."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; NaN, and null in a document, where undefined."""

    value: Annotated[NanIsNull, Field(description="as measured on all samples")] = math.nan
    low: Annotated[NanIsNull, Field(description="lower end of the interval")] = math.nan
    high: Annotated[NanIsNull, Field(description="upper end of the interval")] = math.nan

    @property
    def is_known(self) -> bool:
        """Whether there is a value, whatever its ends."""
        return math.isfinite(self.value)
