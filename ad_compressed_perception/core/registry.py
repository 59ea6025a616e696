# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finding plug-ins, ours and other packages', by their entry points."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

BACKENDS = "ad_compressed_perception.backends"
DECODERS = "ad_compressed_perception.decoders"
PASSES = "ad_compressed_perception.passes"
NODES = "ad_compressed_perception.nodes"
VERBS = "ad_compressed_perception.verbs"

_PACKAGE = "ad_compressed_perception"
_GRAPH = f"{_PACKAGE}.compression.passes.graph"
_QUANTIZATION = f"{_PACKAGE}.compression.passes.quantization"
_PRUNING = f"{_PACKAGE}.compression.passes.pruning"
_DISTILLATION = f"{_PACKAGE}.compression.passes.distillation"

# The package's own plug-ins, so that an uninstalled checkout works too; setup.py registers the same.
_BUILT_IN: dict[str, dict[str, str]] = {
    BACKENDS: {
        "litert": f"{_PACKAGE}.backends.litert_backend:LiteRtBackend",
        "onnxruntime": f"{_PACKAGE}.backends.onnxruntime_backend:OnnxRuntimeBackend",
        "openvino": f"{_PACKAGE}.backends.openvino_backend:OpenVinoBackend",
    },
    DECODERS: {
        "yolox": f"{_PACKAGE}.tasks.decoders.yolox:YoloxDecoder",
        "argmax": f"{_PACKAGE}.tasks.decoders.argmax:ArgmaxDecoder",
        "steering": f"{_PACKAGE}.tasks.decoders.steering:SteeringDecoder",
        "trajectory": f"{_PACKAGE}.tasks.decoders.trajectory:TrajectoryDecoder",
    },
    NODES: {
        "detection_node": f"{_PACKAGE}.nodes.detection_node:DetectionNode",
        "latency_monitor_node": f"{_PACKAGE}.nodes.latency_monitor_node:LatencyMonitorNode",
        "planning_node": f"{_PACKAGE}.nodes.planning_node:PlanningNode",
        "segmentation_node": f"{_PACKAGE}.nodes.segmentation_node:SegmentationNode",
    },
    PASSES: {
        "cast_float16": f"{_QUANTIZATION}.cast_float16:CastFloat16",
        "compact": f"{_GRAPH}.deduplicate_initializers:Compact",
        "distil": f"{_DISTILLATION}.distill:Distil",
        "equalise": f"{_QUANTIZATION}.equalize_channels:Equalise",
        "flush_denormals": f"{_GRAPH}.flush_denormals:FlushDenormals",
        "focus_to_conv": f"{_GRAPH}.focus_to_conv:FocusToConv",
        "infer_shapes": f"{_GRAPH}.infer_shapes:InferShapes",
        "input_in_graph": f"{_GRAPH}.embed_preprocessing:InputInGraph",
        "input_size": f"{_GRAPH}.input_size:InputSize",
        "keep_labels": f"{_GRAPH}.select_classes:KeepLabels",
        "output": f"{_GRAPH}.trim_output:Output",
        "palettise": f"{_QUANTIZATION}.palettize:Palettise",
        "prune_channels": f"{_PRUNING}.prune_channels:PruneChannels",
        "prune_magnitude": f"{_PRUNING}.prune_magnitude:PruneMagnitude",
        "prune_weights": f"{_PRUNING}.prune_unstructured:PruneWeights",
        "quantize_aware": f"{_QUANTIZATION}.qat:QuantizeAware",
        "quantize_dynamic_matmul": f"{_QUANTIZATION}.quantize_dynamic_matmul:QuantizeDynamicMatmul",
        "quantize_int16": f"{_QUANTIZATION}.quantize_int16:QuantizeInt16",
        "quantize_int8": f"{_QUANTIZATION}.quantize_int8:QuantizeInt8",
        "quantize_int8_mixed": f"{_QUANTIZATION}.quantize_int8_mixed:QuantizeInt8Mixed",
        "quantize_weights": f"{_QUANTIZATION}.quantize_weights:QuantizeWeights",
        "reconstruct": f"{_DISTILLATION}.reconstruct:Reconstruct",
        "rows_early": f"{_GRAPH}.flatten_per_level:RowsEarly",
        "simplify": f"{_GRAPH}.simplify:Simplify",
        "student": f"{_DISTILLATION}.replace_with_student:Student",
        "swap_activation": f"{_GRAPH}.replace_activation:SwapActivation",
        "upgrade_opset": f"{_GRAPH}.upgrade_opset:UpgradeOpset",
        "upsample_to_conv": f"{_GRAPH}.upsample_to_conv:UpsampleToConv",
    },
}

_KINDS = {BACKENDS: "backend", DECODERS: "decoder", PASSES: "pass", NODES: "node", VERBS: "verb"}


@cache
def _targets(group: str) -> dict[str, str]:
    installed = {entry.name: entry.value for entry in entry_points(group=group)}
    return {**installed, **_BUILT_IN.get(group, {})}


def names(group: str) -> list[str]:
    """Names of all plug-ins of a group, sorted."""
    return sorted(_targets(group))


def find(group: str, name: str, error: type[Exception]) -> Any:
    """Import the plug-in ``name`` of a group; raise ``error`` naming the known ones."""
    target = _targets(group).get(name)
    kind = _KINDS.get(group, group.rsplit(".", 1)[-1])
    if target is None:
        raise error(f"unknown {kind} {name!r}; known: {', '.join(names(group))}")
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as cause:
        raise error(f"{kind} {name!r} ({target}) cannot be imported: {cause}") from cause
