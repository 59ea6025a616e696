# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers that a message gives to a model's input, in a node and from a bag alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.field_path import read_field
from ad_compressed_perception.core.input_sources import ODOMETRY_SPEED, ODOMETRY_TYPE, TopicInput
from ad_compressed_perception.driving.limits import MAX_SPEED_MPS


def topic_value(message: Any, source: TopicInput) -> NDArray[np.float64]:
    """Return the numbers of a source's field, (N,).

    Raises:
        DataError: there is no such field, or it is not finite; the speed of odometry that no planner uses.
    """
    numbers = read_field(message, source.field)
    is_speed = (source.message_type, source.field) == (ODOMETRY_TYPE, ODOMETRY_SPEED)
    if is_speed and abs(numbers[0]) > MAX_SPEED_MPS:
        raise DataError(f"odometry with speed {numbers[0]:g} (limit {MAX_SPEED_MPS:g}) is not used")
    return numbers
