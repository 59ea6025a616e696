# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of a model with several heads: each head by its own task's score, on the same inferences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.verification.scores import (
    AgreementFigures,
    AgreementScore,
    Indices,
)
from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import HeadResult, HeadResults
from ad_compressed_perception.tasks.base import Task
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.multi_task import MultiTask


class HeadsScore(AgreementScore):
    """The scores of all heads; the figures as a whole are those of the head that lost most.

    A head that gives no result on a frame fails by itself: the others are compared.
    """

    difference_unit = "differences of the heads, each d as d / (1 + d), added up"

    def __init__(self, heads: Mapping[str, AgreementScore]) -> None:
        """Combine the heads' scores, all empty."""
        self.heads = dict(heads)
        self.differences = []

    def decode(self, task: Task[Any], outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> HeadResults:
        """Decode each head as its score needs it; heads without a valid result are left out."""
        assert isinstance(task, MultiTask)
        found: dict[str, HeadResult] = {}
        for name, score in self.heads.items():
            try:
                result = score.decode(task.heads[name], task.outputs_of(name, outputs), geometry)
            except ResultError:
                continue
            assert not isinstance(result, HeadResults)
            found[name] = result
        return HeadResults(found)

    def decode_variant(
        self, task: Task[Any], outputs: Mapping[str, NDArray[Any]], geometry: Geometry, *, failed: bool
    ) -> HeadResults:
        """Decode whichever heads have a result, also where some have none."""
        return self.decode(task, outputs, geometry)

    def add(self, baseline: Any, variant: Any) -> None:
        """Compare one frame head by head; raise DataError where results cannot be compared."""
        total = 0.0
        for name, score in self.heads.items():
            score.add(baseline[name], None if variant is None else variant.get(name))
            difference = score.differences[-1]
            total += 1.0 if math.isinf(difference) else difference / (1.0 + difference)
        is_failed = any(math.isinf(score.differences[-1]) for score in self.heads.values())
        self.differences.append(math.inf if is_failed else total)

    def figures(self, frames: Indices | None = None) -> AgreementFigures:
        """Return the figures of the head with the largest drop, and with them those of every head.

        Frames failed where any head did.
        """
        by_head = {name: score.figures(frames) for name, score in self.heads.items()}
        worst = max(by_head, key=lambda name: _drop(by_head[name]))
        chosen = np.arange(len(self.differences)) if frames is None else np.asarray(frames, np.int64)
        failed = int(np.isinf(np.array(self.differences, np.float64)[chosen]).sum())
        one = by_head[worst]
        return replace(
            one,
            measure=f"head {worst}: {one.measure}",
            informative_frames=min(each.informative_frames for each in by_head.values()),
            failed_frames=failed,
            heads=by_head,
        )

    def _add(self, baseline: Any, variant: Any) -> float:
        raise NotImplementedError  # add() does it head by head

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        raise NotImplementedError


def _drop(figures: AgreementFigures) -> float:
    """Return by what heads are ranked: one of which nothing could be compared is the worst."""
    return math.inf if math.isnan(figures.drop) else figures.drop
