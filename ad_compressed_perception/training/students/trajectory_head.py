# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectory head: a plan of path curvatures, allowed speed, stop and proceed after stop."""

from __future__ import annotations

from ad_compressed_perception.driving.plan_vector import LENGTH
from ad_compressed_perception.training.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.training.students.spec import StudentSpec

OUTPUT = "plan"
_CHANNELS = (64, 64, 16)
_HIDDEN = 128


def trajectory_head(
    builder: GraphBuilder, features: list[Feature], spec: StudentSpec
) -> dict[str, list[int]]:
    """Append the head; return the output's shape by name.

    It uses the features at stride 16, where a traffic light at 40 m is still wider than a pixel, and none of
    coarser strides. The map is flattened and not averaged: the plan depends on positions in the image.
    """
    first, second, last = (spec.channels(count) for count in _CHANNELS)
    x = builder.convolution(features[-2], first, 3, 2)
    x = builder.convolution(builder.convolution(x, second, 3), last, 1)
    length = x.channels * x.height * x.width
    vector = builder.node("Flatten", [x.name], axis=1)
    hidden = spec.channels(_HIDDEN)
    vector = builder.node("Relu", [builder.dense(vector, length, hidden)])
    builder.node("Identity", [builder.dense(vector, hidden, LENGTH)], OUTPUT)
    return {OUTPUT: [1, LENGTH]}
