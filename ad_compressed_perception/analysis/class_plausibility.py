# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a classifier's numbers over several frames are what its decoder takes them for.

Logits taken as probabilities break the output contract (numbers beyond 0..1). An activation that the file
already has and the decoder applies again does not: the strongest label stays the same, only every score is
near 1/K. So is what a file with two softmaxes gives: the softmax of probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.tasks.decoders.classes import ClassesDecoder

_FEWEST_FRAMES = 4
_SUM_TOLERANCE = 1e-2
_SATURATED = 0.95
_ROUNDING = 0.01


def measure_classes(decoder: ClassesDecoder, outputs: Mapping[str, NDArray[Any]]) -> tuple[float, ...]:
    """Return least, largest and sum of a frame's numbers, and what a second softmax was applied to.

    With ``s = softmax(p)`` and ``sum p = 1``: ``p = log s + (1 - sum log s) / K``; its least and largest
    value are within 0..1 for a softmax of probabilities, and for hardly any other output that is sure of
    anything.
    """
    values = decoder.values(outputs).astype(np.float64)
    logs = np.log(np.maximum(values, 1e-12))
    inner = logs + (1.0 - logs.sum()) / len(logs)
    code = {"none": 0.0, "softmax": 1.0, "sigmoid": 2.0}[decoder.activation]
    sizes = float(values.min()), float(values.max()), float(values.sum())
    return (code, float(len(values)), *sizes, float(inner.min()), float(inner.max()))


def judge_classes(found: NDArray[np.float64]) -> str:
    """Return what is wrong with the numbers of (N, 7) frames; empty where nothing is."""
    code, count = int(found[0, 0]), int(found[0, 1])
    lowest, highest, sums, inner_low, inner_high = found[:, 2:].T
    are_probabilities = bool(lowest.min() >= 0.0 and highest.max() <= 1.0)
    sum_to_one = bool((np.abs(sums - 1.0) < _SUM_TOLERANCE).all()) and count > 1
    if code and are_probabilities and (sum_to_one or len(found) >= _FEWEST_FRAMES):
        kind, sums_text = ("softmax", " and their sum is 1") if sum_to_one else ("sigmoid", "")
        return (
            f"all class scores are within 0 to 1{sums_text}, so the file has its {kind} already, and the "
            "decoder would apply one again; set the decoder option activation: none"
        )
    is_inside = inner_low.min() >= -_ROUNDING and inner_high.max() <= 1.0 + _ROUNDING
    is_saturated = float((inner_high > _SATURATED).mean()) >= 0.5
    if not code and sum_to_one and len(found) >= _FEWEST_FRAMES and is_inside and is_saturated:
        return (
            f"no class score is above {highest.max():.2f}, and all are a softmax of probabilities: the file "
            "applies a softmax twice; take one of them out"
        )
    return ""
