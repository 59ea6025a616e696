# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scores for unstructured pruning, and the selection of exactly the requested share of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scope = Literal["global", "layer"]
EFFECT = "size when stored packed; no speed: runtimes multiply by single zeros as by any number"


def lamp(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each square divided by the sum of the squares not smaller than it; the largest has 1.

    Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021.
    """
    order = np.argsort(magnitudes, axis=None, kind="stable")
    squares = magnitudes.reshape(-1)[order] ** 2
    rest = np.cumsum(squares[::-1])[::-1]
    shares = np.empty_like(squares)
    shares[order] = np.divide(squares, rest, out=np.zeros_like(squares), where=rest > 0.0)
    return shares.reshape(magnitudes.shape)


def select_lowest(
    scores: Sequence[NDArray[np.float64]], ratio: float, scope: Scope
) -> list[NDArray[np.bool_]]:
    """Mark exactly ``int(ratio * count)`` weights, those of the lowest scores; of equal ones the first.

    Args:
        scores: one array a tensor.
        ratio: share to mark, 0..1.
        scope: of all tensors together, or of each.

    Returns:
        One array a tensor, of its scores' shape.
    """
    if scope == "layer":
        return [_lowest(score, ratio) for score in scores]
    flat = _lowest(np.concatenate([score.reshape(-1) for score in scores]), ratio)
    ends = np.cumsum([score.size for score in scores])[:-1]
    return [part.reshape(score.shape) for part, score in zip(np.split(flat, ends), scores, strict=True)]


def share_after(ratio: float, step: int, steps: int) -> float:
    """Return the share of zeros after ``step`` of ``steps``: ``ratio (1 - (1 - step / steps)^3)``.

    Many weights are pruned in the first steps, few in the last ones (Zhu and Gupta, "To prune, or not to
    prune", 2017, equation 1).
    """
    return ratio * (1.0 - (1.0 - step / steps) ** 3)


def _lowest(scores: NDArray[np.float64], ratio: float) -> NDArray[np.bool_]:
    chosen = np.zeros(scores.size, bool)
    chosen[np.argsort(scores, axis=None, kind="stable")[: int(ratio * scores.size)]] = True
    return chosen.reshape(scores.shape)
