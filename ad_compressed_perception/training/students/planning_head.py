# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning head: a steering angle and a collision probability."""

from __future__ import annotations

from ad_compressed_perception.training.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.training.students.spec import StudentSpec

STEERING, COLLISION = "steering", "collision"
_CHANNELS = 16


def planning_head(builder: GraphBuilder, features: list[Feature], spec: StudentSpec) -> dict[str, list[int]]:
    """Append the head; return the outputs' shapes by name.

    The feature map is flattened and not averaged, because the angle depends on where in the image the road
    bends. The angle is unbounded; the probability passes through a sigmoid.
    """
    x = builder.convolution(features[-1], spec.channels(_CHANNELS), 1)
    length = x.channels * x.height * x.width
    vector = builder.node("Flatten", [x.name], axis=1)
    outputs = {STEERING: [1, 1]}
    builder.node("Identity", [builder.dense(vector, length, 1)], STEERING)
    if spec.collision:
        builder.node("Sigmoid", [builder.dense(vector, length, 1)], COLLISION)
        outputs[COLLISION] = [1, 1]
    return outputs
