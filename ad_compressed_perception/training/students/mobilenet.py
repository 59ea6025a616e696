# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Inverted residuals with depthwise convolutions (Sandler et al., MobileNetV2, 2018), with plain Relu.

It has the fewest multiplications and weights. Depthwise convolutions have a low arithmetic intensity, so a
processor with matrix units gains less here than from dense convolutions.
"""

from __future__ import annotations

from ad_compressed_perception.training.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.training.students.spec import StudentSpec

# expansion, channels, blocks; each row halves the size: strides 4, 8, 16, 32.
_STAGES = ((3, 32, 2), (3, 48, 2), (4, 96, 3), (4, 160, 2))
_STEM = 16


def mobilenet(builder: GraphBuilder, x: Feature, spec: StudentSpec) -> list[Feature]:
    """Append the encoder; return its features at strides 2, 4, 8, 16 and 32."""
    x = builder.convolution(x, spec.channels(_STEM), 3, 2)
    features = [x]
    for expansion, channels, blocks in _STAGES:
        for block in range(blocks):
            x = inverted_residual(builder, x, spec.channels(channels), expansion, 2 if block == 0 else 1)
        features.append(x)
    return features


def inverted_residual(
    builder: GraphBuilder, x: Feature, channels: int, expansion: int, stride: int
) -> Feature:
    """Append 1x1 expansion, 3x3 depthwise convolution and 1x1 projection; residual where shapes match."""
    wide = builder.convolution(x, x.channels * expansion, 1)
    wide = builder.convolution(wide, wide.channels, 3, stride, groups=wide.channels)
    narrow = builder.convolution(wide, channels, 1, activate=False)
    return builder.add(narrow, x) if stride == 1 and channels == x.channels else narrow
