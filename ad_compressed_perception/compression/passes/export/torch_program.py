# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a graph as a program of torch.export (.pt2) or as TorchScript (.pt)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.backends.program_names import MEMBER
from ad_compressed_perception.compression.passes.export.base import (
    ExportOptions,
    ExportPass,
    Precision,
    converting,
)
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.workspace.atomic_file import write_file

if TYPE_CHECKING:
    from onnx import ModelProto

PROGRAM, SCRIPT = ".pt2", ".pt"
_NO_INT8 = (
    "torch has no integer kernels for a program as it is: choose fp32 or fp16, the backend's option "
    "precision, or the recipe static_int8_executorch"
)


class ExportTorch(ExportPass):
    """Writes the graph for the backend ``torch``."""

    name = "export_torch"
    writes = "torch"
    suffix = PROGRAM
    options_type = ExportOptions
    packages = {"torch": "torch"}

    def write(
        self, model: ModelProto, out: Path, precision: Precision, frames: Iterable[Feeds]
    ) -> dict[str, Any]:
        """Write the file; see write_torch."""
        return write_torch(model, out, precision)


def write_torch(model: ModelProto | Path, out: Path, precision: Precision = "fp32") -> dict[str, Any]:
    """Write a float ONNX graph as a torch program; return notes.

    Args:
        model: the graph or its file.
        out: the file to write; .pt2 for torch.export, .pt for TorchScript.
        precision: fp16 stores weights and computes in half precision, between float inputs and outputs.

    Raises:
        RecipeError: int8, which torch does not compute.
        ModelFileError: the graph has no equivalent in torch; the line names the operator.
    """
    if precision == "int8":
        raise RecipeError(_NO_INT8)
    import torch

    from ad_compressed_perception.compression.passes.export.torch_graph import torch_graph

    made = torch_graph(model, precision)
    extra = {MEMBER: made.names.text()}
    content = io.BytesIO()  # torch ends the process where it cannot write to a file
    with converting("torch"):
        if out.suffix == SCRIPT:
            with torch.no_grad():
                script = torch.jit.trace(made.program, made.example, check_trace=False)
            torch.jit.save(script, content, _extra_files=extra)
        else:
            torch.export.save(made.exported(), content, extra_files=extra)
        write_file(out, content.getvalue())
    return {"precision": precision, "torch": str(torch.__version__)}
