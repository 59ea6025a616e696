# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Constant folding and removal of nodes without effect, by onnxslim."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.denormals import flush_denormals
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.exporter_idioms import free_channel_counts
from ad_compressed_perception.onnx_graph.io import check_model, is_quantized
from ad_compressed_perception.onnx_graph.subgraphs import copied

if TYPE_CHECKING:
    from onnx import ModelProto


def simplify(
    model: ModelProto, feeds: Callable[[], Feeds], tolerance: float
) -> tuple[ModelProto, dict[str, Any]]:
    """Return the simplified model, and notes on what was done.

    Args:
        model: may be changed in place.
        feeds: gives inputs on which the numbers are compared.
        tolerance: largest change of an output, as a share of its range.

    Raises:
        RecipeError: the model is quantized already; folding could remove its scales.
        ModelFileError: onnxslim failed, or the simplified graph computes something else.
    """
    import onnx
    import onnxslim

    if is_quantized(model):
        raise RecipeError("simplify must come before quantization: it would fold the scales away")
    original = copied(model)
    try:
        simplified = onnxslim.slim(model)
    except Exception as error:  # a third party's many types
        raise ModelFileError(f"onnxslim failed: {one_line(error)}") from error
    if not isinstance(simplified, onnx.ModelProto):
        raise ModelFileError("onnxslim returned no model: leave this pass out")
    free_channel_counts(simplified)
    denormals = flush_denormals(simplified)
    check_model(simplified, "the simplified model")
    difference = require_same(original, simplified, feeds(), tolerance)
    return simplified, {"denormal_weights_zeroed": denormals, "largest_difference": difference}
