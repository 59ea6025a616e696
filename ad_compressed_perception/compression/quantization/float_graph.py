# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The float graph before a quantizer sees it: checked, with named nodes, in a file; and a quiet quantizer."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.io import is_quantized, opset_of
from ad_compressed_perception.onnx_graph.subgraphs import free_name
from ad_compressed_perception.pass_api.passes import PassContext

if TYPE_CHECKING:
    from onnx import ModelProto

_CHANNEL_SCALES_OPSET = 13
"""The first in which a scale may have one number for each channel."""


def require_float(model: ModelProto, pass_name: str) -> None:
    """Refuse a graph that cannot be quantized.

    Raises:
        ModelFileError: it is quantized already.
        RecipeError: its opset has no scales per channel.
    """
    if is_quantized(model):
        raise ModelFileError("the model is quantized already; start from its float baseline")
    if opset_of(model) < _CHANNEL_SCALES_OPSET:
        raise RecipeError(
            f"{pass_name} needs opset {_CHANNEL_SCALES_OPSET}, the model has {opset_of(model)}: "
            "put upgrade_opset before it"
        )


def name_nodes(model: ModelProto) -> None:
    """Name unnamed nodes: options exclude nodes by name and scales are named after them."""
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            node.name = free_name(f"{node.op_type}_{index}", taken)


def save_float(model: ModelProto, context: PassContext) -> Path:
    """Write the float graph to a file for the calibrators."""
    import onnx

    path = context.scratch / "float.onnx"
    onnx.save(model, str(path))
    return path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep a quantizer's prints and log lines out of the command's own output."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)
