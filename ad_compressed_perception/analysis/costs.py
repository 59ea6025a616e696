# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a model file costs on paper, whatever its format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ad_compressed_perception.analysis.program_costs import executorch_costs, torch_costs
from ad_compressed_perception.analysis.tflite_costs import tflite_costs
from ad_compressed_perception.backends.stage_file import read_stage_file
from ad_compressed_perception.core.errors import AdcpError, ModelFileError
from ad_compressed_perception.core.model_files import STAGES_NAME
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.costs import ModelCosts, model_costs

TFLITE_SUFFIX = ".tflite"
COUNTERS = {TFLITE_SUFFIX: tflite_costs, ".pte": executorch_costs, ".pt2": torch_costs}
"""What counts the files of other formats than ONNX, by suffix."""


def file_costs(path: Path, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> ModelCosts:
    """Return multiply-accumulates and parameters of an ONNX, .tflite, .pte or .pt2 file.

    Args:
        path: the file.
        input_shapes: sizes for dynamic inputs of an ONNX file, see model_costs.

    Raises:
        BackendError: the file is missing or cannot be read.
        ModelFileError: its graph is broken.
    """
    if path.name == STAGES_NAME:
        return _of_stages(path)
    try:
        count = COUNTERS.get(path.suffix)
        return model_costs(path, input_shapes) if count is None else count(path)
    except AdcpError:
        raise
    except Exception as error:  # a node without the inputs that its operator needs, sizes that do not fit ...
        raise ModelFileError(f"{path} is not a valid model: {one_line(error)}") from error


def _of_stages(path: Path) -> ModelCosts:
    """Return the sums over all stages; constants that several of them hold count in each."""
    described = read_stage_file(path)
    parts = [file_costs(path.parent / stage.file) for stage in described.stages]
    operators: Counter[str] = Counter()
    for part in parts:
        operators.update(part.operators)
    names = ("size_bytes", "nodes", "macs", "layers_without_macs", "parameters", "denormal_weights")
    sums = {name: sum(getattr(part, name) for part in parts) for name in names}
    outputs = {spec.name: spec for part in parts for spec in part.outputs}
    return replace(
        parts[0],
        file=path,
        operators=dict(operators.most_common()),
        layers=tuple(layer for part in parts for layer in part.layers),
        inputs=tuple(TensorSpec(one.name, tuple(one.shape), one.dtype) for one in described.inputs),
        outputs=tuple(outputs[name] for name in described.outputs),
        **{**sums, "size_bytes": sums["size_bytes"] + path.stat().st_size},
    )
