# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Targets of the planning network: what ``driving.plan_vector.decode_plan`` decodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.driving.plan_vector import CURVATURE_SCALE
from ad_compressed_perception.driving.speed_profile import RULES, allowed_speed_mps


def encode_plan(
    curvature_per_m: NDArray[np.float64], clear_distance_m: float, must_stop: bool, may_proceed: bool
) -> NDArray[np.float32]:
    """Return (LENGTH,) targets; stop and proceed are 0 or 1, where the network outputs logits."""
    speed = allowed_speed_mps(clear_distance_m) / RULES.cruise_mps
    numbers = [*(np.asarray(curvature_per_m) * CURVATURE_SCALE), speed, float(must_stop), float(may_proceed)]
    return np.asarray(numbers, np.float32)
