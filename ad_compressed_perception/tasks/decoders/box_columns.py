# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What decoders of ready boxes share: order and units of coordinates, labels of classes, strong scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, OutputError
from ad_compressed_perception.core.manifest import InputSpec, Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.find_outputs import Pattern, find_fitting, fits
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability

Activation = Literal["none", "sigmoid", "softmax"]
BoxOrder = Literal["xyxy", "yxyx", "center"]
BoxUnits = Literal["pixels", "normalized"]

_UNREPORTED = -1
_WORDS = {
    "boxes": ("box", "loc", "reg"),
    "scores": ("score", "conf", "cls", "class", "prob", "logit", "label"),
}
"""Parts of the names that exporters give such outputs."""
_LEAST_REACH_PX = 2.0


class BoxOptions(StrictModel):
    """Options of decoders whose boxes are columns of an output."""

    box_order: BoxOrder = Field(
        "xyxy", description="columns of a box: corners, corners with y first, or center and size (cx cy w h)"
    )
    box_units: BoxUnits = Field("pixels", description="pixels of the model's input, or 0 to 1 of its sides")
    label_ids: list[int] | None = Field(
        None,
        min_length=1,
        description="label of each class of the model; -1: not reported; the labels in order when absent",
    )


def class_labels(manifest: Manifest, label_ids: list[int] | None) -> NDArray[np.int64]:
    """Return the label id of each class of the model, -1 for classes that are not reported.

    Raises:
        ManifestError: an id is given twice or is none of the manifest's labels.
    """
    if label_ids is None:
        return np.arange(len(manifest.labels))
    reported = [one for one in label_ids if one != _UNREPORTED]
    wrong = len(set(reported)) != len(reported) or not reported
    if wrong or min(reported) < 0 or max(reported) >= len(manifest.labels):
        raise ManifestError(
            f"model {manifest.name!r}, options of decoder {manifest.output.decoder!r}: label_ids {label_ids} "
            f"must be different numbers of 0..{len(manifest.labels) - 1}, or -1 for a class without a label"
        )
    return np.asarray(label_ids, np.int64)


def find_worded(
    outputs: Sequence[TensorSpec],
    name: str | None,
    patterns: Sequence[Pattern],
    kind: Literal["boxes", "scores"],
    **messages: Any,
) -> TensorSpec:
    """Return the output called ``name``, or the one that fits; where several fit, a word in its name decides.

    Args:
        outputs: of the file, without those that are taken for something else.
        name: as the options give it.
        patterns: shapes that fit.
        kind: what the output holds, whose usual words decide.
        messages: model, needs and option of ``find_fitting``, which raises.
    """
    fitting = [one for one in outputs if any(fits(one.shape, each) for each in patterns)]
    # Some call both by the box: mbox_loc and mbox_conf.
    worded = [one for one in fitting if _has_word(one, "scores") == (kind == "scores")]
    worded = [one for one in worded if kind == "scores" or _has_word(one, "boxes")]
    among = worded if name is None and len(worded) == 1 else outputs
    return find_fitting(among, name, patterns, **messages)


def _has_word(tensor: TensorSpec, kind: str) -> bool:
    return any(word in tensor.name.lower() for word in _WORDS[kind])


def as_rows(values: NDArray[Any], columns: int, where: str) -> NDArray[np.float32]:
    """Return (N, columns) float32 of a finite output (..., N, columns) or (1, columns, N).

    Raises:
        OutputError: neither shape, or a number that is not finite.
    """
    if values.shape[-1] == columns:
        rows = np.asarray(values.reshape(-1, columns), np.float32)
    elif values.ndim == 3 and values.shape[:2] == (1, columns):
        rows = np.asarray(values[0].T, np.float32)
    else:
        raise OutputError(f"{where}: {list(values.shape)} has no axis of {columns}")
    if rows.size:
        check_finite(rows, where)
    return rows


def corners(
    boxes: NDArray[np.float32], order: BoxOrder, units: BoxUnits, spec: InputSpec, where: str
) -> NDArray[np.float32]:
    """Return (N, 4) xyxy in pixels of the model's input of (N, 4) boxes of an order and units.

    Raises:
        OutputError: most boxes end before they begin, or all lie within two pixels of the corner: they
            have another order or other units.
    """
    if not len(boxes):
        return boxes.reshape(0, 4)
    if order == "center":
        centers, halves = boxes[:, :2], boxes[:, 2:] * np.float32(0.5)
        boxes = np.concatenate([centers - halves, centers + halves], axis=1)
    elif order == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    if units == "normalized":
        boxes = boxes * np.array([spec.width, spec.height] * 2, np.float32)
    elif np.abs(boxes).max() <= _LEAST_REACH_PX:
        raise OutputError(
            f"{where}: no box reaches beyond {_LEAST_REACH_PX:g} pixels; are they in 0 to 1 "
            "(option box_units: normalized)?"
        )
    inverted = int(((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])).sum())
    if 2 * inverted > len(boxes):
        raise OutputError(
            f"{where}: {inverted} of {len(boxes)} boxes end before they begin; is box_order {order} right?"
        )
    return np.asarray(boxes, np.float32)


def strong_scores(
    values: NDArray[np.float32], activation: Activation, threshold: float, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return row, column and score of each score of (N, C) finite values at or above a threshold.

    Raises:
        OutputError: scores outside 0..1, or an activation for values that are probabilities already.
    """
    if not values.size:
        none = np.zeros(0, np.intp)
        return none, none, np.zeros(0, np.float32)
    low, high = float(values.min()), float(values.max())
    if activation == "none":
        check_probability(np.array([low, high]), where, "are they logits (option activation)?")
        rows, columns = np.nonzero(values >= threshold)
        return rows, columns, np.clip(values[rows, columns], 0.0, 1.0)
    if low >= 0.0 and high <= 1.0:
        raise OutputError(
            f"{where}: scores from {low:.4g} to {high:.4g} are no logits; are they probabilities already "
            "(option activation: none)?"
        )
    if activation == "softmax":
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        rows, columns = np.nonzero(shares >= threshold)
        return rows, columns, shares[rows, columns]
    with np.errstate(divide="ignore", over="ignore"):
        # In logits first: few of a hundred thousand scores are strong.
        rows, columns = np.nonzero(values >= np.log(threshold) - np.log1p(-threshold))
        scores = np.float32(1.0) / (np.float32(1.0) + np.exp(-values[rows, columns]))
    return rows, columns, np.asarray(scores, np.float32)
