# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fire modules (Iandola et al., SqueezeNet, 2016) with normalization and the paper's simple bypass.

A 1x1 convolution squeezes the channels, a 1x1 and a 3x3 one in parallel expand them: dense convolutions
only, few weights. The halves are joined by a Concat, which costs memory traffic.
"""

from __future__ import annotations

from ad_compressed_perception.training.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.training.students.spec import StudentSpec

# squeezed channels, channels of each half, modules; each row halves the size: strides 4, 8, 16, 32.
_STAGES = ((16, 32, 2), (16, 48, 2), (32, 64, 2), (48, 96, 2))
_STEM = 32


def squeezenet(builder: GraphBuilder, x: Feature, spec: StudentSpec) -> list[Feature]:
    """Append the encoder; return its features at strides 2, 4, 8, 16 and 32."""
    x = builder.convolution(x, spec.channels(_STEM), 3, 2)
    features = [x]
    for squeezed, half, modules in _STAGES:
        x = builder.max_pool(x)
        for _ in range(modules):
            x = fire(builder, x, spec.channels(squeezed), spec.channels(half))
        features.append(x)
    return features


def fire(builder: GraphBuilder, x: Feature, squeezed: int, half: int) -> Feature:
    """Append a fire module, with a residual connection where channel counts match."""
    small = builder.convolution(x, squeezed, 1)
    both = builder.concatenate([builder.convolution(small, half, 1), builder.convolution(small, half, 3)])
    return builder.add(both, x) if both.channels == x.channels else both
