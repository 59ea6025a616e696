# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""8-bit quantization that leaves in float what cannot take it: found by measuring, not by names.

Every other calibration frame gives the ranges and the signal to noise ratio of each tensor; the rest
tells, in the task's own measure against the float graph, how many of the most harmful tensors have to
stay in float. The frames that verify the variant are used for neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ad_compressed_perception.compression.passes.quantization.quantize_int8 import (
    QuantizeInt8,
    QuantizeInt8Options,
    save_float,
)
from ad_compressed_perception.compression.quantization.activation_ranges import collect_ranges
from ad_compressed_perception.compression.quantization.mixed_precision import (
    AgreementJudge,
    Choice,
    select_float_tensors,
)
from ad_compressed_perception.compression.quantization.range_rules import narrow_silu_inputs
from ad_compressed_perception.compression.quantization.sensitivity import (
    OutputNoise,
    Sensitivity,
    measure_sensitivities,
)
from ad_compressed_perception.core.errors import DataError, ModelFileError
from ad_compressed_perception.onnx_graph.heads import Heads, find_heads
from ad_compressed_perception.onnx_graph.metadata import METADATA_KEY
from ad_compressed_perception.onnx_graph.qdq import PRODUCTS, QdqGraph
from ad_compressed_perception.pass_api.passes import Feeds, PassContext

if TYPE_CHECKING:
    from onnx import ModelProto

_LEAST_FRAMES = 2


class QuantizeInt8MixedOptions(QuantizeInt8Options):
    """Options of quantize_int8_mixed: those of quantize_int8 and these."""

    renamed = {"give_backs": "requantization_trials"}

    max_drop: float = Field(
        0.05, gt=0.0, le=1.0, description="largest loss of agreement with the float graph, calibration side"
    )
    protect_heads: bool = Field(
        True, description="float after the last products, where values of different meaning meet"
    )
    silu_ranges: bool = Field(
        False, description="no range below -8 for what only feeds x * sigmoid(x): helps minmax, not mse"
    )
    sensitivity_frames: int = Field(2, ge=1, le=64, description="frames that each tensor is measured on")
    requantization_trials: int = Field(
        24, ge=0, le=1000, description="tensors tried again at last, one by one"
    )


class QuantizeInt8Mixed(QuantizeInt8):
    """Quantizes to 8 bits all but the few tensors whose quantization the outputs cannot bear."""

    name = "quantize_int8_mixed"
    options_type = QuantizeInt8MixedOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the quantized model.

        Raises:
            RecipeError: as quantize_int8.
            ModelFileError: as quantize_int8, or nothing can be quantized within ``max_drop``.
            DataError: fewer than 2 calibration frames, or frames on which nothing is found.
        """
        options: QuantizeInt8MixedOptions = self.options
        if context.frames < _LEAST_FRAMES:
            raise DataError(
                f"{self.name} needs at least {_LEAST_FRAMES} calibration frames, there is {context.frames}"
            )
        floating, excluded = self.prepare(model, context)
        half = _every_other(self.calibrating(context))
        ranges = collect_ranges(
            save_float(floating, context), options.operators, options.calibration, options.percentile, half
        )
        heads = find_heads(floating, _plain(ranges))
        protect = options.protect_heads and heads.need_protection
        narrowed = narrow_silu_inputs(floating, ranges) if options.silu_ranges else []
        tail = list(heads.tail) if protect else []
        quantized = self.quantize(floating, ranges, half, sorted({*excluded, *tail}))
        graph = QdqGraph(floating, quantized, merged_activations=self.merged_activations(context))
        always = heads.shared if protect else ()
        if not graph.tensors():
            raise ModelFileError("the quantizer left every operator in float")
        noise = OutputNoise(
            floating,
            _measured_at(floating, heads, protect),
            list(islice(half.feeds(), options.sensitivity_frames)),
        )
        found = measure_sensitivities(graph, noise, graph.tensors(), context.advance)
        judge = AgreementJudge(floating, context, every_other=1)
        choice = select_float_tensors(
            [entry.tensor.name for entry in found if entry.tensor.name not in always],
            lambda tensors: judge.drop(graph.with_float({*tensors, *always})),
            options.max_drop,
            options.requantization_trials,
        )
        floats = graph.all_floats({*choice.tensors, *always})
        result = graph.with_float(floats)
        float_layers = graph.float_products(floats)
        products = sum(node.op_type in PRODUCTS for node in floating.graph.node)
        if len(float_layers) == products:
            raise ModelFileError(
                f"no layer can be quantized within a drop of {options.max_drop:g}: raise max_drop, or use "
                "quantize_int16"
            )
        context.notes.update(half.notes)
        context.notes.update(
            calibration=options.calibration,
            excluded_nodes=excluded,
            float_tail=tail,
            joints=list(heads.joints) if protect else [],
            narrowed_silu_inputs=narrowed,
            products=products,
            float_layers=float_layers,
            float_tensors=_told(choice.tensors, always, found),
            drop=choice.drop,
            drop_without_float=choice.first_drop,
            max_drop=options.max_drop,
            judged_frames=judge.frames,
            trials=choice.trials,
            sqnr_db=noise.sqnr_db(result, [graph.after(result, name) for name in noise.outputs]),
            # The most harmful first: a line each for a plot, not more, as there are hundreds.
            sensitivity_db={label(entry): round(entry.sqnr_db, 2) for entry in found},
        )
        _write_metadata(result, float_layers, choice)
        return result


def _every_other(context: PassContext) -> PassContext:
    """Return the context with the frames of even number only, and notes of its own."""

    def feeds() -> Iterator[Feeds]:
        yield from islice(context.feeds(), 0, None, 2)

    return replace(context, feeds=feeds, frames=(context.frames + 1) // 2, notes={})


def _plain(ranges: Any) -> dict[str, tuple[float, float]]:
    return {
        name: (float(np.min(data.range_value[0])), float(np.max(data.range_value[1])))
        for name, data in ranges.items()
    }


def _measured_at(floating: ModelProto, heads: Heads, protect: bool) -> list[str]:
    """Return the tensors at which noise is measured: where a protected tail begins, else the outputs.

    Behind a Concat of boxes and scores only the boxes, being large, would count.
    """
    made = {name for node in floating.graph.node for name in node.output}
    ends = [name for name in heads.ends if name in made]
    return ends if protect and ends else [output.name for output in floating.graph.output]


def label(entry: Sensitivity) -> str:
    """Return what a tensor is called in a plot: its name, and whose output or weights it is."""
    tensor = entry.tensor
    if tensor.kind == "weights":
        return f"{tensor.name} (weights of {tensor.operator} {tensor.node})"
    return f"{tensor.name} ({tensor.operator} {tensor.node})" if tensor.node else f"{tensor.name} (input)"


def _told(chosen: tuple[str, ...], always: tuple[str, ...], found: list[Sensitivity]) -> list[dict[str, Any]]:
    """Return why each tensor stays in float."""
    by_name = {entry.tensor.name: entry for entry in found}
    told = []
    for name in (*always, *chosen):
        entry = by_name.get(name)
        if entry is None:
            continue
        why = (
            "values of different meaning share it"
            if name in always
            else f"quantized alone it leaves {entry.sqnr_db:.1f} dB"
        )
        told.append(
            {
                "tensor": name,
                "node": entry.tensor.node,
                "operator": entry.tensor.operator,
                "sqnr_db": round(entry.sqnr_db, 2),
                "why": why,
            }
        )
    return told


def _write_metadata(model: ModelProto, float_layers: list[str], choice: Choice) -> None:
    import json

    entry = model.metadata_props.add()
    entry.key = METADATA_KEY
    entry.value = json.dumps({"layers": float_layers, "tensors": list(choice.tensors)})
