# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Limits on the variant that a search selects: ``drop<=1%, p99<=20ms, size<=0.25, speed>=2x`` in one line.

budget = term ("," term)*
term   = "drop" "<=" share | "p99" "<=" time | "size" "<=" share | "speed" ">=" factor
share  = number ["%"]        time = number ("ms" | "s")        factor = number ["x"]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ad_compressed_perception.core.errors import RecipeError

KNOWN = "drop<=1%, p99<=20ms, size<=0.25, speed>=2x"
_TERM = re.compile(
    r"^(?P<name>[A-Za-z_]\w*)\s*(?P<sign><=|>=|<|>|==|=)\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"\s*(?P<unit>[A-Za-z%]*)$"
)
_SIGNS = {"drop": "<=", "p99": "<=", "size": "<=", "speed": ">="}
_UNITS = {
    "drop": {"": 1.0, "%": 0.01},
    "p99": {"ms": 1.0, "s": 1000.0},
    "size": {"": 1.0, "%": 0.01},
    "speed": {"": 1.0, "x": 1.0},
}


@dataclass(frozen=True)
class Budget:
    """Limits that a winner must keep; None for no limit.

    Attributes:
        drop: largest loss of the measure, 0..1.
        p99_ms: largest 99th percentile from frame to result, milliseconds.
        size: largest variant/baseline ratio of stored bytes.
        speed: least baseline/variant ratio of median times.
    """

    drop: float
    p99_ms: float | None = None
    size: float | None = None
    speed: float | None = None

    @property
    def least_speed(self) -> float | None:
        """The least speed-up; 1 where the budget limits neither speed nor size."""
        return 1.0 if self.speed is None and self.size is None else self.speed

    def accept(self) -> dict[str, Any]:
        """Return the limits as a recipe's terms of acceptance; times are from frame to result."""
        terms: dict[str, Any] = {
            "max_drop": self.drop,
            "max_p99_ms": self.p99_ms,
            "max_size_ratio": self.size,
            "min_speedup": self.least_speed,
        }
        if self.p99_ms is not None or self.least_speed is not None:
            terms["timed"] = "end_to_end"
        return {key: value for key, value in terms.items() if value is not None}

    def __str__(self) -> str:
        """Return the budget in its own grammar; parsed again it is the same."""
        parts = [f"drop<={self.drop!r}"]
        parts += [f"p99<={self.p99_ms!r}ms"] if self.p99_ms is not None else []
        parts += [f"size<={self.size!r}"] if self.size is not None else []
        parts += [f"speed>={self.speed!r}x"] if self.speed is not None else []
        return ", ".join(parts)


def parse_budget(text: str) -> Budget:
    """Read a budget; the drop is at most 5 % where none is given.

    Raises:
        RecipeError: the term that is wrong, why, and the known ones.
    """
    values: dict[str, float] = {}
    terms = [term.strip() for term in text.split(",")]
    for term in terms:
        name, value = _parse_term(term, text)
        if name in values:
            raise _wrong(text, f"{name!r} is named twice")
        values[name] = value
    drop = values.pop("drop", 0.05)
    return Budget(drop, values.get("p99"), values.get("size"), values.get("speed"))


def _parse_term(term: str, text: str) -> tuple[str, float]:
    if not term:
        raise _wrong(text, "a term is empty")
    match = _TERM.match(term)
    if match is None:
        raise _wrong(text, f"{term!r} is no term")
    name, sign, unit = match["name"].lower(), match["sign"], match["unit"].lower()
    if name not in _SIGNS:
        raise _wrong(text, f"unknown term {match['name']!r}")
    if sign != _SIGNS[name]:
        raise _wrong(text, f"{name} takes {_SIGNS[name]!r}, not {sign!r}")
    units = _UNITS[name]
    if unit not in units:
        allowed = " or ".join(repr(known) if known else "none" for known in units)
        raise _wrong(text, f"the unit of {name} is {allowed}, not {match['unit'] or 'none'!r}")
    value = float(match["number"]) * units[unit]
    _check_range(name, value, term, text)
    return name, value


def _check_range(name: str, value: float, term: str, text: str) -> None:
    if name == "drop" and not 0.0 <= value <= 1.0:
        raise _wrong(text, f"{term!r}: a drop is 0 to 1, or 0% to 100%")
    if name != "drop" and not 0.0 < value < float("inf"):
        raise _wrong(text, f"{term!r}: must be above 0 and finite")


def _wrong(text: str, reason: str) -> RecipeError:
    return RecipeError(f"budget {text!r}: {reason}; known terms, joined by commas: {KNOWN}")
