# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A path to a number in a message: ``twist.twist.linear.x``, ``data[0]``, ``transforms[1].transform.x``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError

_PART = re.compile(r"^(?P<name>[a-zA-Z]\w*)(?P<places>(\[\d{1,6}\])*)$")
_MOST_VALUES = 1 << 16


@lru_cache(maxsize=256)
def parse_field_path(text: str) -> tuple[str | int, ...]:
    """Return the names and places of a path; raise ValueError where it is none."""
    parts: list[str | int] = []
    for part in text.split("."):
        match = _PART.match(part)
        if match is None:
            raise ValueError(f"{text!r} is no path of fields such as twist.twist.linear.x or data[0]")
        parts += [match["name"], *(int(place) for place in re.findall(r"\d+", match["places"]))]
    return tuple(parts)


def read_field(message: Any, path: str) -> NDArray[np.float64]:
    """Return the number or numbers that a path leads to, (N,) float64 in the message's order.

    Raises:
        DataError: the message has no such field, or it holds no finite numbers.
    """
    value = message
    for part in parse_field_path(path):
        try:
            value = value[part] if isinstance(part, int) else getattr(value, part)
        except (AttributeError, IndexError, TypeError, KeyError):
            raise DataError(f"field {path!r}: {type(message).__name__} has no {part!r} there") from None
    try:
        numbers = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise DataError(f"field {path!r} is no number: {type(value).__name__}") from None
    if not 0 < numbers.size <= _MOST_VALUES:
        raise DataError(
            f"field {path!r} holds {numbers.size} numbers, at least 1 and at most {_MOST_VALUES} fit"
        )
    if not np.isfinite(numbers).all():
        raise DataError(f"field {path!r} is not finite")
    return numbers
