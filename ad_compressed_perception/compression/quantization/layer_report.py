# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layers of a variant of lower precision for its report and its file: SQNR, kind, reason for float."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.quantization.layer_sqnr import FLOAT, measure_layers
from ad_compressed_perception.compression.verification.difference_images import Snapshots
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.io import input_specs
from ad_compressed_perception.onnx_graph.layers import is_compute
from ad_compressed_perception.onnx_graph.metadata import METADATA_KEY
from ad_compressed_perception.report.schemas.compression import Layer, PassReport
from ad_compressed_perception.tasks.inputs import prepared_feeds

if TYPE_CHECKING:
    from onnx import ModelProto

LAYER_FRAMES = 3
"""Number of verification frames for per-layer SQNR: the first, the middle and the last."""


def measure_variant_layers(
    snapshots: Snapshots, frames: FrameSample, records: Sequence[PassReport]
) -> tuple[list[Layer], list[str]]:
    """Return the layers of a variant of lower precision, and notes about what could not be measured.

    Args:
        snapshots: models before and after the passes that lower the precision.
        frames: held-out frames.
        records: the notes of the passes.
    """
    exact, rounded = snapshots.exact, snapshots.rounded
    if exact is None or rounded is None:
        return [], []
    if exact.manifest.input != rounded.manifest.input:
        return [], [
            "Layers were not measured: a pass changed the input between passes that lower the precision."
        ]
    chosen = [frames.indices[place] for place in _spread(len(frames.indices))]
    before, after = exact.model(), rounded.model()
    feeds = prepared_feeds(exact.manifest, input_specs(after), FrameSample(frames.source, chosen))
    notes: list[dict[str, Any]] = [record.notes for record in records]
    try:
        return measure_layers(before, after, feeds, notes), []
    except ModelFileError as error:
        return [], [f"Layers were not measured: {error}"]


def _spread(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1})


def float_layers_text(model: ModelProto, layers: Sequence[Layer]) -> str:
    """Return the metadata entry about the file's layers in float, as JSON.

    ``layers`` has their names, ``why`` the reasons, ``places`` their indices among the compute ops of the
    file, which identify them where names were shortened.
    """
    before = {entry.key: entry.value for entry in model.metadata_props}
    kept = json.loads(before.get(METADATA_KEY, "{}"))
    floats = [(place, layer) for place, layer in enumerate(layers) if layer.kind == FLOAT]
    document: dict[str, Any] = {
        **kept,
        "layers": [layer.name for _, layer in floats],
        "why": [layer.why_float or "" for _, layer in floats],
    }
    # Later passes may have added or fused compute ops; then indices are not valid.
    if sum(is_compute(node) for node in model.graph.node) == len(layers):
        document["places"] = [place for place, _ in floats]
    return json.dumps(document, sort_keys=True)
