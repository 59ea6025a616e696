# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny models with a batch of any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import yaml
from onnx import numpy_helper

from ad_compressed_perception.core.manifest import file_sha256


def let_batch_vary(folder: Path, edit: Callable[[onnx.ModelProto], object] | None = None) -> Path:
    """Make the first dimension of all inputs and outputs of fp32 free; ``edit`` may change the graph, too."""
    path = folder / "fp32.onnx"
    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    for tensor in model.graph.initializer:
        if tensor.name.startswith("head_shape"):
            shape = numpy_helper.to_array(tensor).copy()
            shape[0] = 0  # as the input has
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
    if edit is not None:
        edit(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    data = yaml.safe_load((folder / "model.yaml").read_text())
    data["variants"]["fp32"]["sha256"] = file_sha256(path)
    (folder / "model.yaml").write_text(yaml.safe_dump(data))
    return folder
