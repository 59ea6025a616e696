# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of faults, and how a person names one; standard library only, for launch files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ad_compressed_perception.core.errors import DataError

BACKEND = "fault_injection"
"""Name of the backend that injects faults."""
SWITCH = "ADCP_INJECT_FAULTS"
"""Environment variable without which the backend refuses to load: no car injects faults by accident."""
KINDS = {
    "raise": "the runtime raises an error",
    "exit": "the runtime raises SystemExit in its thread",
    "hang": "the runtime returns only after duration_ms, and lets other threads run meanwhile",
    "hang_gil": "the same, but it holds Python's interpreter lock: no thread of the process runs",
    "nan": "one value of every output is NaN",
    "inf": "one value of every output is infinite",
    "missing": "there are no outputs",
    "empty": "every output has no values",
    "wrong_shape": "every output is one value longer along its last axis",
    "constant": "the outputs are those of the first frame",
    "implausible": "the outputs keep the output contract and are those of no such frame",
    "slow": "the runtime takes slow_factor times its time",
    "memory": "the runtime takes memory_mb more each time and never returns them",
}
"""Kind to what happens."""
LOUD = ("raise", "exit", "nan", "inf", "missing", "empty", "wrong_shape")
"""Kinds that a frame shows at once: by an exception or by outputs that break the output contract."""
_EXAMPLE = "nan:0.05"


@dataclass(frozen=True)
class FaultRequest:
    """A kind of fault and in which share of the inferences it is injected."""

    kind: str
    probability: float = 1.0

    def backend_options(self, inner: str, seed: int = 1) -> dict[str, Any]:
        """Return the options of the backend that injects it into the runtime ``inner``."""
        return {"inner": inner, "kind": self.kind, "probability": self.probability, "seed": seed}


def parse_fault(text: str) -> FaultRequest:
    """Read ``KIND`` or ``KIND:PROBABILITY``.

    Raises:
        DataError: an unknown kind, or a probability that is not in 0..1; the line names what there is.
    """
    kind, colon, number = text.strip().partition(":")
    if kind not in KINDS:
        raise DataError(f"unknown fault {kind[:40]!r}; known: {', '.join(KINDS)}, such as {_EXAMPLE}")
    if not colon:
        return FaultRequest(kind)
    try:
        probability = float(number)
    except ValueError:
        probability = float("nan")
    if not 0.0 < probability <= 1.0:
        raise DataError(f"fault {text[:60]!r}: the probability is above 0 and at most 1, such as {_EXAMPLE}")
    return FaultRequest(kind, probability)
