# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Quantiles of the beta distribution and of Student's t, without SciPy, which the car does not have."""

from __future__ import annotations

import math

_TINY = 1e-300
_TERMS = 500


def beta_probability(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), a, b > 0.

    The continued fraction of NIST's Digital Library of Mathematical Functions, 8.17.22, evaluated with
    Lentz's method; it converges fast on the side of the mean that this function chooses.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_probability(1.0 - x, b, a)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    ) - math.log(a)
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, _TERMS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + numerator * d)
            c = _away_from_zero(1.0 + numerator / c)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-12:
            break
    return math.exp(log_front) * fraction


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return x with I_x(a, b) = ``probability`` (0..1), to 1e-10, by bisection and false position in turn."""
    low, high = 0.0, 1.0
    below, above = -probability, 1.0 - probability
    for step in range(_TERMS):
        share = 0.5 if step % 3 == 0 else min(0.99, max(0.01, below / (below - above)))
        middle = low + share * (high - low)
        found = beta_probability(middle, a, b) - probability
        if found < 0.0:
            low, below = middle, found
        else:
            high, above = middle, found
        if high - low < 1e-10 or abs(found) < 1e-13:
            return middle
    return (low + high) / 2.0


def t_quantile(level: float, degrees: float) -> float:
    """Return the t with P(|T| <= t) = ``level``: t^2 / (degrees + t^2) is Beta(1/2, degrees/2)."""
    x = beta_quantile(level, 0.5, degrees / 2.0)
    return math.sqrt(degrees * x / (1.0 - x))


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
