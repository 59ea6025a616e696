# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sensitivity of a network's outputs to the quantization of each tensor, without labels.

Signal to quantization noise ratio of an output, in decibels:
``SQNR = 10 log10(sum(reference^2) / sum((reference - quantized)^2))``. Each halving of the step
brings 6.02 dB (Widrow and Kollar, "Quantization Noise", Cambridge, 2008). Where a network has
several outputs the noise-to-signal ratios are averaged, so that outputs of small numbers count equally.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.host import usable_cores
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.onnx_graph.graph import remove_dead
from ad_compressed_perception.onnx_graph.qdq import QdqGraph, QuantizedTensor
from ad_compressed_perception.onnx_graph.session import open_session
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.pass_api.passes import Feeds

if TYPE_CHECKING:
    from onnx import ModelProto

SQNR_LIMIT_DB = 120.0
"""Reported where there is no noise: about the SQNR of single precision itself."""

_MAX_WORKERS = 4


@dataclass(frozen=True)
class Sensitivity:
    """One tensor and the SQNR of the outputs with this tensor alone quantized."""

    tensor: QuantizedTensor
    sqnr_db: float


def sqnr_db(signal: float, noise: float) -> float:
    """Return ``10 log10(signal / noise)`` of two sums of squares, at most SQNR_LIMIT_DB."""
    if not math.isfinite(noise) or signal <= 0.0 < noise:
        return -SQNR_LIMIT_DB
    if noise <= signal * 10.0 ** (-SQNR_LIMIT_DB / 10.0):
        return SQNR_LIMIT_DB
    return 10.0 * math.log10(signal / noise)


def session_with_outputs(model: ModelProto, names: Sequence[str]) -> Any:
    """Load a graph with these tensors as its outputs, one thread; raise ModelFileError where it fails."""
    return open_session(with_outputs(model, names), threads=1)


def with_outputs(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """Return a copy of the graph with these tensors as its outputs."""
    from onnx import ValueInfoProto

    copy = copied(model)
    known = {value.name: value for value in [*copy.graph.value_info, *copy.graph.output]}
    chosen = [copied(known[name]) if name in known else ValueInfoProto(name=name) for name in names]
    del copy.graph.output[:]
    copy.graph.output.extend(chosen)
    remove_dead(copy, keep_shapes=True)
    return copy


class OutputNoise:
    """Compares outputs of changed graphs with the float graph's on some frames."""

    def __init__(self, floating: ModelProto, outputs: Sequence[str], frames: Sequence[Feeds]) -> None:
        """Run the float graph; raise ModelFileError where it cannot run."""
        self.outputs = list(outputs)
        self._frames = list(frames)
        session = session_with_outputs(floating, self.outputs)
        self._references: list[list[NDArray[Any]]] = [session.run(None, feeds) for feeds in frames]

    def sqnr_db(self, model: ModelProto, outputs: Sequence[str] | None = None) -> float:
        """Return the SQNR of a changed graph; raise ModelFileError where it cannot run.

        Args:
            model: the changed graph.
            outputs: names of the outputs in it, where they differ from the float graph's.
        """
        session = session_with_outputs(model, outputs or self.outputs)
        signal = np.zeros(len(self.outputs))
        noise = np.zeros(len(self.outputs))
        for feeds, references in zip(self._frames, self._references, strict=True):
            found = session.run(None, feeds)
            for place, (output, reference) in enumerate(zip(found, references, strict=True)):
                wide = reference.astype(np.float64)
                signal[place] += float(np.sum(wide**2))
                noise[place] += float(np.sum((output - wide) ** 2))
        nonzero = signal > 0.0
        if not nonzero.any():
            return sqnr_db(0.0, float(noise.sum()))
        return sqnr_db(1.0, float(np.mean(noise[nonzero] / signal[nonzero])))


def measure_sensitivities(
    graph: QdqGraph,
    noise: OutputNoise,
    tensors: Sequence[QuantizedTensor],
    advance: Advance = no_advance,
) -> list[Sensitivity]:
    """Quantize one tensor at a time and return all of them, the most sensitive first.

    Args:
        graph: the float and the quantized graph.
        noise: the float graph's outputs and the frames.
        tensors: which to measure.
        advance: progress callback (done, total).
    """

    def measure(tensor: QuantizedTensor) -> Sensitivity:
        return Sensitivity(tensor, noise.sqnr_db(graph.only(tensor.name)))

    workers = max(1, min(_MAX_WORKERS, usable_cores()))
    found = []
    with ThreadPoolExecutor(workers) as pool:
        for result in pool.map(measure, tensors):
            found.append(result)
            advance(len(found), len(tensors))
    return sorted(found, key=lambda sensitivity: sensitivity.sqnr_db)
