# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals whose value has another key in a document."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from ad_compressed_perception.core.json_values import finite
from ad_compressed_perception.metrics.interval import Interval


def _read(key: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {"value" if name == key else name: one for name, one in value.items()}


def _write(key: str, interval: Interval) -> dict[str, float | None]:
    return {key: finite(interval.value), "low": finite(interval.low), "high": finite(interval.high)}


def _schema(key: str) -> dict[str, Any]:
    number = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    keys = (key, "low", "high")
    return {"type": "object", "properties": dict.fromkeys(keys, number), "required": list(keys)}


MedianInterval = Annotated[
    Interval,
    BeforeValidator(partial(_read, "median")),
    PlainSerializer(partial(_write, "median")),
    WithJsonSchema(_schema("median")),
]
MeanInterval = Annotated[
    Interval,
    BeforeValidator(partial(_read, "mean")),
    PlainSerializer(partial(_write, "mean")),
    WithJsonSchema(_schema("mean")),
]
