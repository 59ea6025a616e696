# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation head: per-pixel scores from a light feature pyramid (Lin et al., 2017)."""

from __future__ import annotations

from ad_compressed_perception.training.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.training.students.spec import StudentSpec

OUTPUT = "scores"
# Channels of the pyramid at strides 2, 4, 8, 16 and 32.
_CHANNELS = (16, 32, 48, 64, 96)


def segmentation_head(
    builder: GraphBuilder, features: list[Feature], spec: StudentSpec
) -> dict[str, list[int]]:
    """Append the decoder; return the output's shape by name.

    The scores are logits in NCHW, upsampled linearly from the pyramid's last stride to ``output_stride``; the
    decoder's argmax needs no softmax. The pyramid ends at stride 8 for an output of stride 8, at stride 2
    with ``spec.fine`` (for thin structures: paint, curbs), else at 4.
    """
    last = 2 if spec.output_stride >= 8 else 0 if spec.fine else 1
    x = builder.convolution(features[-1], spec.channels(_CHANNELS[-1]), 1)
    x = builder.convolution(x, x.channels, 3)
    for level in range(len(features) - 2, last - 1, -1):
        channels = spec.channels(_CHANNELS[level])
        coarse = builder.upsample(builder.convolution(x, channels, 1, activate=False), 2)
        fine = builder.convolution(features[level], channels, 1, activate=False)
        x = builder.convolution(builder.add(coarse, fine, activate=True), channels, 3)
    scores = builder.convolution(x, spec.classes, 1, normalize=False, activate=False)
    factor = (2 << last) // spec.output_stride
    if factor > 1:
        scores = builder.upsample(scores, factor, linear=True, output=OUTPUT)
    else:
        builder.node("Identity", [scores.name], OUTPUT)
    return {OUTPUT: [1, spec.classes, scores.height, scores.width]}
