# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Classifications to serialized vision_msgs and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from vision_msgs.msg import Classification as ClassificationMessage

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.messages.cdr import EXAMPLE, CdrWriter

__all__ = ["ClassificationMessage", "examples", "from_message", "serialize"]


def serialize(found: Classification, header: Any) -> bytes:
    """Return the published labels with their scores, strongest first; class_id is the label itself."""
    message = CdrWriter(header.stamp, header.frame_id)
    message.numbers("I", len(found.ranked))
    for class_id, score in zip(found.ranked.tolist(), found.scores[found.ranked].tolist(), strict=True):
        message.text(found.labels[class_id])
        message.numbers("d", score)
    return bytes(message)


def examples() -> dict[type, bytes]:
    """Return a message of each type that is written here, to compare with the installed types."""
    one = Classification(np.ones(1, np.float32), np.zeros(1, np.int64), ("stop",))
    return {ClassificationMessage: serialize(one, EXAMPLE)}


def from_message(message: ClassificationMessage, labels: Sequence[str]) -> Classification:
    """Return the classification of a message; scores that it does not have are NaN.

    Raises:
        ResultError: a label that is not among ``labels`` or occurs twice, a score that is not finite.
    """
    ids = {label: index for index, label in enumerate(labels)}
    scores = np.full(len(labels), np.nan, np.float32)
    found: list[tuple[float, int]] = []
    for hypothesis in message.results:
        place = ids.get(hypothesis.class_id)
        if place is None:
            raise ResultError(f"label {hypothesis.class_id!r} is not among {', '.join(labels)}")
        if not (abs(hypothesis.score) <= float(np.finfo(np.float32).max) and np.isnan(scores[place])):
            raise ResultError(
                f"label {hypothesis.class_id!r} has the score {hypothesis.score}, or comes twice"
            )
        scores[place] = hypothesis.score
        found.append((-hypothesis.score, place))
    # A message of another node may be in any order.
    ranked = np.array([place for _, place in sorted(found, key=lambda one: one[0])], np.int64)
    return Classification(scores, ranked, tuple(labels))
