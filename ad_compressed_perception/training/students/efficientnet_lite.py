# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite's blocks (no squeeze-and-excitation, no swish), dense at high resolution.

The first stages fuse expansion and depthwise convolution into one dense 3x3 convolution (Gupta and Akin,
Accelerator-aware Neural Network Design, 2020; Tan and Le, EfficientNetV2, 2021): more multiplications,
less memory traffic. Later stages, with many channels and few pixels, keep depthwise convolutions.
"""

from __future__ import annotations

from ad_compressed_perception.training.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.training.students.mobilenet import inverted_residual
from ad_compressed_perception.training.students.spec import StudentSpec

# dense, expansion, channels, blocks; each row halves the size: strides 4, 8, 16, 32.
_STAGES = ((True, 2, 32, 2), (True, 2, 48, 2), (True, 2, 96, 2), (False, 4, 160, 3))
_STEM = 16


def efficientnet_lite(builder: GraphBuilder, x: Feature, spec: StudentSpec) -> list[Feature]:
    """Append the encoder; return its features at strides 2, 4, 8, 16 and 32."""
    x = builder.convolution(x, spec.channels(_STEM), 3, 2)
    features = [x]
    for dense, expansion, channels, blocks in _STAGES:
        for block in range(blocks):
            append = fused_residual if dense else inverted_residual
            x = append(builder, x, spec.channels(channels), expansion, 2 if block == 0 else 1)
        features.append(x)
    return features


def fused_residual(builder: GraphBuilder, x: Feature, channels: int, expansion: int, stride: int) -> Feature:
    """Append a 3x3 expansion and a 1x1 projection, with a residual connection where shapes match."""
    wide = builder.convolution(x, x.channels * expansion, 3, stride)
    narrow = builder.convolution(wide, channels, 1, activate=False)
    return builder.add(narrow, x) if stride == 1 and channels == x.channels else narrow
