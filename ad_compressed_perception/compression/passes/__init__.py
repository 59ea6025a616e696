# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compression passes, in folders by technique, and their names in recipes."""

_HERE = "ad_compressed_perception.compression.passes"
PLUGINS = {
    "cast_float16": f"{_HERE}.quantization.cast_float16:CastFloat16",
    "deduplicate_initializers": f"{_HERE}.graph.deduplicate_initializers:DeduplicateInitializers",
    "distill": f"{_HERE}.distillation.distill:Distill",
    "equalize_channels": f"{_HERE}.quantization.equalize_channels:EqualizeChannels",
    "flush_denormals": f"{_HERE}.graph.flush_denormals:FlushDenormals",
    "focus_to_conv": f"{_HERE}.graph.focus_to_conv:FocusToConv",
    "infer_shapes": f"{_HERE}.graph.infer_shapes:InferShapes",
    "embed_preprocessing": f"{_HERE}.graph.embed_preprocessing:EmbedPreprocessing",
    "input_size": f"{_HERE}.graph.input_size:InputSize",
    "select_classes": f"{_HERE}.graph.select_classes:SelectClasses",
    "trim_output": f"{_HERE}.graph.trim_output:TrimOutput",
    "palettize": f"{_HERE}.quantization.palettize:Palettize",
    "prune_channels": f"{_HERE}.pruning.prune_channels:PruneChannels",
    "prune_magnitude": f"{_HERE}.pruning.prune_magnitude:PruneMagnitude",
    "prune_unstructured": f"{_HERE}.pruning.prune_unstructured:PruneUnstructured",
    "qat": f"{_HERE}.quantization.qat:Qat",
    "quantize_dynamic_matmul": f"{_HERE}.quantization.quantize_dynamic_matmul:QuantizeDynamicMatmul",
    "quantize_int16": f"{_HERE}.quantization.quantize_int16:QuantizeInt16",
    "quantize_int8": f"{_HERE}.quantization.quantize_int8:QuantizeInt8",
    "quantize_int8_mixed": f"{_HERE}.quantization.quantize_int8_mixed:QuantizeInt8Mixed",
    "quantize_weights": f"{_HERE}.quantization.quantize_weights:QuantizeWeights",
    "reconstruct": f"{_HERE}.distillation.reconstruct:Reconstruct",
    "flatten_per_level": f"{_HERE}.graph.flatten_per_level:FlattenPerLevel",
    "simplify": f"{_HERE}.graph.simplify:Simplify",
    "replace_with_student": f"{_HERE}.distillation.replace_with_student:ReplaceWithStudent",
    "replace_activation": f"{_HERE}.graph.replace_activation:ReplaceActivation",
    "upgrade_opset": f"{_HERE}.graph.upgrade_opset:UpgradeOpset",
    "upsample_to_conv": f"{_HERE}.graph.upsample_to_conv:UpsampleToConv",
}
# Old names, accepted for one version.
RENAMED = {
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
}
