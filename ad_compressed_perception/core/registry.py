# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds plug-ins of this and of other packages by their entry points."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ad_compressed_perception.core.renamed import warn_renamed

BACKENDS = "ad_compressed_perception.backends"
DECODERS = "ad_compressed_perception.decoders"
PASSES = "ad_compressed_perception.passes"
NODES = "ad_compressed_perception.nodes"
VERBS = "ad_compressed_perception.verbs"
FRAME_SOURCES = "ad_compressed_perception.frame_sources"

_PACKAGE = "ad_compressed_perception"
_GRAPH = f"{_PACKAGE}.compression.passes.graph"
_QUANTIZATION = f"{_PACKAGE}.compression.passes.quantization"
_PRUNING = f"{_PACKAGE}.compression.passes.pruning"
_DISTILLATION = f"{_PACKAGE}.compression.passes.distillation"

# The package's own plug-ins, so that an uninstalled checkout works too; setup.py registers those of other packages.
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
    VERBS: {
        "replay": f"{_PACKAGE}.cli.replay:replay",
        "compress": f"{_PACKAGE}.cli.compress:compress",
        "evaluate": f"{_PACKAGE}.cli.evaluate:evaluate",
        "benchmark": f"{_PACKAGE}.cli.benchmark:benchmark",
        "inspect": f"{_PACKAGE}.cli.inspect:inspect",
        "report": f"{_PACKAGE}.cli.report:report",
        "train": f"{_PACKAGE}.cli.train:train",
        "backends": f"{_PACKAGE}.cli.backends:backends",
        "import": f"{_PACKAGE}.cli.import_model:import_model",
    },
    PASSES: {
        "cast_float16": f"{_QUANTIZATION}.cast_float16:CastFloat16",
        "deduplicate_initializers": f"{_GRAPH}.deduplicate_initializers:DeduplicateInitializers",
        "distill": f"{_DISTILLATION}.distill:Distill",
        "equalize_channels": f"{_QUANTIZATION}.equalize_channels:EqualizeChannels",
        "flush_denormals": f"{_GRAPH}.flush_denormals:FlushDenormals",
        "focus_to_conv": f"{_GRAPH}.focus_to_conv:FocusToConv",
        "infer_shapes": f"{_GRAPH}.infer_shapes:InferShapes",
        "embed_preprocessing": f"{_GRAPH}.embed_preprocessing:EmbedPreprocessing",
        "input_size": f"{_GRAPH}.input_size:InputSize",
        "select_classes": f"{_GRAPH}.select_classes:SelectClasses",
        "trim_output": f"{_GRAPH}.trim_output:TrimOutput",
        "palettize": f"{_QUANTIZATION}.palettize:Palettize",
        "prune_channels": f"{_PRUNING}.prune_channels:PruneChannels",
        "prune_magnitude": f"{_PRUNING}.prune_magnitude:PruneMagnitude",
        "prune_unstructured": f"{_PRUNING}.prune_unstructured:PruneUnstructured",
        "qat": f"{_QUANTIZATION}.qat:Qat",
        "quantize_dynamic_matmul": f"{_QUANTIZATION}.quantize_dynamic_matmul:QuantizeDynamicMatmul",
        "quantize_int16": f"{_QUANTIZATION}.quantize_int16:QuantizeInt16",
        "quantize_int8": f"{_QUANTIZATION}.quantize_int8:QuantizeInt8",
        "quantize_int8_mixed": f"{_QUANTIZATION}.quantize_int8_mixed:QuantizeInt8Mixed",
        "quantize_weights": f"{_QUANTIZATION}.quantize_weights:QuantizeWeights",
        "reconstruct": f"{_DISTILLATION}.reconstruct:Reconstruct",
        "flatten_per_level": f"{_GRAPH}.flatten_per_level:FlattenPerLevel",
        "simplify": f"{_GRAPH}.simplify:Simplify",
        "replace_with_student": f"{_DISTILLATION}.replace_with_student:ReplaceWithStudent",
        "replace_activation": f"{_GRAPH}.replace_activation:ReplaceActivation",
        "upgrade_opset": f"{_GRAPH}.upgrade_opset:UpgradeOpset",
        "upsample_to_conv": f"{_GRAPH}.upsample_to_conv:UpsampleToConv",
    },
}

# Old names of this package's plug-ins, accepted for one version.
_RENAMED: dict[str, dict[str, str]] = {
    PASSES: {
        "compact": "deduplicate_initializers",
        "distil": "distill",
        "equalise": "equalize_channels",
        "input_in_graph": "embed_preprocessing",
        "keep_labels": "select_classes",
        "output": "trim_output",
        "palettise": "palettize",
        "prune_weights": "prune_unstructured",
        "quantize_aware": "qat",
        "rows_early": "flatten_per_level",
        "student": "replace_with_student",
        "swap_activation": "replace_activation",
    },
}

_KINDS = {
    BACKENDS: "backend",
    DECODERS: "decoder",
    PASSES: "pass",
    NODES: "node",
    VERBS: "verb",
    FRAME_SOURCES: "frame source",
}


@cache
def _targets(group: str) -> dict[str, str]:
    installed = {entry.name: entry.value for entry in entry_points(group=group)}
    return {**installed, **_BUILT_IN.get(group, {})}


def names(group: str) -> list[str]:
    """Names of all plug-ins of a group, sorted."""
    return sorted(_targets(group))


def find(group: str, name: str, error: type[Exception]) -> Any:
    """Import the plug-in ``name`` of a group; raise ``error`` naming the known ones."""
    kind = _KINDS.get(group, group.rsplit(".", 1)[-1])
    if name not in _targets(group) and name in _RENAMED.get(group, {}):
        present = _RENAMED[group][name]
        warn_renamed(kind, name, present)
        name = present
    target = _targets(group).get(name)
    if target is None:
        raise error(f"unknown {kind} {name!r}; known: {', '.join(names(group))}")
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as cause:
        raise error(f"{kind} {name!r} ({target}) cannot be imported: {cause}") from cause
