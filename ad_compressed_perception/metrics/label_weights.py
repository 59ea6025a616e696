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

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    return _frames_with_area(_shown(confusions, compared))


def _frames_with_area(shown: NDArray[np.int64]) -> NDArray[np.int64]:
    least = np.maximum(1.0, MIN_SHARE * shown.sum(axis=1, keepdims=True))
    return np.asarray((shown >= least).sum(axis=0), np.int64)


def informative_labels(confusions: NDArray[np.int64], compared: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (L,) bool: whether either side has enough of the label, and on enough of the frames.

    Args:
        confusions: as in ``frames_with_area``.
        compared: likewise.
    """
    pixels = _shown(confusions.sum(axis=0)[None], compared)[0]
    return informative_of_pixels(pixels, _shown(confusions, compared))


def informative_of_pixels(pixels: NDArray[np.int64], shown: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (L,) bool: as ``informative_labels``, from pixels of the side that has more of each label.

    Args:
        pixels: (L,) of all frames.
        shown: (N, L) of each frame.
    """
    enough_frames = max(1, min(MIN_FRAMES, -(-len(shown) // 2)))
    has_pixels = pixels >= max(1.0, MIN_SHARE * float(pixels.sum()))
    return np.asarray(has_pixels & (_frames_with_area(shown) >= enough_frames))


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
    return weights_of_pixels(_shown(confusion[None], compared)[0], informative)


def weights_of_pixels(pixels: NDArray[np.int64], informative: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (L,) weights, as ``label_weights``, from (L,) pixels of the side that has more of each label."""
    shares = pixels / max(1.0, float(pixels.sum()))
    raw = np.where(informative & (pixels > 0.0), np.maximum(shares, FLOOR), shares)
    total = float(raw.sum())
    return raw / total if total > 0.0 else raw


def iou_of_sums(sums: NDArray[Any]) -> NDArray[np.float64]:
    """Return (..., L) IoU of (..., 3, L) pixels of the baseline, of the variant, of both; NaN without any."""
    reference, found, both = np.moveaxis(sums.astype(np.float64), -2, 0)
    union = reference + found - both
    return np.divide(both, union, out=np.full(union.shape, np.nan), where=union > 0)


def weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted mean over the last axis, labels that are NaN left out; NaN without any."""
    known = np.where(np.isnan(values), 0.0, weights)
    total = known.sum(axis=-1)
    weighted = (known * np.nan_to_num(values)).sum(axis=-1)
    return np.divide(weighted, total, out=np.full(total.shape, np.nan), where=total > 0.0)
