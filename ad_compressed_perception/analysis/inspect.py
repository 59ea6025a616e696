# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Inspection of a model: contents of its file and the layers that a runtime executes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ad_compressed_perception.analysis.costs import COUNTERS, TFLITE_SUFFIX, file_costs
from ad_compressed_perception.analysis.sizes import measure_sizes
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.manifest import Manifest, OutputSpec, Verdict
from ad_compressed_perception.core.model_files import STAGES_NAME
from ad_compressed_perception.core.tensors import LayerRecord
from ad_compressed_perception.onnx_graph.costs import LayerCost, ModelCosts
from ad_compressed_perception.onnx_graph.layers import read_onnx
from ad_compressed_perception.onnx_graph.metadata import METADATA_KEY
from ad_compressed_perception.onnx_graph.qdq_placement import merges_activations, relies_on_merging
from ad_compressed_perception.packing.decompress import decompress
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.inspection import (
    ExecutedLayer,
    FloatLayer,
    InspectedVariant,
    Memory,
)

DEFAULT_BACKEND = "onnxruntime"
_BACKENDS = {TFLITE_SUFFIX: "litert", ".pte": "executorch", ".pt2": "torch", ".pt": "torch"}
_NO_REASON = "the file does not say why"
_RUNTIME = "computed in float by the runtime; the file does not say why"
_PLACED_FOR_MERGING = (
    "the QDQ pairs are placed for runtimes that merge activations; for this one quantize with "
    "placement: everywhere"
)
# What runtimes append to a node's name when they rewrite it for a memory layout or for integers.
_REWRITTEN = re.compile(r"(_nchwc|_nhwc|_token_\d+|_quant|/WithoutBiases)$")


@dataclass(frozen=True)
class InspectedLayer:
    """A layer of the executed graph with the cost of the file's layer it stems from.

    Attributes:
        record: of the layer, by the runtime.
        macs: multiply-accumulates; None for a layer that has none, or whose origin is unknown.
    """

    record: LayerRecord
    macs: int | None


@dataclass(frozen=True)
class Inspection:
    """One model file as written and as executed.

    Attributes:
        name: the variant's name, or the file's.
        costs: counted on the file.
        info: of the loaded model, by its backend.
        layers: of the executed graph, in its order.
        verdict: of the accept gate; None for a baseline or a file without a manifest.
        memory: of the process; None where it was not measured.
        float_layers: compute ops that stay in float although others are quantized, in order.
        output: how the manifest decodes the outputs; None for a file without a manifest.
    """

    name: str
    costs: ModelCosts
    info: SessionInfo
    layers: tuple[InspectedLayer, ...]
    verdict: Verdict | None = None
    memory: Memory | None = None
    float_layers: tuple[FloatLayer, ...] = ()
    output: OutputSpec | None = None

    @property
    def compute_layers(self) -> int:
        """Convolutions and matrix products that are executed."""
        return sum(layer.record.is_compute for layer in self.layers)

    @property
    def integer_layers(self) -> int:
        """How many of them run as integer kernels."""
        return sum(layer.record.is_integer for layer in self.layers)

    def document(self) -> InspectedVariant:
        """Return the figures as a document has them."""
        return copied(
            InspectedVariant,
            *(self, self.info, self.costs),
            file=str(self.costs.file),
            backend_version=self.info.version,
            load_ms=round(self.info.load_ms, 3),
        )

    def layer_rows(self) -> list[ExecutedLayer]:
        """Return the executed layers as a document has them."""
        return [copied(ExecutedLayer, layer.record, macs=layer.macs) for layer in self.layers]


def usual_backend(path: Path) -> str:
    """Return the backend of a file without a manifest."""
    return _BACKENDS.get(path.suffix, DEFAULT_BACKEND)


def inspect_file(
    path: Path,
    *,
    backend: str = DEFAULT_BACKEND,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    verdict: Verdict | None = None,
    measure_memory: bool = False,
) -> Inspection:
    """Inspect an ONNX, .tflite, .pte or .pt2 file.

    Args:
        path: the file.
        backend: the runtime that compiles it.
        options: the backend's options.
        name: its name; the file's by default.
        input_shapes: sizes for dynamic inputs, see file_costs.
        verdict: of its accept gate.
        measure_memory: load and run it in a process of its own to measure its memory.

    Raises:
        BackendError: the file is missing or not ONNX, or the backend cannot load it.
    """
    costs = file_costs(path, input_shapes)
    runtime = create_backend(backend)
    # Nothing is timed here, so warm-up runs are skipped.
    no_warmup = {"warmup_runs": 0} if "warmup_runs" in runtime.options_type.model_fields else {}
    session = runtime.load(path, {**(options or {}), **no_warmup})
    try:
        layers = with_costs(session.layers(), costs.layers)
        info = session.info
    finally:
        session.close()
    memory = _memory(measure_sizes(path, backend, options or {}).as_dict(), True) if measure_memory else None
    is_staged = path.name == STAGES_NAME
    floats = (
        () if is_staged else _float_layers(path, layers, merges_activations((info.backend, options or {})))
    )
    return Inspection(name or path.name, costs, info, layers, verdict, memory, floats)


def _memory(sizes: Mapping[str, Any], measured_here: bool) -> Memory | None:
    loaded, running = sizes.get("loaded_bytes"), sizes.get("running_bytes")
    if loaded is None or running is None:
        return None
    return Memory(
        loaded_bytes=loaded,
        running_bytes=running,
        peak_bytes=sizes.get("peak_bytes"),
        measured_here=measured_here,
    )


def _float_layers(path: Path, layers: tuple[InspectedLayer, ...], merging: bool) -> tuple[FloatLayer, ...]:
    """Return the float layers that the file lists, else those executed beside integer layers."""
    metadata, why = {}, _RUNTIME
    if path.suffix not in COUNTERS:
        model = read_onnx(decompress(path))
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        why = _PLACED_FOR_MERGING if not merging and relies_on_merging(model) else _RUNTIME
    try:
        listed = json.loads(metadata.get(METADATA_KEY, "{}"))
        names, reasons = listed.get("layers", []), listed.get("why", [])
        found = [
            FloatLayer(name=str(layer), why=str(reasons[place] if place < len(reasons) else "") or _NO_REASON)
            for place, layer in enumerate(names)
        ]
    except (ValueError, AttributeError, TypeError):  # another tool's entry of that name
        found = []
    compute = [layer.record for layer in layers if layer.record.is_compute]
    beside_integers = why == _PLACED_FOR_MERGING or any(record.is_integer for record in compute)
    if not found and beside_integers:
        found = [FloatLayer(name=record.name, why=why) for record in compute if not record.is_integer]
    return tuple(found)


def inspect_variant(
    manifest: Manifest, name: str, *, backend: str | None = None, measure_memory: bool = False
) -> Inspection:
    """Inspect a variant, also a rejected one, on its own backend or on another.

    Its memory is that of the manifest's figures unless it is measured here.

    Raises:
        AdcpError: the variant's file is missing or altered, or the backend cannot load it.
    """
    variant = manifest.variant(name)
    path = manifest.checked_path(name, allow_rejected=True)
    runtime = backend or variant.backend
    spec = manifest.for_variant(name).input
    shapes = {spec.name: spec.shape} if spec.name else {}
    found = inspect_file(
        path,
        backend=runtime,
        options=variant.options if runtime == variant.backend else None,
        name=name,
        input_shapes=shapes,
        verdict=variant.verdict,
        measure_memory=measure_memory,
    )
    found = replace(found, output=manifest.for_variant(name).output)
    known = variant.figures.get("variant_sizes")
    if found.memory is None and isinstance(known, dict) and runtime == variant.backend:
        return replace(found, memory=_memory(known, False))
    return found


def with_costs(records: list[LayerRecord], costs: tuple[LayerCost, ...]) -> tuple[InspectedLayer, ...]:
    """Join executed layers to the costs of the file's layers they stem from, by name."""
    by_name = {name: cost for cost in costs for name in cost.absorbs if name}
    by_name |= {cost.output: cost for cost in costs} | {cost.name: cost for cost in costs}
    taken: set[str] = set()
    layers = []
    for record in records:
        macs = None
        if record.is_compute:
            # A fused layer lists all the nodes it was made of; the first compute op among them is it.
            for part in record.name.split(","):
                cost = by_name.get(_REWRITTEN.sub("", part)) or by_name.get(part)
                if cost is not None and cost.output not in taken:
                    taken.add(cost.output)
                    macs = cost.macs
                    break
        layers.append(InspectedLayer(record, macs))
    return tuple(layers)
