# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Slices: tenths of the frames that are harder than the rest, whose loss a mean over all frames can hide.

A slice holds the tenth of the frames (rounded up) with the most extreme values of an attribute, see
frame_log.py; among equal values the earlier frame. An attribute that no frame has, or that is the same in all
of them, makes no slice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SliceRule:
    """How a slice is chosen.

    Attributes:
        name: key in the report.
        title: as text.
        attribute: by which frames are ordered.
        lowest: take the frames of the smallest values, not of the largest.
    """

    name: str
    title: str
    attribute: str
    lowest: bool = False


RULES = (
    SliceRule("darkest", "darkest tenth", "brightness", lowest=True),
    SliceRule("most_crowded", "tenth with most objects", "object_density"),
    SliceRule("sharpest_turns", "tenth with largest steering angle", "steering_magnitude"),
)


def choose_slices(attributes: Mapping[str, NDArray[np.float64]]) -> dict[SliceRule, NDArray[np.int64]]:
    """Return the slices with the indices of their frames, ascending.

    Args:
        attributes: attribute to (N,) values; NaN where a frame has none.
    """
    chosen = {}
    for rule in RULES:
        values = np.asarray(attributes.get(rule.attribute, ()), np.float64)
        known = np.flatnonzero(~np.isnan(values))
        if known.size == 0 or np.ptp(values[known]) == 0.0:
            continue
        keys = values[known] if rule.lowest else -values[known]
        order = np.argsort(keys, kind="stable")[: math.ceil(known.size / 10)]
        chosen[rule] = np.sort(known[order])
    return chosen
