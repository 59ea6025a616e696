# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clipped activation ranges, where smaller quantization steps reduce the error more than clipping adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.onnx_graph.graph import Graph, self_gated

if TYPE_CHECKING:
    from onnx import ModelProto

SILU_FLOOR = -8.0
"""Below it ``x * sigmoid(x)`` lies between -0.0027 and 0, which rounds to 0 in an 8-bit output."""

_SHRINKS = np.linspace(0.1, 1.0, 37)
_ROUNDS = 2


def narrow_silu_inputs(model: ModelProto, ranges: Any, floor: float = SILU_FLOOR) -> list[str]:
    """Raise the lower end of the range of SiLU inputs to ``floor``, in place.

    Args:
        model: the float graph.
        ranges: ONNX Runtime's ranges (TensorsData); those of such tensors are replaced.
        floor: new lower end, below 0.

    Returns:
        Names of the tensors whose range became narrower.
    """
    from onnxruntime.quantization.calibrate import TensorData

    narrowed = []
    for name in silu_inputs(model):
        if name not in ranges:
            continue
        low, high = (np.asarray(end, np.float32) for end in ranges[name].range_value)
        if low.size == 1 and high.size == 1 and low.item() < floor < high.item():
            # TensorsData does not allow replacing an entry; its dictionary does.
            ranges.data[name] = TensorData(lowest=np.full_like(low, floor), highest=high)
            narrowed.append(name)
    return narrowed


def silu_inputs(model: ModelProto) -> list[str]:
    """Return the tensors that only a Sigmoid and the Mul with its result use."""
    graph = Graph(model)
    return [
        gate.input[0]
        for _, gate in self_gated(graph, "Sigmoid")
        if graph.uses(gate.input[0]) == 2 and graph.uses(gate.output[0]) == 1
    ]


def mse_range(
    counts: NDArray[Any], edges: NDArray[Any], low: float, high: float, levels: int = 256
) -> tuple[float, float]:
    """Return the range of least mean square quantization error, 0 included.

    The error of a range is ``sum(count * (x - dequantize(quantize(x)))^2)`` over the histogram's bins,
    values beyond the range clipped to it: rounding and clipping in one figure (Nagel et al., "A White
    Paper on Neural Network Quantization", 2021, section 3.1). Both ends are optimized alternately.

    Args:
        counts: (bins,) how many values fell into each.
        edges: (bins + 1,) ascending.
        low: least value seen.
        high: largest value seen.
        levels: number of quantization levels, 256 for 8 bits.
    """
    kept = counts > 0
    values = ((edges[:-1] + edges[1:]) / 2.0)[kept].astype(np.float64)
    weights = counts[kept].astype(np.float64)
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if high <= low or values.size == 0:
        return low, high

    def error(ends: tuple[float, float]) -> float:
        scale = (ends[1] - ends[0]) / (levels - 1)
        zero = round(-ends[0] / scale)
        numbers = np.clip(np.round(values / scale) + zero, 0, levels - 1)
        return float(np.sum(weights * (values - (numbers - zero) * scale) ** 2))

    best = (low, high)
    for _ in range(_ROUNDS):
        if high > 0.0:
            best = min(((best[0], high * shrink) for shrink in _SHRINKS), key=error)
        if low < 0.0:
            best = min(((low * shrink, best[1]) for shrink in _SHRINKS), key=error)
    return float(best[0]), float(best[1])


def mse_ranges(histograms: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the range of least error of every histogram of ONNX Runtime's collector."""
    found = {}
    for name, entry in histograms.items():
        counts, edges, low, high = entry[:4]
        found[name] = mse_range(np.asarray(counts), np.asarray(edges), float(low), float(high))
    return found
