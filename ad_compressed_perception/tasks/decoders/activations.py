# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sigmoid and softmax, and the logit that a score threshold is: most cells are ruled out without an exp."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_LARGEST = 80.0
"""exp(80) is within float32; the sigmoid is 0 or 1 to float32 long before."""


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    result: NDArray[np.float32] = 1.0 / (1.0 + np.exp(-np.clip(values, -_LARGEST, _LARGEST)))
    return result


def softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def logit(score: float) -> float:
    """Return the logit from which a sigmoid may reach a score, a little low for rounding; -inf for 0."""
    low = score - 1e-6
    if low <= 0.0:
        return -math.inf
    return math.log(low / (1.0 - low))
