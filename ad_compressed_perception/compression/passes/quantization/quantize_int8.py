# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Static 8-bit quantization: unsigned activations, signed per-channel symmetric weights, QDQ format.

Formulas (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 2; ONNX, operator QuantizeLinear):
``q = clip(round_half_to_even(x / scale) + zero_point, qmin, qmax)`` and ``x' = (q - zero_point) * scale``.
docs/compression.md gives scale and zero point of each kind of tensor.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ad_compressed_perception.compression.quantization.activation_ranges import Method, collect_ranges
from ad_compressed_perception.core.errors import AdcpError, ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.io import (
    float_constants,
    is_quantized,
    one_line,
    opset_of,
)
from ad_compressed_perception.onnx_graph.qdq import QdqGraph
from ad_compressed_perception.onnx_graph.qdq_placement import (
    Placement,
    keep_pairs_of_products,
    merges_activations,
    restore_hard_swish,
)
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gather", "Gemm",
    "GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize",
    "Sigmoid", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""What is quantized by default: the products, and all that lies between two of them, since every
change from integers to floats and back costs more than it saves."""

_COMPUTE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LEAST_OPSET = 13


class QuantizeInt8Options(PassOptions):
    """Options of quantize_int8."""

    calibration: Method = Field("minmax", description="how an activation's range is found")
    percentile: float = Field(
        99.99, gt=50.0, le=100.0, description="central share of the values kept, with that calibration"
    )
    frames: int | None = Field(
        None, ge=1, description="calibrate on so many of the frames, evenly chosen; all by default"
    )
    reduce_range: bool | Literal["auto"] = Field(
        "auto", description="7-bit weights; auto: only on an x86 without VNNI, where sums saturate"
    )
    per_channel: bool = Field(True, description="one weight scale an output channel, else one a tensor")
    operators: list[str] = Field(
        default_factory=lambda: list(OPERATORS), min_length=1, description="operator types to quantize"
    )
    placement: Placement = Field(
        "auto",
        description="pairs everywhere (ONNX Runtime) or only on what products read (OpenVINO, TensorRT); "
        "auto: by the recipe's backend",
    )
    exclude: list[str] = Field(
        default_factory=list, description="node names or patterns (*, ?) to leave in float"
    )


class QuantizeInt8(Pass):
    """Turns a float graph into one that computes with 8-bit integers."""

    name = "quantize_int8"
    rounds = True
    options_type = QuantizeInt8Options
    activations: ClassVar[Literal["QUInt8", "QUInt16"]] = "QUInt8"
    """ONNX Runtime's name of the activations' type."""
    keeps_clipping: ClassVar[bool] = False
    """Whether ReLU and Clip stay where the range of what they make clips just so."""

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
            self.calibrating(context),
        )
        quantized = self.quantize(prepared, ranges, context, excluded)
        if not is_quantized(quantized):
            raise ModelFileError("the quantizer left every operator in float")
        context.notes.update(calibration=options.calibration, excluded_nodes=excluded)
        return quantized

    def prepare(self, model: ModelProto, context: PassContext) -> tuple[ModelProto, list[str]]:
        """Return the float graph, checked and with named nodes, and the names of the excluded ones."""
        options: QuantizeInt8Options = self.options
        self._check(model)
        name_nodes(model)
        prepared = _pre_process(model, context)
        if self.merged_activations(context):
            restore_hard_swish(prepared)
        return prepared, _excluded_nodes(prepared, options.exclude, self.name)

    def calibrating(self, context: PassContext) -> PassContext:
        """Return the context with the frames that calibrate."""
        wanted: int | None = self.options.frames
        return context if wanted is None else context.with_frames(wanted)

    def merged_activations(self, context: PassContext) -> bool:
        """Whether pairs are placed for a runtime that merges activations into products."""
        options: QuantizeInt8Options = self.options
        if options.placement == "auto":
            return merges_activations(context.runtime)
        return bool(options.placement == "products")

    def _check(self, model: ModelProto) -> None:
        options: QuantizeInt8Options = self.options
        if is_quantized(model):
            raise ModelFileError("the model is quantized already; start from its float baseline")
        if opset_of(model) < _LEAST_OPSET:
            raise RecipeError(
                f"{self.name} needs opset {_LEAST_OPSET}, the model has {opset_of(model)}: "
                "put upgrade_opset before it"
            )
        unknown = sorted(set(options.operators) - set(OPERATORS))
        if unknown:
            raise RecipeError(
                f"pass {self.name!r}: operators: cannot quantize {', '.join(unknown)}; "
                f"known: {', '.join(OPERATORS)}"
            )
        wanted = [kind for kind in _COMPUTE if kind in options.operators]
        if not any(node.op_type in wanted for node in model.graph.node):
            raise ModelFileError(f"nothing to quantize: the graph has no {', '.join(wanted) or 'products'}")
        for name, values in float_constants(model):
            if not np.isfinite(values).all():
                raise ModelFileError(f"weight {name!r} is not finite: no scale can be given to it")

    def quantize(
        self, model: ModelProto, ranges: Any, context: PassContext, excluded: list[str]
    ) -> ModelProto:
        """Return a prepared graph with Q/DQ pairs; raise ModelFileError where the quantizer refuses it."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        options: QuantizeInt8Options = self.options
        reduce_range = context.host.saturates_u8s8 if options.reduce_range == "auto" else options.reduce_range
        context.notes["reduce_range"] = reduce_range
        merged = self.merged_activations(context)
        # The quantizer works in place.
        copy = type(model).FromString(model.SerializeToString())
        try:
            with _quiet():
                quantizer = QDQQuantizer(
                    copy,
                    options.per_channel,
                    reduce_range,
                    QuantType.QInt8,
                    QuantType[self.activations],
                    ranges,
                    [],
                    excluded,
                    options.operators,
                    {
                        "ActivationSymmetric": False,
                        "WeightSymmetric": True,
                        # The range of a join would not clip a part of it as its ReLU does.
                        "QDQKeepRemovableActivations": self.keeps_clipping or merged,
                    },
                )
                quantizer.quantize_model()
                quantizer.model.topological_sort()
        except AdcpError:
            raise
        except Exception as error:  # the quantizer raises several types, asserts among them
            raise ModelFileError(f"the quantizer refused the graph: {one_line(error)}") from error
        quantized: ModelProto = quantizer.model.model
        context.notes["placement"] = "products" if merged else "everywhere"
        if merged:
            return keep_pairs_of_products(QdqGraph(model, quantized, merged_activations=True))
        return quantized


def name_nodes(model: ModelProto) -> None:
    """Give unnamed nodes names, by which nodes are excluded and scales are named."""
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)


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

    A batch normalization or a constant that it would fold after quantization would stand between the
    scales. A graph that its optimizer cannot take goes on as it is.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given, path = context.scratch / "given.onnx", context.scratch / "pre_processed.onnx"
    try:
        # By path: given a model in memory it would take the weights out of it.
        onnx.save(model, str(given))
        with _quiet():
            quant_pre_process(str(given), str(path), skip_symbolic_shape=True)
        prepared = onnx.load(str(path))
    except Exception as error:  # several types; the way around it is to go without
        context.notes["pre_process"] = f"left out: {one_line(error, 120)}"
        prepared = onnx.shape_inference.infer_shapes(model)
    name_nodes(prepared)
    return prepared


def save_float(model: ModelProto, context: PassContext) -> Path:
    """Write the float graph where the calibrators can read it."""
    import onnx

    path = context.scratch / "float.onnx"
    onnx.save(model, str(path))
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's prints and log lines out of the command's own output."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)
