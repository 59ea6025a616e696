# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Texts of figures: one form of a number, a share, a ratio and an interval in all reports."""

from __future__ import annotations

import math
from typing import Any

from ad_compressed_perception.metrics.interval import Interval

NONE = "–"
"""Where there is no figure."""


def number(value: float | None, digits: int = 3, suffix: str = "", sign: str = "") -> str:
    """Return a number with so many digits behind the point; a dash for None and NaN.

    What rounds to zero has no sign.
    """
    if value is None or math.isnan(value):
        return NONE
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}{suffix}"


def milliseconds(value: float | None) -> str:
    """Return a duration in a table whose head names the unit."""
    return number(value, 2)


def share(value: float | None, digits: int = 1) -> str:
    """Return a share, 0..1, in percent."""
    return NONE if value is None or math.isnan(value) else f"{value:.{digits}%}"


def speedup_text(value: float | None) -> str:
    """Return a speed-up as ``1.23x``; a dash where it was not measured."""
    return number(value, 2, "x")


def interval_text(one: Interval, digits: int = 3, suffix: str = "", sign: str = "") -> str:
    """Return a figure with its interval in brackets; a dash where there is none."""
    if not one.is_known:
        return NONE
    low, high = (number(end, digits, sign=sign) for end in (one.low, one.high))
    return f"{number(one.value, digits, suffix, sign)} ({low} to {high})"


def significant(one: Interval, digits: int = 3, sign: str = "") -> str:
    """Return the same with so many significant digits, for figures of unlike size in one table."""
    if not one.is_known:
        return NONE
    ends = (NONE if math.isnan(end) else f"{end:{sign}.{digits}g}" for end in (one.low, one.high))
    return f"{one.value:{sign}.{digits}g} ({' to '.join(ends)})"


def first_items(value: Any, shown: int) -> str:
    """Return a pass's note or a fact in a few words; long and nested values are counted."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return f"({len(value)})"
    if isinstance(value, (list, tuple)):
        is_flat = not any(isinstance(item, (dict, list, tuple)) for item in value)
        return ", ".join(map(str, value)) if is_flat and len(value) <= shown else f"({len(value)})"
    return str(value)
