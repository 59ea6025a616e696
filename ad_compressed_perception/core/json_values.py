# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Values as JSON has them: no NaN, no infinity, no numbers of numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, PlainSerializer


def finite(value: float | None) -> float | None:
    """Return a number, None for NaN and infinities."""
    return None if value is None or not math.isfinite(value) else value


def plain(value: Any) -> Any:
    """Return mappings, sequences and numbers as JSON and YAML have them; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return finite(value) if isinstance(value, float) else value


def _nan_of_null(value: Any) -> Any:
    return math.nan if value is None else value


Plain = Annotated[Any, BeforeValidator(plain)]
"""Any value, as JSON has it."""

NanIsNull = Annotated[
    float, BeforeValidator(_nan_of_null), PlainSerializer(finite, return_type=float | None, when_used="json")
]
"""A number to compute with: NaN where it is undefined, null in a document."""
