# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a model file costs on paper, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ad_compressed_perception.analysis.tflite_costs import tflite_costs
from ad_compressed_perception.core.errors import AdcpError, ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.onnx_graph.costs import ModelCosts, model_costs

TFLITE_SUFFIX = ".tflite"


def file_costs(path: Path, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> ModelCosts:
    """Return multiply-accumulates and parameters of an ONNX or .tflite file.

    Args:
        path: the file.
        input_shapes: sizes for dynamic inputs of an ONNX file, see model_costs.

    Raises:
        BackendError: the file is missing or cannot be read.
        ModelFileError: its graph is broken.
    """
    try:
        return tflite_costs(path) if path.suffix == TFLITE_SUFFIX else model_costs(path, input_shapes)
    except AdcpError:
        raise
    except Exception as error:  # a node without the inputs that its operator needs, sizes that do not fit ...
        raise ModelFileError(f"{path} is not a valid model: {one_line(error)}") from error
