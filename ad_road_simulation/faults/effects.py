# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a fault does to the outputs of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = dict[str, NDArray[Any]]
_BOXES_RANK, _SCORES_RANK = 3, 4
_FIRST_SCORE = 4
"""Column behind the four numbers of a box."""
_MANY = 0.9


def _with_value(array: NDArray[Any], value: float) -> NDArray[Any]:
    """Return a copy whose middle value is replaced; integers have no NaN: then the type changes, too."""
    changed = np.array(array, array.dtype if array.dtype.kind == "f" else np.float32)
    changed.reshape(-1)[changed.size // 2] = value
    return changed


def with_nan(outputs: Outputs) -> Outputs:
    """Return outputs of which each has one NaN: the least that a check must find."""
    return {name: _with_value(array, float("nan")) for name, array in outputs.items()}


def with_infinity(outputs: Outputs) -> Outputs:
    """Return outputs of which each has one infinite value."""
    return {name: _with_value(array, float("inf")) for name, array in outputs.items()}


def emptied(outputs: Outputs) -> Outputs:
    """Return outputs without values, of the same number of axes."""
    return {name: np.empty((0, *array.shape[1:]), array.dtype) for name, array in outputs.items()}


def lengthened(outputs: Outputs) -> Outputs:
    """Return outputs one longer along their last axis."""
    return {
        name: np.concatenate([array, array[..., -1:]], axis=-1) if array.ndim else np.stack([array] * 2)
        for name, array in outputs.items()
    }


def implausible(outputs: Outputs) -> Outputs:
    """Return outputs that keep shapes and ranges and are those of no such frame.

    Scores of pixels (4 axes) change places: every label is another one. Of boxes (3 axes) each one gets the
    largest scores of all: detections everywhere. Other numbers x, such as a planner's, become 1 - x: a path
    of the default planner bends at once, probabilities are those of the opposite.
    """
    return {name: _implausible(array) for name, array in outputs.items()}


def _implausible(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim >= _SCORES_RANK and array.shape[1] > 1:
        return np.ascontiguousarray(np.roll(array, 1, axis=1))
    if array.ndim == _BOXES_RANK and array.shape[-1] > _FIRST_SCORE + 1:
        changed = np.array(array)
        scores = changed[..., _FIRST_SCORE:]
        scores[:] = scores.max(axis=1, keepdims=True).clip(_MANY, 1.0)
        return changed
    return np.asarray(1 - array, array.dtype)
