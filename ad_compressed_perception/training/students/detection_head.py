# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection head: YOLOX boxes and scores in the layout of the decoder ``yolox``."""

from __future__ import annotations

import math

from ad_compressed_perception.training.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.training.students.spec import StudentSpec

OUTPUT = "boxes"
STRIDES = [8, 16, 32]
_CHANNELS = 64
_PRIOR = 0.01


def detection_head(builder: GraphBuilder, features: list[Feature], spec: StudentSpec) -> dict[str, list[int]]:
    """Append a pyramid and decoupled heads at strides 8, 16, 32; return the output's shape by name.

    A cell outputs cx, cy, log w, log h, objectness and class scores; scores pass through a sigmoid and are
    initialized to 0.01 (Lin et al., Focal Loss, 2017, section 4.1), so that empty cells do not dominate the
    first steps.
    """
    channels = spec.channels(_CHANNELS)
    levels = [builder.convolution(feature, channels, 1) for feature in features[-len(STRIDES) :]]
    for index in range(len(levels) - 2, -1, -1):
        merged = builder.add(levels[index], builder.upsample(levels[index + 1], 2))
        levels[index] = builder.convolution(merged, channels, 3)
    rows = 5 + spec.classes
    prior = -math.log((1.0 - _PRIOR) / _PRIOR)
    flat, cells = [], 0
    for level in levels:
        boxes = builder.convolution(level, channels, 3)
        scores = builder.convolution(level, channels, 3)
        box = builder.convolution(boxes, 4, 1, normalize=False, activate=False)
        objectness = builder.convolution(boxes, 1, 1, normalize=False, activate=False, bias=prior)
        classes = builder.convolution(scores, spec.classes, 1, normalize=False, activate=False, bias=prior)
        parts = [
            box.name,
            builder.node("Sigmoid", [objectness.name]),
            builder.node("Sigmoid", [classes.name]),
        ]
        level_output = builder.node("Concat", parts, axis=1)
        cells += level.height * level.width
        flat.append(builder.reshaped(level_output, [1, rows, level.height * level.width]))
    builder.node("Transpose", [builder.node("Concat", flat, axis=2)], OUTPUT, perm=[0, 2, 1])
    return {OUTPUT: [1, cells, rows]}
