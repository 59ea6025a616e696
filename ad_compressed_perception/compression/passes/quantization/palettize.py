# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights from a codebook: non-uniform quantization by k-means.

For every tensor (or group of channels) k-means finds the codebook ``c_1 .. c_k``, ``k = 2^bits``, that
minimizes ``sum_i h_i (w_i - c_q(i))^2`` with ``q(i) = argmin_j |w_i - c_j|``; then ``w_i := c_q(i)``.
``h_i`` is 1, or with ``sensitivity: activation`` the mean square of the input that w_i multiplies, over
the calibration frames, so that errors weigh less where inputs are small (weighted k-means of
Choi, El-Khamy and Lee, "Towards the limit of network quantization", 2017, with the diagonal of the
layer's own second derivative). k-means on weights: Han, Mao and Dally, "Deep compression", 2016.

The graph stays as it is and computes in floating point at the same speed. Stored packed
(``store: packed`` in the recipe), a weight takes at most ``bits`` bits and is decompressed at load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.compression.quantization.activation_statistics import (
    correct_bias,
    importance,
    measure_moments,
)
from ad_compressed_perception.onnx_graph.weights import find_weights
from ad_compressed_perception.packing.codebook import fit_codebook, nearest
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

# Rounding the centers to half precision may raise the error by this share; it halves the codebooks.
_MAX_FLOAT16_ERROR = 0.01


class PalettizeOptions(PassOptions):
    """Options of palettize."""

    bits: int = Field(4, ge=1, le=8, description="a codebook has 2^bits entries")
    granularity: Literal["tensor", "group", "channel"] = Field(
        "tensor", description="weights that share a codebook; channels are slices of a tensor's first axis"
    )
    group_size: Literal[2, 4, 8, 16, 32, 64] = Field(16, description="channels in a group")
    sensitivity: Literal["none", "activation"] = Field(
        "activation", description="weight the errors by the mean square of the weight's input, or not"
    )
    correct_bias: bool = Field(True, description="compensate the mean shift of each output in its bias")
    keep_zeros: bool = Field(True, description="weights that are exactly 0 stay 0")
    min_size: int = Field(256, ge=2, description="tensors of fewer weights stay as they are")
    exclude: list[str] = Field(
        default_factory=list, description="weights or operators left as they are, by name (* and ? allowed)"
    )
    seed: int = Field(0, ge=0, description="random seed of the k-means initializations")
    starts: int = Field(4, ge=0, le=100, description="random k-means initializations besides the quantiles")


class Palettize(Pass):
    """Replaces weights by the entries of small codebooks."""

    name = "palettize"
    lowers_precision = True
    options_type = PalettizeOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with palettized weights.

        Raises:
            RecipeError: a pattern in ``exclude`` matches nothing.
            ModelFileError: no weights of that size, or one that is not finite; the model cannot run.
            DataError: a calibration frame cannot be read.
        """
        options: PalettizeOptions = self.options
        weights = find_weights(model, self.name, options.min_size, options.exclude)
        needs_moments = options.sensitivity == "activation" or options.correct_bias
        moments = measure_moments(model, weights, context) if needs_moments else {}
        weighted = options.sensitivity == "activation"
        signal = noise = 0.0
        corrected = 0
        for done, weight in enumerate(weights, start=1):
            before = weight.values
            error_weights = importance(weight, moments, centered=options.correct_bias) if weighted else None
            weight.store(self._quantize(before, error_weights))
            difference = before.astype(np.float64) - weight.values
            signal += float((before.astype(np.float64) ** 2).sum())
            noise += float((difference**2).sum())
            if options.correct_bias:
                corrected += correct_bias(model, weight, before, moments)
            context.advance(done, len(weights))
        context.notes.update(
            bits=options.bits,
            palettized_tensors=len(weights),
            palettized_weights=sum(weight.values.size for weight in weights),
            weight_sqnr_db=10.0 * float(np.log10(signal / noise)) if signal > 0.0 < noise else None,
            biases_corrected=corrected,
        )
        return model

    def _quantize(
        self, values: NDArray[np.float32], error_weights: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        options: PalettizeOptions = self.options
        channels = values.shape[0]
        rows = {"tensor": channels, "group": options.group_size, "channel": 1}[options.granularity]
        parts = []
        for first in range(0, channels, rows):
            run = slice(first, first + rows)
            parts.append(
                self._quantize_run(values[run], None if error_weights is None else error_weights[run])
            )
        return np.concatenate(parts)

    def _quantize_run(
        self, values: NDArray[np.float32], error_weights: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        options: PalettizeOptions = self.options
        size = 1 << options.bits
        flat = values.reshape(-1)
        weights = np.ones(flat.size) if error_weights is None else error_weights.reshape(-1)
        result = np.zeros_like(flat)
        moving = np.ones(flat.size, bool)
        if options.keep_zeros and not flat.all():
            moving, size = flat != 0.0, size - 1
        if size and moving.any():
            result[moving] = _nearest_entries(flat[moving], weights[moving], size, options)
        return result.reshape(values.shape)


def _nearest_entries(
    values: NDArray[np.float32], weights: NDArray[np.float64], size: int, options: PalettizeOptions
) -> NDArray[np.float32]:
    found = fit_codebook(values, size, weights=weights, seed=options.seed, starts=options.starts)
    single = found.centers.astype(np.float32)
    with np.errstate(over="ignore"):
        half = np.unique(single.astype(np.float16)).astype(np.float32)
    entries = single
    if np.isfinite(half).all():
        allowed = found.error * (1.0 + _MAX_FLOAT16_ERROR)
        if _error(values, weights, half) <= allowed:
            entries = half
    return entries[nearest(values, entries.astype(np.float64))]


def _error(values: NDArray[np.float32], weights: NDArray[np.float64], entries: NDArray[np.float32]) -> float:
    chosen = entries[nearest(values, entries.astype(np.float64))]
    return float((weights * (values.astype(np.float64) - chosen) ** 2).sum())
