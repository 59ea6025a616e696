# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From an encoder's features to a plan: curvature along the way, allowed speed, stop and yield."""

from __future__ import annotations

from ad_compressed_perception.compression.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.compression.students.spec import StudentSpec
from ad_compressed_perception.driving.plan_vector import LENGTH

OUTPUT = "plan"
_CHANNELS = 32
_HIDDEN = 128


def trajectory_head(
    builder: GraphBuilder, features: list[Feature], spec: StudentSpec
) -> dict[str, list[int]]:
    """Append the head; return the output's shape by name.

    The map is flattened and not averaged, because the plan depends on where in the picture things are.
    """
    x = builder.convolution(features[-1], spec.channels(_CHANNELS), 1)
    length = x.channels * x.height * x.width
    vector = builder.node("Flatten", [x.name], axis=1)
    hidden = spec.channels(_HIDDEN)
    vector = builder.node("Relu", [builder.dense(vector, length, hidden)])
    builder.node("Identity", [builder.dense(vector, hidden, LENGTH)], OUTPUT)
    return {OUTPUT: [1, LENGTH]}
