# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of labels in an agreement of masks: their share of the pixels, with a floor for labels that inform.

The plain mean over labels lets a label of a handful of pixels, whose IoU is noise, count as much as the
road. The share alone would let a model lose every traffic light for nothing. A label therefore weighs its
share of the pixels; an informative one weighs at least ``FLOOR`` before the weights are normalized. A model
of L labels that loses one of them entirely then loses at least ``FLOOR / (1 + L FLOOR)``: with 0.02 more
than 0.01 for up to 50 labels, so that no limit of 1 % or less can hide it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.iou import iou_per_class

FLOOR = 0.02
"""Least weight of an informative label, before the weights are normalized."""

MIN_SHARE = 0.001
"""Share of the compared pixels that an informative label has, of all frames and of each with area of it."""

MIN_FRAMES = 10
"""On so many frames (half of them where fewer than twenty were compared) an informative label has area."""


def frames_with_area(confusions: NDArray[np.int64], compared: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (L,) the number of frames on which either side has the label with area.

    Args:
        confusions: (N, L, L) pixels of each frame by the baseline's label (rows) and the variant's.
        compared: (L,) which labels count; a share is that of their pixels.
    """
    shown = _shown(confusions, compared)
    least = np.maximum(1.0, MIN_SHARE * shown.sum(axis=1, keepdims=True))
    return np.asarray((shown >= least).sum(axis=0), np.int64)


def informative_labels(confusions: NDArray[np.int64], compared: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (L,) bool: whether either side has enough of the label, and on enough of the frames.

    Args:
        confusions: as in ``frames_with_area``.
        compared: likewise.
    """
    enough_frames = max(1, min(MIN_FRAMES, -(-len(confusions) // 2)))
    pixels = _shown(confusions.sum(axis=0)[None], compared)[0]
    has_pixels = pixels >= max(1.0, MIN_SHARE * float(pixels.sum()))
    return np.asarray(has_pixels & (frames_with_area(confusions, compared) >= enough_frames))


def _shown(confusions: NDArray[np.int64], compared: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (N, L) pixels of the side that has more of the label; 0 for labels that are not compared."""
    return np.maximum(confusions.sum(axis=2), confusions.sum(axis=1)) * compared


def label_weights(
    confusion: NDArray[np.int64], informative: NDArray[np.bool_], compared: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return (L,) weights, 0 for labels that are not compared; their sum is 1 unless no label has a pixel.

    A share is that of the side which has more pixels of the label, so that what only the variant shows weighs
    as what only the baseline does.

    Args:
        confusion: (L, L) pixels of all frames.
        informative: (L,) see ``informative_labels``.
        compared: (L,) which labels count.
    """
    pixels = _shown(confusion[None], compared)[0].astype(np.float64)
    shares = pixels / max(1.0, pixels.sum())
    raw = np.where(informative & (pixels > 0.0), np.maximum(shares, FLOOR), shares)
    total = float(raw.sum())
    return raw / total if total > 0.0 else raw


def weighted_iou(confusion: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """Return the weighted mean of the labels' IoU over those that either side has; NaN without any."""
    values = iou_per_class(confusion)
    known = ~np.isnan(values) & (weights > 0.0)
    total = float(weights[known].sum())
    return float(weights[known] @ values[known]) / total if total > 0.0 else float("nan")
