# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Dynamic 8-bit quantization of matrix products: activation scales are computed in every run.

Weights are quantized beforehand, symmetric, one scale per output column. The left operand is quantized
at run time: ``scale = (max(x, 0) - min(x, 0)) / 255``, ``zero_point = round(-min / scale)`` (ONNX,
operator DynamicQuantizeLinear). It pays off for large matrix products whose inputs vary in range, as in
transformers and recurrent networks. Convolutions stay in float: computing the range of a feature map
costs more than small convolutions save.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ad_compressed_perception.analysis.processor import saturates_u8s8
from ad_compressed_perception.compression.passes.quantization.quantize_weights import QuantizeWeights
from ad_compressed_perception.compression.quantization.float_graph import quiet, require_float
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.io import float_constants
from ad_compressed_perception.onnx_graph.reserved_names import ReservedNames
from ad_compressed_perception.onnx_graph.shared_biases import separate_biases
from ad_compressed_perception.onnx_graph.subgraphs import with_placeholders, without_placeholders
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

_DYNAMIC = ("MatMul", "Gemm", "LSTM")
_KINDS = (*_DYNAMIC, "GRU")


class QuantizeDynamicMatmulOptions(PassOptions):
    """Options of quantize_dynamic_matmul."""

    reduce_range: bool | Literal["auto"] = Field(
        "auto", description="7-bit weights; auto: only on an x86 without VNNI, where sums saturate"
    )


class QuantizeDynamicMatmul(Pass):
    """Quantizes MatMul, Gemm and LSTM with stored weights; a GRU's weights are stored in 8 bits."""

    name = "quantize_dynamic_matmul"
    lowers_precision = True
    options_type = QuantizeDynamicMatmulOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the quantized model.

        Raises:
            RecipeError: the opset is below 13.
            ModelFileError: quantized already, no such operator with stored weights, weights that are
                not finite, or the quantizer refused the graph.
        """
        require_float(model, self.name)
        graph = Graph(model)
        stored = [node.op_type for node in graph.nodes if graph.weights.keys() & node.input[1:2]]
        counts = {kind: stored.count(kind) for kind in _KINDS}
        if not any(counts.values()):
            raise ModelFileError(
                f"nothing to quantize: the graph has no {', '.join(_KINDS)} with stored weights; "
                "convolutions are for quantize_int8"
            )
        for name, values in float_constants(model):
            if not np.isfinite(values).all():
                raise ModelFileError(f"weight {name!r} is not finite: it has no scale")
        if any(counts[kind] for kind in _DYNAMIC):
            model = self._quantize(model, context)
        if counts["GRU"]:
            # ONNX Runtime has no integer GRU: its weights are stored in 8 bits and dequantized.
            model = QuantizeWeights().store(model, context, ("GRU",))
        context.notes.update({kind.lower(): count for kind, count in counts.items() if count})
        return model

    def _quantize(self, model: ModelProto, context: PassContext) -> ModelProto:
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
        from onnxruntime.quantization.quant_utils import QuantizationMode

        options: QuantizeDynamicMatmulOptions = self.options
        reduce_range = (
            saturates_u8s8(context.host) if options.reduce_range == "auto" else options.reduce_range
        )
        context.notes["reduce_range"] = reduce_range
        separate_biases(model)
        names = ReservedNames(model)
        stored = with_placeholders(model)
        try:
            with quiet():
                quantizer = ONNXQuantizer(
                    model,
                    True,
                    reduce_range,
                    QuantizationMode.IntegerOps,
                    False,
                    QuantType.QInt8,
                    QuantType.QUInt8,
                    None,
                    [],
                    [],
                    list(_DYNAMIC),
                    {"WeightSymmetric": True, "MatMulConstBOnly": True},
                )
                quantizer.model.replace_gemm_with_matmul()
                quantizer.quantize_model()
                quantizer.model.topological_sort()
        except Exception as error:  # the quantizer raises several types, asserts among them
            reason = names.readable(one_line(error))
            raise ModelFileError(f"the quantizer refused the graph: {reason}") from error
        return names.restore(without_placeholders(quantizer.model.model, stored))
