# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The decoder of a classifier: one score for each class."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ad_compressed_perception.importing.candidates.candidate import Candidate, Evidence, is_float

_WORDS = ("", "classify", "classification", "image-classification")


def classifiers(evidence: Evidence) -> Sequence[Candidate]:
    """Return the classifiers that a vector of scores could belong to."""
    metadata = evidence.facts.metadata
    if metadata.task not in _WORDS:
        return []
    found = []
    for tensor in evidence.outputs:
        shape = tensor.shape
        if not is_float(tensor) or len(shape) not in (2, 4) or any(size is None for size in shape[1:]):
            continue
        classes = prod(int(size or 0) for size in shape[1:])
        is_vector = len(shape) == 2 or max(int(size or 0) for size in shape[1:]) == classes
        if not is_vector or shape[0] not in (None, 1) or classes < 2:
            continue
        named = {"output": tensor.name} if len(evidence.outputs) > 1 else {}
        values = evidence.values.get(tensor.name)
        sums = values is not None and np.allclose(values.reshape(len(values), -1).sum(axis=1), 1.0, atol=1e-2)
        ends = evidence.facts.ends_in.get(tensor.name, frozenset())
        is_softmax = "Softmax" in ends or bool(sums and evidence.are_probabilities(tensor.name))
        activation = "none" if is_softmax or evidence.are_probabilities(tensor.name) else "softmax"
        stated = metadata.task in _WORDS[1:]
        prior = 0.95 if stated else 0.8 if is_softmax or evidence.labels == classes else 0.65
        if evidence.labels and evidence.labels != classes:
            prior = 0.05
        if len(evidence.outputs) > 1:
            prior *= 0.5
        found.append(
            Candidate(
                "classification",
                "classes",
                {**named, "activation": activation},
                classes,
                "torchvision" if metadata.exporter == "ultralytics" else "classifier",
                f"{classes} numbers a frame"
                + (", probabilities that sum up to 1" if is_softmax else "")
                + ("; the exporter says classify" if stated else ""),
                prior,
            )
        )
    return found
