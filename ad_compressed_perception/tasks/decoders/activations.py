# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sigmoid, softmax and the strongest class, and the logit of a threshold, which rules out most cells."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

_LARGEST = 80.0
"""exp(80) is within float32; the sigmoid is 0 or 1 to float32 long before."""


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    powers: NDArray[np.float32] = np.exp(-np.clip(values, -_LARGEST, _LARGEST))
    return np.float32(1.0) / (np.float32(1.0) + powers)


def softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def largest(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (N,) largest finite number of each column of (classes, N), of any layout in memory."""
    if columns.strides[0] > columns.strides[1]:
        return columns.max(axis=0)
    # numpy reduces a short contiguous axis number by number.
    reduced = cv2.reduce(columns.T, 1, cv2.REDUCE_MAX)
    return np.asarray(reduced, np.float32).ravel()


def logit(score: float) -> float:
    """Return the logit from which a sigmoid may reach a score, a little low for rounding; -inf for 0."""
    low = score - 1e-6
    if low <= 0.0:
        return -math.inf
    return math.log(low / (1.0 - low))
