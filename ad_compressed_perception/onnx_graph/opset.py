# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Raising the operator version of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.io import check_model, opset_of
from ad_compressed_perception.onnx_graph.subgraphs import copied

if TYPE_CHECKING:
    from onnx import ModelProto

# Minimum IR version of the file for each opset; ONNX, docs/Versioning.md.
_LEAST_IR = ((9, 4), (11, 6), (12, 7), (15, 8), (19, 9), (21, 10))

# The first opset in which Resize has a coordinate transformation mode.
_RESIZE_MODES_OPSET = 11


def upgrade_opset(
    model: ModelProto, to: int, feeds: Callable[[], Feeds], tolerance: float
) -> tuple[ModelProto, dict[str, Any]]:
    """Return the model at opset ``to`` or later, and notes on what was done.

    Args:
        model: not changed, but for its IR version.
        to: least opset; a later one stays as it is.
        feeds: gives inputs on which the numbers are compared.
        tolerance: largest change of an output, as a share of its range.

    Raises:
        ModelFileError: an operator cannot be converted, or the converted model computes something else.
    """
    from onnx import version_converter

    notes: dict[str, Any] = {}
    before = opset_of(model)
    if before < to:
        try:
            converted = version_converter.convert_version(model, to)
        except Exception as error:  # the converter throws C++ errors of several types
            raise ModelFileError(
                f"operator {_unconvertible(model, to, str(error))} cannot be converted from "
                f"opset {before} to {to}: {one_line(error)}; export it again with opset {to}"
            ) from error
        if before < _RESIZE_MODES_OPSET:
            notes["kept_sampling"] = _keep_sampling(converted)
        _raise_ir(converted)
        check_model(converted, f"the model at opset {to}")
        notes["largest_difference"] = require_same(model, converted, feeds(), tolerance)
        model = converted
    _raise_ir(model)
    return model, notes


def _keep_sampling(model: ModelProto) -> int:
    """Set each Resize's sampling as in Upsample (to opset 9) and Resize (opset 10); return how many.

    They took ``x_in = x_out / scale`` and the nearest pixel to the left (ONNX, docs/Changelog.md, Upsample-9
    and Resize-10). The converter leaves the attributes out, and the later default is another one.
    """
    from onnx import helper

    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    for node in resizes:
        given = {attribute.name: attribute for attribute in node.attribute}
        if "coordinate_transformation_mode" not in given:
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
        nearest = "mode" not in given or given["mode"].s == b"nearest"
        if nearest and "nearest_mode" not in given:
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
    return len(resizes)


def _raise_ir(model: ModelProto) -> None:
    needed = max((ir for opset, ir in _LEAST_IR if opset_of(model) >= opset), default=3)
    model.ir_version = max(model.ir_version, needed)


def _unconvertible(model: ModelProto, target: int, message: str) -> str:
    """Name the first node that makes conversion of the graph up to it fail (by bisection)."""
    from onnx import version_converter

    nodes = list(model.graph.node)

    def converts(count: int) -> bool:
        head = copied(model)
        del head.graph.node[count:]
        produced = {name for node in head.graph.node for name in node.output}
        kept = [output for output in head.graph.output if output.name in produced]
        del head.graph.output[:]
        head.graph.output.extend(kept)
        try:
            version_converter.convert_version(head, target)
        except Exception:  # as above
            return False
        return True

    low, high = 0, len(nodes)
    while low < high:
        middle = (low + high) // 2
        if converts(middle + 1):
            low = middle + 1
        else:
            high = middle
    if low >= len(nodes):
        named = sorted({node.op_type for node in nodes if node.op_type in message})
        return ", ".join(named) or "(unknown)"
    return f"{nodes[low].op_type} (node {nodes[low].name or nodes[low].output[0]!r})"
