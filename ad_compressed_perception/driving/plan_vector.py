# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Output vector of the planning network, in similar value ranges so that one quantization scale fits all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.driving.path import KNOTS_M
from ad_compressed_perception.driving.speed_profile import RULES, clear_distance_of

CURVATURE_SCALE = 50.0
"""Network units per 1/m: a bend of 50 m radius is 1."""
SPEED, STOP, PROCEED = len(KNOTS_M), len(KNOTS_M) + 1, len(KNOTS_M) + 2
"""Indices after the curvatures: allowed speed / cruise speed, logit of stop, logit of proceeding after it."""
LENGTH = len(KNOTS_M) + 3


@dataclass(frozen=True)
class Plan:
    """A decoded vector.

    Attributes:
        curvature_per_m: (11,) float64 at KNOTS_M.
        clear_distance_m: from the front bumper; inf where cruise speed is allowed.
        stop_probability: that the car has to stop for something ahead.
        proceed_after_stop_probability: that it may proceed after having stopped there.
    """

    curvature_per_m: NDArray[np.float64]
    clear_distance_m: float
    stop_probability: float
    proceed_after_stop_probability: float


def decode_plan(vector: NDArray[np.float32]) -> Plan:
    """Return the plan decoded from a network's (LENGTH,) output.

    Within 3 percent of cruise speed the way is taken as clear: the network output rarely saturates at 1.
    """
    numbers = np.asarray(vector, np.float64).reshape(-1)
    speed = float(numbers[SPEED])
    clear = float("inf") if speed > 0.97 else clear_distance_of(speed * RULES.cruise_mps)
    stop, proceed = (1.0 / (1.0 + np.exp(-np.clip(numbers[[STOP, PROCEED]], -30.0, 30.0)))).tolist()
    return Plan(numbers[:SPEED] / CURVATURE_SCALE, clear, stop, proceed)
