# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Static 8-bit quantization: unsigned activations, signed per-channel symmetric weights, QDQ format.

Formulas (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 2; ONNX, operator QuantizeLinear):
``q = clip(round_half_to_even(x / scale) + zero_point, qmin, qmax)`` and ``x' = (q - zero_point) * scale``.
docs/guides/compression.md gives scale and zero point of each kind of tensor.

With 16-bit activations (A16W8) the formulas are those of 8 bits with 65536 levels instead of 256: a step 257
times finer. Qualcomm's HTP (ONNX Runtime's QNN provider) and some NPUs multiply 16-bit activations by 8-bit
weights in hardware. ONNX Runtime and OpenVINO on a CPU have no such kernels and compute the operators between
the Q/DQ pairs in float. Below opset 21 the standard operators have no 16-bit types: ONNX Runtime's own ones
are used.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from ad_compressed_perception.analysis.processor import saturates_u8s8
from ad_compressed_perception.compression.quantization.activation_ranges import (
    EMPTY,
    MASKED,
    Method,
    collect_ranges,
)
from ad_compressed_perception.compression.quantization.float_graph import (
    name_nodes,
    quiet,
    require_float,
    save_float,
)
from ad_compressed_perception.core.errors import AdcpError, ModelFileError, RecipeError
from ad_compressed_perception.core.one_line import one_line, shorten
from ad_compressed_perception.core.renamed import warn_renamed
from ad_compressed_perception.onnx_graph.empty_channels import fit_bias_scales
from ad_compressed_perception.onnx_graph.graph import attribute
from ad_compressed_perception.onnx_graph.heads import find_heads
from ad_compressed_perception.onnx_graph.inferred_types import infer_types
from ad_compressed_perception.onnx_graph.io import float_constants, is_quantized
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS, QdqGraph
from ad_compressed_perception.onnx_graph.qdq_placement import (
    Placement,
    keep_compute_op_pairs,
    merges_activations,
    restore_hard_swish,
)
from ad_compressed_perception.onnx_graph.reserved_names import ReservedNames
from ad_compressed_perception.onnx_graph.shared_biases import separate_biases
from ad_compressed_perception.onnx_graph.subgraphs import copied, with_placeholders, without_placeholders
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gather", "Gemm",
    "GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize",
    "Sigmoid", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators quantized by default: the compute ops and those between them, since every conversion from
integers to floats and back costs more than it saves."""

_SPLIT_RATIO = 64.0
"""Parts of one compute op's output: it stays in float where one of them would keep four steps of 255."""

SHARED_SCALE = "values of different meaning share it"
"""Why a tensor stays in float, in the notes of the pass."""

_WHOLE = ("GroupNormalization",)
"""Operators that ONNX Runtime would write out, and training runs whole."""


class QuantizeInt8Options(PassOptions):
    """Options of quantize_int8."""

    calibration: Method = Field("minmax", description="method that determines an activation's range")
    percentile: float = Field(
        99.99,
        gt=50.0,
        le=100.0,
        description="central share of the values kept, percent; with that calibration",
    )
    frames: int | None = Field(
        None, ge=1, description="number of calibration frames used, evenly spaced; all by default"
    )
    activation_bits: Literal[8, 16] = Field(
        8,
        description="of activations; 16: for accelerators with such kernels, on a CPU not fast",
    )
    reduce_range: bool | Literal["auto"] = Field(
        "auto",
        description="7-bit weights; auto: only of 8-bit products on an x86 without VNNI, where sums saturate",
    )
    per_channel: bool = Field(True, description="one weight scale per output channel, else one per tensor")
    operators: list[str] = Field(
        default_factory=lambda: list(OPERATORS), min_length=1, description="operator types to quantize"
    )
    placement: Placement = Field(
        "auto",
        description="pairs everywhere (ONNX Runtime) or only on inputs of compute ops (OpenVINO, TensorRT); "
        "auto: by the recipe's backend",
    )
    exclude: list[str] = Field(
        default_factory=list, description="node names or patterns (*, ?) to leave in float"
    )
    protect_heads: bool = Field(
        True, description="keep the head in float where values of different meaning share a tensor"
    )

    @field_validator("placement", mode="before")
    @classmethod
    def _accept_old_value(cls, value: Any) -> Any:
        if value == "products":
            warn_renamed("value", "products", "compute_ops")
            return "compute_ops"
        return value


class QuantizeInt8(Pass):
    """Quantizes a float graph to 8-bit integers, or to 16-bit activations with 8-bit weights."""

    name = "quantize_int8"
    lowers_precision = True
    options_type = QuantizeInt8Options

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the quantized model.

        Raises:
            RecipeError: the opset is below 13, or an ``exclude`` or ``operators`` entry matches nothing.
            ModelFileError: quantized already, nothing to quantize, weights or activations that are not
                finite, or the quantizer refused the graph.
        """
        options: QuantizeInt8Options = self.options
        prepared, excluded = self.prepare(model, context)
        source = save_float(prepared, context)
        ranges = collect_ranges(
            source,
            options.operators,
            options.calibration,
            options.percentile,
            self.calibration_context(context),
        )
        heads = find_heads(prepared, as_floats(ranges), _SPLIT_RATIO)
        protect = options.protect_heads and heads.need_protection
        head = list(heads.float_nodes) if protect else []
        quantized = self.quantize(prepared, ranges, context, sorted({*excluded, *head}))
        if protect and heads.shared:
            graph = QdqGraph(prepared, quantized, merged_activations=self.merged_activations(context))
            quantized = graph.with_float(heads.shared)
        if not is_quantized(quantized):
            raise ModelFileError("the quantizer left every operator in float")
        context.notes.update(calibration=options.calibration, excluded_nodes=excluded)
        if protect:
            context.notes.update(
                float_head=head,
                concat_points=list(heads.concat_points),
                float_tensors=[{"tensor": name, "why": SHARED_SCALE} for name in heads.shared],
            )
        return quantized

    def prepare(self, model: ModelProto, context: PassContext) -> tuple[ModelProto, list[str]]:
        """Return the float graph, checked and with named nodes, and the names of the excluded ones."""
        options: QuantizeInt8Options = self.options
        self._check(model)
        name_nodes(model)
        prepared = infer_types(_pre_process(model, context))
        separate_biases(prepared)
        if self.merged_activations(context):
            restore_hard_swish(prepared)
        return prepared, _excluded_nodes(prepared, options.exclude, self.name)

    def calibration_context(self, context: PassContext) -> PassContext:
        """Return the context with the calibration frames."""
        frames: int | None = self.options.frames
        return context if frames is None else context.with_frames(frames)

    def merged_activations(self, context: PassContext) -> bool:
        """Whether pairs are placed for a runtime that fuses activations into compute ops."""
        options: QuantizeInt8Options = self.options
        if options.placement == "auto":
            return merges_activations(context.runtime)
        return bool(options.placement == "compute_ops")

    def _check(self, model: ModelProto) -> None:
        options: QuantizeInt8Options = self.options
        require_float(model, self.name)
        unknown = sorted(set(options.operators) - set(OPERATORS))
        if unknown:
            raise RecipeError(
                f"pass {self.name!r}: operators: cannot quantize {', '.join(unknown)}; "
                f"known: {', '.join(OPERATORS)}"
            )
        kinds = [kind for kind in COMPUTE_OPS if kind in options.operators]
        if not any(node.op_type in kinds for node in model.graph.node):
            raise ModelFileError(f"nothing to quantize: the graph has no {', '.join(kinds) or 'compute ops'}")
        multiplied = {name for node in model.graph.node if node.op_type in COMPUTE_OPS for name in node.input}
        for name, values in float_constants(model):
            # Masks of attention are infinite, and what they are added to stays in float.
            if name in multiplied and not np.isfinite(values).all():
                raise ModelFileError(f"weight {name!r} is not finite: it has no scale")

    def quantize(
        self, model: ModelProto, ranges: Any, context: PassContext, excluded: list[str]
    ) -> ModelProto:
        """Return a prepared graph with Q/DQ pairs; raise ModelFileError where the quantizer refuses it."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        options: QuantizeInt8Options = self.options
        wide = options.activation_bits == 16
        reduce_range = (
            saturates_u8s8(context.host) and not wide
            if options.reduce_range == "auto"
            else options.reduce_range
        )
        context.notes["reduce_range"] = reduce_range
        merged = self.merged_activations(context)
        unmeasured = {*context.notes.get(EMPTY, ()), *context.notes.get(MASKED, ())}
        unmeasured |= {name for name, values in float_constants(model) if not np.isfinite(values).all()}
        left_out = [node.name for node in model.graph.node if unmeasured & {*node.input, *node.output}]
        # The quantizer works in place.
        copy = copied(model)
        names = ReservedNames(copy)
        stored = with_placeholders(copy)
        reserved = TensorsData(ranges.calibration_method, names.renamed(ranges.data))
        try:
            with quiet():
                quantizer = QDQQuantizer(
                    copy,
                    options.per_channel,
                    reduce_range,
                    QuantType.QInt8,
                    QuantType.QUInt16 if wide else QuantType.QUInt8,
                    reserved,
                    [],
                    sorted({*excluded, *left_out}),
                    options.operators,
                    {
                        "ActivationSymmetric": False,
                        "WeightSymmetric": True,
                        "TensorQuantOverrides": _per_tensor(copy, reduce_range),
                        # The shared range of a Concat would not clip one of its inputs as its ReLU does.
                        # OpenVINO removes 16-bit pairs, and with them the clipping that they would do.
                        "QDQKeepRemovableActivations": wide or merged,
                    },
                )
                quantizer.quantize_model()
                quantizer.model.topological_sort()
        except AdcpError:
            raise
        except Exception as error:  # the quantizer raises several types, asserts among them
            reason = names.readable(one_line(error))
            raise ModelFileError(f"the quantizer refused the graph: {reason}") from error
        quantized: ModelProto = names.restore(without_placeholders(quantizer.model.model, stored))
        fit_bias_scales(model, quantized)
        context.notes["placement"] = "compute_ops" if merged else "everywhere"
        if merged:
            return keep_compute_op_pairs(QdqGraph(model, quantized, merged_activations=True))
        return quantized


class QuantizeInt16(QuantizeInt8):
    """``quantize_int8`` with ``activation_bits: 16``."""

    name = "quantize_int16"
    defaults = {"activation_bits": 16}


def _per_tensor(model: ModelProto, reduce_range: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the quantizer's settings of weights that get one scale for all channels.

    The channels of a grouped ConvTranspose's weight are those of one group only, its bias has all.
    """
    from onnxruntime.quantization import QuantType

    settings = {"quant_type": QuantType.QInt8, "symmetric": True, "reduce_range": reduce_range}
    return {
        node.input[1]: [dict(settings)]
        for node in model.graph.node
        if node.op_type == "ConvTranspose" and attribute(node, "group", 1) > 1
    }


def as_floats(ranges: Any) -> dict[str, tuple[float, float]]:
    """Return least and largest value of each tensor of ONNX Runtime's ranges."""
    return {
        name: (float(np.min(data.range_value[0])), float(np.max(data.range_value[1])))
        for name, data in ranges.items()
    }


def _excluded_nodes(model: ModelProto, patterns: list[str], name: str) -> list[str]:
    names = [node.name for node in model.graph.node]
    excluded: set[str] = set()
    for pattern in patterns:
        matching = {name for name in names if fnmatchcase(name, pattern)}
        if not matching:
            some = ", ".join(names[-3:])
            raise RecipeError(
                f"pass {name!r}: exclude: no node is called {pattern!r}; the last ones are {some}"
            )
        excluded |= matching
    return sorted(excluded)


def _pre_process(model: ModelProto, context: PassContext) -> ModelProto:
    """Let ONNX Runtime fuse what it would fuse before running (standard operators only).

    A batch normalization or a constant that is not folded before quantization would remain between the
    Q/DQ pairs. A graph that its optimizer cannot process is used unchanged.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given, path = context.scratch / "given.onnx", context.scratch / "pre_processed.onnx"
    try:
        # By path: it would strip the weights of a model passed in memory.
        onnx.save(model, str(given))
        with quiet():
            quant_pre_process(str(given), str(path), skip_symbolic_shape=True)
        prepared = onnx.load(str(path))
        kinds = {node.op_type for node in prepared.graph.node}
        lost = [
            node.op_type for node in model.graph.node if node.op_type in _WHOLE and node.op_type not in kinds
        ]
        if lost:
            raise ModelFileError(f"it writes {lost[0]} out as a dozen operators")
    except Exception as error:  # several types; pre-processing is optional
        context.notes["pre_process"] = f"left out: {shorten(one_line(error), 120)}"
        prepared = onnx.shape_inference.infer_shapes(model)
    name_nodes(prepared)
    return prepared
