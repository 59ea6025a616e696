# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finding plug-ins: backends and decoders, ours and third parties', by their entry points."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

BACKENDS = "ad_compressed_perception.backends"
DECODERS = "ad_compressed_perception.decoders"
PASSES = "ad_compressed_perception.passes"

# The package's own plug-ins, so that an uninstalled checkout works too; setup.py registers the same.
_BUILT_IN: dict[str, dict[str, str]] = {
    BACKENDS: {
        "litert": "ad_compressed_perception.backends.litert_backend:LiteRtBackend",
        "onnxruntime": "ad_compressed_perception.backends.onnxruntime_backend:OnnxRuntimeBackend",
        "openvino": "ad_compressed_perception.backends.openvino_backend:OpenVinoBackend",
    },
    DECODERS: {
        "yolox": "ad_compressed_perception.tasks.decoders.yolox:YoloxDecoder",
        "argmax": "ad_compressed_perception.tasks.decoders.argmax:ArgmaxDecoder",
        "steering": "ad_compressed_perception.tasks.decoders.steering:SteeringDecoder",
        "trajectory": "ad_compressed_perception.tasks.decoders.trajectory:TrajectoryDecoder",
    },
    PASSES: {
        "cast_float16": "ad_compressed_perception.compression.passes.cast_float16:CastFloat16",
        "compact": "ad_compressed_perception.compression.passes.compact:Compact",
        "distil": "ad_compressed_perception.compression.passes.distil:Distil",
        "equalise": "ad_compressed_perception.compression.passes.equalise:Equalise",
        "flush_denormals": "ad_compressed_perception.compression.passes.flush_denormals:FlushDenormals",
        "focus_to_conv": "ad_compressed_perception.compression.passes.focus_to_conv:FocusToConv",
        "infer_shapes": "ad_compressed_perception.compression.passes.infer_shapes:InferShapes",
        "input_in_graph": "ad_compressed_perception.compression.passes.input_in_graph:InputInGraph",
        "input_size": "ad_compressed_perception.compression.passes.input_size:InputSize",
        "keep_labels": "ad_compressed_perception.compression.passes.keep_labels:KeepLabels",
        "output": "ad_compressed_perception.compression.passes.output:Output",
        "palettise": "ad_compressed_perception.compression.passes.palettise:Palettise",
        "prune_channels": "ad_compressed_perception.compression.passes.prune_channels:PruneChannels",
        "prune_magnitude": "ad_compressed_perception.compression.passes.prune_magnitude:PruneMagnitude",
        "prune_weights": "ad_compressed_perception.compression.passes.prune_weights:PruneWeights",
        "quantize_aware": "ad_compressed_perception.compression.passes.quantize_aware:QuantizeAware",
        "quantize_dynamic_matmul": (
            "ad_compressed_perception.compression.passes.quantize_dynamic_matmul:QuantizeDynamicMatmul"
        ),
        "quantize_int16": "ad_compressed_perception.compression.passes.quantize_int16:QuantizeInt16",
        "quantize_int8": "ad_compressed_perception.compression.passes.quantize_int8:QuantizeInt8",
        "quantize_int8_mixed": (
            "ad_compressed_perception.compression.passes.quantize_int8_mixed:QuantizeInt8Mixed"
        ),
        "quantize_weights": "ad_compressed_perception.compression.passes.quantize_weights:QuantizeWeights",
        "reconstruct": "ad_compressed_perception.compression.passes.reconstruct:Reconstruct",
        "rows_early": "ad_compressed_perception.compression.passes.rows_early:RowsEarly",
        "simplify": "ad_compressed_perception.compression.passes.simplify:Simplify",
        "student": "ad_compressed_perception.compression.passes.student:Student",
        "swap_activation": "ad_compressed_perception.compression.passes.swap_activation:SwapActivation",
        "upgrade_opset": "ad_compressed_perception.compression.passes.upgrade_opset:UpgradeOpset",
        "upsample_to_conv": "ad_compressed_perception.compression.passes.upsample_to_conv:UpsampleToConv",
    },
}

_KINDS = {BACKENDS: "backend", DECODERS: "decoder", PASSES: "pass"}


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
