# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders that could fit masks: planes of scores, one plane, or ready label ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.importing.candidates.candidate import Candidate, Evidence, is_float

_MOST_STRIDE = 32
_MOST_CLASSES = 256
_MOST_CERTAIN_IDS = 64
"""Whole numbers beyond it may as well be an image of bytes."""
_WORDS = ("", "segmentation", "semantic", "semantic-segmentation", "image-segmentation")


def segmenters(evidence: Evidence) -> Sequence[Candidate]:
    """Return the segmenters that outputs of the input's aspect ratio could belong to."""
    if evidence.facts.metadata.task not in _WORDS:
        return []
    found: list[Candidate] = []
    for tensor in evidence.outputs:
        for layout, size, classes in _readings(tensor):
            stride = _stride(evidence, size)
            if stride is not None:
                found += _of_reading(evidence, tensor, layout, classes, stride)
    return found


def _readings(tensor: TensorSpec) -> Iterator[tuple[str, tuple[int, int], int]]:
    """Yield layout, (height, width) and number of planes; 0 planes for label ids."""
    shape = [int(size) if size is not None else -1 for size in tensor.shape]
    if -1 in shape:
        return
    if len(shape) == 4 and shape[0] == 1:
        yield "NCHW", (shape[2], shape[3]), shape[1]
        if shape[3] != shape[1]:
            yield "NHWC", (shape[1], shape[2]), shape[3]
    elif len(shape) == 3 and shape[0] == 1:
        yield "LABELS", (shape[1], shape[2]), 0
    elif len(shape) == 2:
        yield "LABELS", (shape[0], shape[1]), 0


def _stride(evidence: Evidence, size: tuple[int, int]) -> float | None:
    """Return how much coarser than the input a mask is; None where its aspect ratio is another."""
    height, width = size
    if min(height, width) < 2 or height > evidence.height or width > evidence.width:
        return None
    factors = evidence.height / height, evidence.width / width
    same = abs(height * evidence.width - width * evidence.height) <= max(evidence.height, evidence.width)
    whole = evidence.height % height == evidence.width % width == 0 and 0.5 <= factors[0] / factors[1] <= 2.0
    return max(factors) if (same or whole) and max(factors) <= _MOST_STRIDE else None


def _of_reading(
    evidence: Evidence, tensor: TensorSpec, layout: str, planes: int, stride: float
) -> Iterator[Candidate]:
    named = {"output": tensor.name} if len(evidence.outputs) > 1 else {}
    coarse = 1.0 if stride <= 8.0 else 0.6
    shown = f"{planes} planes ({layout}) at 1/{stride:g} of the input's size"
    is_ids = planes in (0, 1) and _are_whole(evidence, tensor)
    if is_ids:
        highest = evidence.span(tensor.name)[1]
        classes = max(evidence.labels, 2, 0 if np.isnan(highest) else int(highest) + 1)
        yield Candidate(
            "segmentation", "argmax", {"layout": "LABELS", **named}, classes, "segmenter",
            f"whole numbers up to {highest:g} in the input's aspect ratio: label ids", 0.85 * coarse,
            mirrors_anyway=evidence.labels != classes and classes > _MOST_CERTAIN_IDS,
        )  # fmt: skip
        return
    if not is_float(tensor) or planes < 1:
        return
    if planes > 1 and planes <= _MOST_CLASSES:
        fits = evidence.labels in (0, planes)
        yield Candidate(
            "segmentation", "argmax", {"layout": layout, **named}, planes, "segmenter", shown,
            (0.85 if fits else 0.1) * coarse,
            mirrors_anyway=evidence.labels != planes and not _sums_to_one(evidence, tensor, layout),
        )  # fmt: skip
    if planes <= 8:
        is_probability = evidence.are_probabilities(tensor.name)
        kind = "probability" if is_probability else "logits"
        # Planes that sum up to one exclude each other.
        sums = _sums_to_one(evidence, tensor, layout)
        yield Candidate(
            "segmentation",
            "sigmoid",
            {**named, "scores": kind},
            planes + 1,
            "segmenter",
            f"{shown}, {'probabilities' if is_probability else 'logits'} of independent labels",
            _sigmoid_prior(evidence, planes, sums=sums) * coarse,
            mirrors_anyway=evidence.labels != planes + 1,
        )


def _sigmoid_prior(evidence: Evidence, planes: int, *, sums: bool) -> float:
    if planes == 1:
        return 0.85
    return 0.85 if evidence.labels == planes + 1 else 0.05 if sums or evidence.labels else 0.3


def _are_whole(evidence: Evidence, tensor: TensorSpec) -> bool:
    if not is_float(tensor):
        return tensor.dtype != "bool"
    values = evidence.values.get(tensor.name)
    if values is None:
        return "ArgMax" in evidence.facts.ends_in.get(tensor.name, frozenset())
    return bool(np.isfinite(values).all() and np.array_equal(values, np.rint(values)) and np.ptp(values) > 0)


def _sums_to_one(evidence: Evidence, tensor: TensorSpec, layout: str) -> bool:
    values = evidence.values.get(tensor.name)
    if values is None:
        return "Softmax" in evidence.facts.ends_in.get(tensor.name, frozenset())
    total = values.sum(axis=2 if layout == "NCHW" else -1)
    return bool(np.allclose(total, 1.0, atol=1e-2))
