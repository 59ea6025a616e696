# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rewrite a segmenter's final upsampling as a convolution; see onnx_graph/upsampling.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.compression.passes.graph.decodable import require_decodable
from ad_compressed_perception.compression.passes.graph.trim_output import (
    differing_share,
    output_name,
    require_same_labels,
    scores_layout,
)
from ad_compressed_perception.onnx_graph.graph import refresh_outputs
from ad_compressed_perception.onnx_graph.io import check_model
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.onnx_graph.upsampling import upsample_by_convolution
from ad_compressed_perception.pass_api.passes import Pass, PassContext

if TYPE_CHECKING:
    from onnx import ModelProto


class UpsampleToConv(Pass):
    """Replaces the last upsampling of a segmenter by a convolution, which has integer kernels."""

    name = "upsample_to_conv"

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the rewritten model.

        Raises:
            ManifestError: the decoder does not compute an argmax.
            ModelFileError: the scores do not come from a linear upsampling by an integer factor, or labels
                changed on a calibration frame.
        """
        original = copied(model)
        scores_layout(context.output)
        factor = upsample_by_convolution(model, output_name(model, context.output))
        specs = refresh_outputs(model)
        check_model(model, "the model with the rewritten upsampling")
        require_decodable(context, specs)
        before, after = (original, context.output), (model, context.output)
        differing = differing_share(context.manifest, before, after, context)
        context.notes.update(factor=factor, labels_differing_share=differing)
        require_same_labels(differing)
        return model
