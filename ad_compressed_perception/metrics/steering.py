# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predicted against recorded steering: root mean square error, mean absolute error, correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]


def rmse(ground_truth: Series, predicted: Series) -> float:
    """Return the root of the mean squared difference, in the unit of the series; NaN when empty."""
    if ground_truth.size == 0:
        return float("nan")
    return float(np.sqrt(np.mean(np.square(predicted - ground_truth))))


def mean_absolute_error(ground_truth: Series, predicted: Series) -> float:
    """Return the mean absolute difference, in the unit of the series; NaN when empty."""
    if ground_truth.size == 0:
        return float("nan")
    return float(np.mean(np.abs(predicted - ground_truth)))


def correlation(ground_truth: Series, predicted: Series) -> float:
    """Return Pearson's correlation, -1..1; NaN where a series is constant or shorter than two."""
    if ground_truth.size < 2:
        return float("nan")
    a = ground_truth - ground_truth.mean()
    b = predicted - predicted.mean()
    spread_a, spread_b = float(np.sqrt(a @ a)), float(np.sqrt(b @ b))
    # Below this share of the values' magnitude, the deviation from the mean is rounding error.
    noise = 1e-12 * np.sqrt(ground_truth.size)
    if spread_a <= noise * np.abs(ground_truth).max() or spread_b <= noise * np.abs(predicted).max():
        return float("nan")
    return float(np.clip((a / spread_a) @ (b / spread_b), -1.0, 1.0))
