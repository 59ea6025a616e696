# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Further variants of the tiny models: equal ones, and those that are wrong in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import numpy_helper

from ad_compressed_perception.core.manifest import file_sha256

Edit = Callable[[NDArray[Any]], NDArray[Any]]
GATE = {"recipe_text": "name: test\npasses: []\naccept: {max_drop: 0.1}\n"}
"""Provenance of a variant that may differ by a tenth."""


def add_variant(folder: Path, name: str, edit: Edit | None = None, **fields: Any) -> str:
    """Add a variant whose weights are those of fp32, each tensor of floats changed by ``edit``.

    Returns:
        The sha256 of its file.
    """
    model = onnx.load(folder / "fp32.onnx")
    for tensor in model.graph.initializer if edit is not None else ():
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and edit is not None:
            tensor.CopyFrom(numpy_helper.from_array(edit(values).astype(np.float32), tensor.name))
    model.producer_name = name  # so that every variant has a hash of its own
    onnx.save(model, folder / f"{name}.onnx")
    sha256 = file_sha256(folder / f"{name}.onnx")
    data = yaml.safe_load((folder / "model.yaml").read_text())
    data["variants"][name] = {"file": f"{name}.onnx", "sha256": sha256, "derived_from": "fp32", **fields}
    (folder / "model.yaml").write_text(yaml.safe_dump(data))
    return sha256
