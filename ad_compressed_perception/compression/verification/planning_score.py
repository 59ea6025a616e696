# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Share of frames whose whole path agrees with the baseline's.

Gated is a tolerance that grows with distance: a path is planned again many times before the vehicle reaches
its end, and an error of the angle grows with distance by itself. The strict figure keeps the tolerance at
the vehicle over the whole path. Both ask for a path of about the same length, else one that ends at once
would agree, for about the same speed, and for the same view of collision and stop, else a planner that never
stops would.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.verification.informative import BaselineInformation
from ad_compressed_perception.compression.verification.scores import (
    AgreementFigures,
    AgreementScore,
    Indices,
    PartDrop,
    find_lost,
)
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.metrics.agreement import PlanningAgreement, planning_agreement
from ad_compressed_perception.metrics.output_noise import noise_share
from ad_compressed_perception.metrics.path_tolerance import is_offset, is_other_length, is_other_speed
from ad_compressed_perception.metrics.share_interval import independent_frames, share_intervals

ROUNDING_SHARE = 0.01
"""Offsets below this share of the tolerance are none."""

REACTIONS = ("collision", "stop", "proceed after a stop")
"""What a trajectory's probabilities are of, in the order of ``_probabilities``."""

PROBABILITY_THRESHOLD = 0.5
"""Above it a vehicle acts on one of these probabilities."""

PROBABILITY_TOLERANCE = 0.25
"""Difference from which two probabilities on both sides of the threshold contradict."""


LEAST_SPEED_CHANGE_MPS = 0.3
"""Deviation over frames from which changes of speed are judged: below it a drive has none."""

_SPEED_CHANGE = "change of speed"


class PlanningScore(AgreementScore):
    """Share of frames whose whole path lies within the tolerance of the baseline's."""

    difference_unit = "largest lateral offset of the path, m"

    def __init__(self, lateral_tolerance_m: float, lateral_tolerance_per_m: float = 0.0) -> None:
        """Compare paths.

        Args:
            lateral_tolerance_m: lateral offset that agrees at the vehicle, meters.
            lateral_tolerance_per_m: by how much it grows for each meter of distance.
        """
        super().__init__(BaselineInformation())
        self._tolerance_m, self._tolerance_per_m = lateral_tolerance_m, lateral_tolerance_per_m
        self._frames: list[PlanningAgreement | None] = []
        # Of each frame: whether it is outside of the growing, of the constant tolerance, of the length's,
        # of the probabilities', of the speed's.
        self._outside: list[tuple[bool, bool, bool, bool, bool]] = []
        # Of each frame, (2, 3): whether the baseline asks for each reaction, whether the variant agrees.
        self._reactions: list[NDArray[np.bool_]] = []
        # Of each frame: the baseline's change of speed along the path and the variant's, m/s.
        self._changes: list[tuple[float, float]] = []

    def _add(self, baseline: Trajectory, variant: Trajectory | None) -> float:
        asked = np.array(_probabilities(baseline)) > PROBABILITY_THRESHOLD
        kept = np.zeros(3, bool) if variant is None else asked & ~_contradicted(baseline, variant)
        self._reactions.append(np.stack([asked, kept]))
        known = _speed_change(baseline)
        self._changes.append((known, 0.0 if variant is None else _speed_change(variant)))
        if variant is None:
            self._frames.append(None)
            self._outside.append((True, True, True, True, True))
            return math.inf
        agreement = planning_agreement(baseline, variant)
        self._frames.append(agreement)
        other_length = is_other_length(baseline, variant)
        contradicts = bool(_contradicted(baseline, variant).any())
        other_speed = is_other_speed(baseline, variant)
        differs = other_length or contradicts or other_speed
        self._outside.append(
            (
                is_offset(baseline, variant, self._tolerance_m, self._tolerance_per_m) or differs,
                agreement.max_lateral_offset_m > self._tolerance_m or differs,
                other_length,
                contradicts,
                other_speed,
            )
        )
        return agreement.max_lateral_offset_m

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return the share with its interval; without a frame outside, that of as many independent frames."""
        rows = np.array(self._outside, np.float64).reshape(-1, 5)[frames]
        outside, strict, other_length, contradicting, other_speed = rows.T
        differences = np.array(self.differences)[frames]
        # Rounding is largest in bends, which come in clusters: that says nothing of losses.
        differences[differences < ROUNDING_SHARE * self._tolerance_m] = 0.0
        (interval,) = share_intervals(
            np.stack([outside, np.ones_like(outside)], axis=1),
            lambda sums: sums[:, :1] / sums[:, 1:],
            trials=[independent_frames(differences)],
        )
        reactions = np.array(self._reactions, bool).reshape(-1, 2, 3)[frames]
        details = {
            "lateral_tolerance_m": self._tolerance_m,
            "lateral_tolerance_per_m": self._tolerance_per_m,
            "other_length_share": float(other_length.mean()),
            "contradicting_share": float(contradicting.mean()),
            "other_speed_share": float(other_speed.mean()),
        }
        known = [one for one in (self._frames[place] for place in frames) if one is not None]
        if known:
            pooled = known[0]
            for one in known[1:]:
                pooled = pooled + one
            details.update(
                ade_m=pooled.ade_m,
                fde_m=pooled.fde_m,
                mean_lateral_offset_m=pooled.mean_lateral_offset_m,
                max_lateral_offset_m=pooled.max_lateral_offset_m,
            )
        growth = f" + {self._tolerance_per_m:g} m/m" if self._tolerance_per_m else ""
        return AgreementFigures(
            f"share of frames within {self._tolerance_m:g} m{growth}",
            float(1.0 - outside.mean()),
            float(outside.mean()),
            *interval,
            len(outside),
            int(self._information.flags()[frames].sum()),
            failed,
            details,
            f"share of frames within {self._tolerance_m:g} m",
            float(1.0 - strict.mean()),
            labels=_of_speed_changes(np.array(self._changes, np.float64).reshape(-1, 2)[frames]),
            label_text="R^2 of trait {!r}",
            lost=find_lost(REACTIONS, reactions[:, 0], reactions[:, 1]),
        )


def _speed_change(trajectory: Trajectory) -> float:
    """Return by how much the mean speed of the later half of a path exceeds that of the first; 0 if unknown.

    Halves, since the speed from one waypoint to the next has the noise of both.
    """
    speeds = trajectory.speeds_mps
    if speeds is None or len(speeds) < 2:  # noqa: PLR2004 - two halves
        return 0.0
    half = len(speeds) // 2
    return float(np.mean(speeds[-half:]) - np.mean(speeds[:half]))


def _of_speed_changes(changes: NDArray[np.float64]) -> tuple[PartDrop, ...]:
    """Return 1 - R^2 of the variant's changes of speed, (N, 2); nothing where the baseline's hardly differ.

    A throttle that is always the same changes the length of a path of three seconds by less than what other
    reasons may change it by.
    """
    signal = (changes[:, 0] - changes[:, 0].mean()) ** 2
    if len(changes) < 2 or signal.mean() < LEAST_SPEED_CHANGE_MPS**2:  # noqa: PLR2004 - a deviation
        return ()
    sums = np.stack([(changes[:, 1] - changes[:, 0]) ** 2, signal], axis=1)[:, :, None]

    def shares(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        return noise_share(totals[:, 0], totals[:, 1])

    value = float(shares(sums.sum(axis=0)[None])[0, 0])
    (interval,) = share_intervals(sums, shares)
    return (PartDrop(_SPEED_CHANGE, value, *interval, len(changes)),)


def _probabilities(trajectory: Trajectory) -> tuple[float, float, float]:
    return (
        trajectory.collision_probability,
        trajectory.stop_probability,
        trajectory.proceed_after_stop_probability,
    )


def _contradicted(baseline: Trajectory, variant: Trajectory) -> NDArray[np.bool_]:
    """Return (3,) whether a probability is on the other side of the threshold, or only one side gives it.

    A variant that always says 0.4 never stops, though it is nowhere far from the baseline.
    """
    one, other = np.array(_probabilities(baseline)), np.array(_probabilities(variant))
    is_crossed = (one > PROBABILITY_THRESHOLD) != (other > PROBABILITY_THRESHOLD)
    is_far = np.abs(one - other) > PROBABILITY_TOLERANCE
    return np.asarray((np.isnan(one) != np.isnan(other)) | (is_crossed & is_far))
