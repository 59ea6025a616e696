# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Equalize channel ranges for per-tensor activation scales: exact in float, lower error in 8 bits.

An activation has one scale. Beside a channel with maximum 120, channels with maximum 1 get two of 256
levels. So the channels are divided, and the weights that read them multiplied (onnx_graph/equalization.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ad_compressed_perception.compression.quantization.sensitivity import session_with_outputs
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.equalization import Vector, divide_channels, find_equalizable
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.graph import Graph, remove_dead
from ad_compressed_perception.onnx_graph.io import is_quantized
from ad_compressed_perception.onnx_graph.qdq_placement import merges_activations
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class EqualizeChannelsOptions(PassOptions):
    """Options of equalize_channels."""

    renamed = {"least_spread": "min_spread"}

    alpha: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="share of the range differences moved from activations into dense weights",
    )
    min_spread: float = Field(
        4.0,
        ge=1.0,
        description="least ratio of largest to median channel maximum for a tensor to be equalized",
    )
    tolerance: float = Field(0.001, gt=0.0, description="largest relative difference of an output")


class EqualizeChannels(Pass):
    """Moves differences between channel ranges from activations into weights; changes no output."""

    name = "equalize_channels"
    options_type = EqualizeChannelsOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the changed model.

        Raises:
            RecipeError: the model is quantized already.
            ModelFileError: an activation is not finite, or the outputs changed.
        """
        options: EqualizeChannelsOptions = self.options
        if is_quantized(model):
            raise RecipeError("equalize_channels must come before quantization")
        original = copied(model)
        graph = Graph(model)
        sites = find_equalizable(graph)
        maxima = _channel_maxima(model, [site.tensor for site in sites], context)
        spreads: dict[str, float] = {}
        unmerged = []
        for site, maximum in zip(sites, maxima, strict=True):
            spread = float(maximum.max() / max(float(np.median(maximum)), 1e-12))
            if maximum.max() <= 0.0 or spread < options.min_spread:
                continue
            if site.producer is None and not merges_activations(context.runtime):
                unmerged.append(site.tensor)  # its Mul's input would need a scale, before the division
                continue
            divide_channels(graph, site, maximum, options.alpha)
            spreads[site.tensor] = round(min(spread, 1e6), 1)
        remove_dead(model)
        context.notes.update(
            equalized=spreads,
            left_as_runtime_merges_nothing=unmerged,
            largest_difference=require_same(original, model, next(context.feeds()), options.tolerance),
        )
        return model


def _channel_maxima(model: ModelProto, tensors: list[str], context: PassContext) -> list[Vector]:
    """Return max |x_c| of each tensor over the frames, (channels,) each."""
    if not tensors:
        return []
    session = session_with_outputs(model, tensors)
    maxima: list[Any] = [0.0] * len(tensors)
    for done, feeds in enumerate(context.feeds(), start=1):
        for index, value in enumerate(session.run(None, feeds)):
            maximum = np.abs(value).max(axis=(0, *range(2, value.ndim))).astype(np.float64)
            if not np.isfinite(maximum).all():
                raise ModelFileError(f"activation {tensors[index]!r} is not finite on the calibration frames")
            maxima[index] = np.maximum(maxima[index], maximum)
        context.advance(done, context.frames)
    return maxima
