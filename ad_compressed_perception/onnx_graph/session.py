# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A graph in memory, loaded into ONNX Runtime on the processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line

if TYPE_CHECKING:
    from onnx import ModelProto


def open_session(model: ModelProto, *, threads: int = 0, as_written: bool = False) -> Any:
    """Load a graph; raise ModelFileError where ONNX Runtime cannot.

    Args:
        model: the graph.
        threads: for one operator; 0 for the runtime's choice.
        as_written: without optimization, so that every tensor exists under its own name.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no public base
        raise cannot_run(error) from error


def cannot_run(error: Exception) -> ModelFileError:
    """Return the error of a graph that ONNX Runtime cannot load or run."""
    return ModelFileError(f"ONNX Runtime cannot run the model: {one_line(error)}")
