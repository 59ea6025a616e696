# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Biases of channels without weights in quantized graphs.

A bias is stored in steps of input scale times weight scale. A channel whose weights are all 0, as pruning
leaves them, has no weight scale, so the quantizer takes 1: behind an input of 0..255 its bias is then rounded
to whole numbers, and 0.5 becomes 0 or 1. Any scale fits weights of 0, so one is chosen that fits the bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.onnx_graph.graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

_STEPS = 2.0**20
"""Steps up to the bias: the sum of weights and bias stays far from the end of 32 bits."""
_LEAST_SCALE = 1e-30


def fit_bias_scales(model: ModelProto, quantized: ModelProto) -> int:
    """Set weight and bias scales of channels without weights so that their bias is kept; in place.

    Args:
        model: the float graph.
        quantized: the same with Q/DQ pairs and per-channel weights.

    Returns:
        How many channels were changed.
    """
    from onnx import numpy_helper

    floats, graph = Graph(model).weights, Graph(quantized)
    constants = graph.weights
    changed = 0
    for node in graph.nodes:
        if node.op_type != "Conv" or len(node.input) != 3 or node.input[2] not in floats:
            continue
        pairs = [pair for name in node.input if (pair := graph.producer(name, "DequantizeLinear"))]
        if len(pairs) != 3:
            continue
        (_, input_scale), (weight, weight_scale), (bias, bias_scale) = (pair.input[:2] for pair in pairs)
        known = all(name in constants for name in (input_scale, weight, weight_scale, bias, bias_scale))
        if not known or any(graph.uses(name) > 1 for name in (weight_scale, bias_scale, bias)):
            continue
        weights, scales, biases, bias_scales = (
            numpy_helper.to_array(constants[name]).copy() for name in (weight, weight_scale, bias, bias_scale)
        )
        exact = numpy_helper.to_array(floats[node.input[2]]).astype(np.float64)
        step = float(numpy_helper.to_array(constants[input_scale]).reshape(-1)[0])
        if not scales.shape == bias_scales.shape == exact.shape:  # one scale for all channels
            continue
        without_weights = ~weights.reshape(len(weights), -1).any(axis=1) & (
            np.abs(exact) / _STEPS > _LEAST_SCALE
        )
        if not without_weights.any():
            continue
        scales[without_weights] = np.abs(exact[without_weights]) / _STEPS / step
        bias_scales[without_weights] = scales[without_weights] * np.float32(step)
        biases[without_weights] = np.rint(exact[without_weights] / bias_scales[without_weights])
        for name, values in ((weight_scale, scales), (bias_scale, bias_scales), (bias, biases)):
            constants[name].CopyFrom(numpy_helper.from_array(values, name))
        changed += int(without_weights.sum())
    return changed
