# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed-precision 8-bit quantization: measured sensitivities select the tensors that stay in float.

Every other calibration frame is used for the ranges and for the SQNR of each tensor; on the others the
task's score against the float graph determines how many of the most sensitive tensors stay in float. The
verification frames are used for neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ad_compressed_perception.compression.passes.quantization.quantize_int8 import (
    SHARED_SCALE,
    QuantizeInt8,
    QuantizeInt8Options,
    as_floats,
)
from ad_compressed_perception.compression.quantization.activation_ranges import collect_ranges
from ad_compressed_perception.compression.quantization.float_graph import save_float
from ad_compressed_perception.compression.quantization.mixed_precision import (
    CalibrationAgreement,
    MixedPrecisionSelection,
    select_float_tensors,
)
from ad_compressed_perception.compression.quantization.range_rules import narrow_silu_inputs
from ad_compressed_perception.compression.quantization.sensitivity import (
    OutputNoise,
    Sensitivity,
    measure_sensitivities,
)
from ad_compressed_perception.core.errors import DataError, ModelFileError
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.heads import Heads, find_heads
from ad_compressed_perception.onnx_graph.metadata import METADATA_KEY
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS, QdqGraph
from ad_compressed_perception.pass_api.passes import Feeds, PassContext

if TYPE_CHECKING:
    from onnx import ModelProto

_LEAST_FRAMES = 2


class QuantizeInt8MixedOptions(QuantizeInt8Options):
    """Options of quantize_int8_mixed, in addition to those of quantize_int8."""

    renamed = {"give_backs": "requantization_trials"}

    max_drop: float = Field(
        0.05,
        gt=0.0,
        le=1.0,
        description="largest drop of agreement with the float graph, on calibration frames",
    )
    silu_ranges: bool = Field(
        False, description="limit ranges of SiLU inputs to -8 and above: helps minmax, not mse"
    )
    sensitivity_frames: int = Field(2, ge=1, le=64, description="frames for the sensitivity of each tensor")
    requantization_trials: int = Field(
        24, ge=0, le=1000, description="tensors tried again in 8 bits at the end, one by one"
    )


class QuantizeInt8Mixed(QuantizeInt8):
    """Quantizes to 8 bits all but the few tensors whose quantization degrades the outputs too much."""

    name = "quantize_int8_mixed"
    options_type = QuantizeInt8MixedOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the quantized model.

        Raises:
            RecipeError: as quantize_int8.
            ModelFileError: as quantize_int8, or nothing can be quantized within ``max_drop``.
            DataError: fewer than 2 calibration frames, or no frame with a result to compare.
        """
        options: QuantizeInt8MixedOptions = self.options
        if context.frames < _LEAST_FRAMES:
            raise DataError(
                f"{self.name} needs at least {_LEAST_FRAMES} calibration frames, there is {context.frames}"
            )
        floating, excluded = self.prepare(model, context)
        half = _every_other(self.calibration_context(context))
        ranges = collect_ranges(
            save_float(floating, context), options.operators, options.calibration, options.percentile, half
        )
        heads = find_heads(floating, as_floats(ranges))
        protect = options.protect_heads and heads.need_protection
        narrowed = narrow_silu_inputs(floating, ranges) if options.silu_ranges else []
        head = list(heads.float_nodes) if protect else []
        quantized = self.quantize(floating, ranges, half, sorted({*excluded, *head}))
        graph = QdqGraph(floating, quantized, merged_activations=self.merged_activations(context))
        always = heads.shared if protect else ()
        if not graph.tensors():
            raise ModelFileError("the quantizer left every operator in float")
        noise = OutputNoise(
            floating,
            _measured_tensors(floating, heads, protect),
            list(islice(half.feeds(), options.sensitivity_frames)),
        )
        found = measure_sensitivities(graph, noise, graph.tensors(), context.advance)
        evaluator = CalibrationAgreement(floating, context, every_other=1)
        selection = select_float_tensors(
            [entry.tensor.name for entry in found if entry.tensor.name not in always],
            lambda tensors: evaluator.drop(graph.with_float({*tensors, *always})),
            options.max_drop,
            options.requantization_trials,
        )
        floats = graph.all_floats({*selection.tensors, *always})
        result = graph.with_float(floats)
        float_layers = graph.float_compute_ops(floats)
        compute_ops = sum(node.op_type in COMPUTE_OPS for node in floating.graph.node)
        if len(float_layers) == compute_ops:
            raise ModelFileError(
                f"no layer can be quantized within a drop of {options.max_drop:g}: raise max_drop, or use "
                "quantize_int16"
            )
        context.notes.update(half.notes)
        context.notes.update(
            calibration=options.calibration,
            excluded_nodes=excluded,
            float_head=head,
            concat_points=list(heads.concat_points) if protect else [],
            narrowed_silu_inputs=narrowed,
            compute_ops=compute_ops,
            float_layers=float_layers,
            float_tensors=_reasons(selection.tensors, always, found),
            drop=selection.drop,
            drop_without_float=selection.first_drop,
            max_drop=options.max_drop,
            evaluated_frames=evaluator.frames,
            trials=selection.trials,
            sqnr_db=noise.sqnr_db(result, [graph.after(result, name) for name in noise.outputs]),
            # Lowest SQNR first; one entry per tensor, for the plot.
            sensitivity_db={label(entry): round(entry.sqnr_db, 2) for entry in found},
        )
        _write_metadata(result, float_layers, selection)
        return result


def _every_other(context: PassContext) -> PassContext:
    """Return the context with the frames of even number only, and notes of its own."""

    def feeds() -> Iterator[Feeds]:
        yield from islice(context.feeds(), 0, None, 2)

    return replace(context, feeds=feeds, frames=(context.frames + 1) // 2, notes={})


def _measured_tensors(floating: ModelProto, heads: Heads, protect: bool) -> list[str]:
    """Return the tensors at which noise is measured: the inputs of a protected head, else the outputs.

    After a Concat of boxes and scores only the boxes, being large, would count.
    """
    produced = Graph(floating).producers
    inputs = [name for name in heads.head_inputs if name in produced]
    return inputs if protect and inputs else [output.name for output in floating.graph.output]


def label(entry: Sensitivity) -> str:
    """Return a tensor's label in a plot: its name, and the operator whose output or weights it is."""
    tensor = entry.tensor
    if tensor.kind == "weights":
        return f"{tensor.name} (weights of {tensor.operator} {tensor.node})"
    return f"{tensor.name} ({tensor.operator} {tensor.node})" if tensor.node else f"{tensor.name} (input)"


def _reasons(
    chosen: tuple[str, ...], always: tuple[str, ...], found: list[Sensitivity]
) -> list[dict[str, Any]]:
    """Return why each tensor stays in float."""
    by_name = {entry.tensor.name: entry for entry in found}
    reasons = []
    for name in (*always, *chosen):
        entry = by_name.get(name)
        if entry is None:
            continue
        why = SHARED_SCALE if name in always else f"quantized alone it leaves {entry.sqnr_db:.1f} dB"
        reasons.append(
            {
                "tensor": name,
                "node": entry.tensor.node,
                "operator": entry.tensor.operator,
                "sqnr_db": round(entry.sqnr_db, 2),
                "why": why,
            }
        )
    return reasons


def _write_metadata(model: ModelProto, float_layers: list[str], selection: MixedPrecisionSelection) -> None:
    import json

    entry = model.metadata_props.add()
    entry.key = METADATA_KEY
    entry.value = json.dumps({"layers": float_layers, "tensors": list(selection.tensors)})
