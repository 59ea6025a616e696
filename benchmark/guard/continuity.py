# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far a planner's path jumps where another model begins to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.serving.continuity import Continuity
from ad_compressed_perception.serving.result_changes import changes, summarize
from benchmark.guard.played import Played

_TURN = 40
_BEND_PER_M = 0.02


def bent(path: Trajectory) -> Trajectory:
    """Return a path that bends by 0.02 1/m more."""
    steps = np.diff(np.concatenate([np.zeros((1, 2)), path.points_xy_m]), axis=0)
    arc_m = np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))
    points = path.points_xy_m.copy()
    points[:, 1] += 0.5 * _BEND_PER_M * arc_m**2
    return replace(
        path,
        points_xy_m=points,
        headings_rad=path.headings_rad + _BEND_PER_M * arc_m,
        curvature_per_m=path.curvature_per_m + _BEND_PER_M,
    )


def jumps(
    variant: Sequence[Played], baseline: Sequence[Played], *, is_joined: bool, is_bent: bool
) -> dict[str, object]:
    """Return the changes of the curvature, 1/m, with both models in turn for 40 frames each."""
    joiner, before, at, normal, left = Continuity(), None, [], [], 0.0
    for number, (one, other) in enumerate(zip(variant, baseline, strict=True)):
        is_baseline = (number // _TURN) % 2 == 1
        path = other.result if is_baseline else one.result
        assert isinstance(path, Trajectory)
        path = bent(path) if is_bent and is_baseline else path
        shown = joiner.join(path, one.stamp_ns, is_baseline) if is_joined else path
        present, own = summarize(shown), summarize(path)
        assert present is not None and own is not None
        if before is not None:
            change = changes(before, present)["curvature_per_m"]
            (normal if number % _TURN else at).append(change)
        if number % _TURN == _TURN - 1:
            left = max(left, changes(present, own)["path_m"])
        before = present
    return {
        "largest at a switch": round(max(at), 4),
        "p99 of other frames": round(float(np.quantile(normal, 0.99)), 4),
        "left after 40 frames, m": round(left, 4),
    }
