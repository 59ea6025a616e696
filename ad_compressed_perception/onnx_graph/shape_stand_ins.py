# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Operators whose shapes ONNX does not infer, replaced by others of the same shapes, for inference only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_AS_THEIR_INPUT = frozenset(
    (
        *("GroupNormalization", "RMSNormalization", "GroupNorm", "SkipGroupNorm", "LayerNormalization"),
        *("SkipLayerNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"),
        *("BiasGelu", "FastGelu", "QuickGelu", "Gelu", "BiasAdd", "BiasDropout", "BiasSoftmax"),
        *("ThresholdedRelu", "ParametricSoftplus", "ScaledTanh", "Affine", "ImageScaler"),
    )
)
"""Their first output has the shape and type of their first input (ONNX, docs/Operators.md; ONNX Runtime,
docs/ContribOperators.md)."""

_AS_ANOTHER = {
    "FusedConv": ("Conv", 3),
    "FusedGemm": ("Gemm", 3),
    "FusedMatMul": ("MatMul", 2),
    "FusedMatMulActivation": ("MatMul", 2),
    "TransposeMatMul": ("MatMul", 2),
}
"""ONNX Runtime's operator: the standard one of the same shapes, and how many inputs that has."""

_FUSED = ("activation", "alpha", "transA", "transB", "transBatchA", "transBatchB")
_STANDARD = ("", "ai.onnx")


def use_stand_ins(model: ModelProto) -> None:
    """Replace these operators, in place; the graph has the same shapes then, but computes something else."""
    from onnx import helper

    for node in model.graph.node:
        if node.op_type in _AS_THEIR_INPUT and (node.domain not in _STANDARD or node.op_type[0] in "GR"):
            node.CopyFrom(helper.make_node("Identity", [node.input[0]], [node.output[0]], name=node.name))
        elif node.domain not in _STANDARD and node.op_type in _AS_ANOTHER and not _transposes(node):
            operator, count = _AS_ANOTHER[node.op_type]
            kept = [
                entry
                for entry in node.attribute
                if not entry.name.startswith(_FUSED)
                or (operator == "Gemm" and entry.name.startswith("trans"))
            ]
            node.op_type, node.domain = operator, ""
            del node.attribute[:], node.input[count:]
            node.attribute.extend(kept)


def _transposes(node: NodeProto) -> bool:
    """Whether a matrix product transposes an operand, which MatMul cannot."""
    return "MatMul" in node.op_type and any(a.name.startswith("trans") and a.i for a in node.attribute)
