# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs of a graph that become constants in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError

if TYPE_CHECKING:
    from onnx import ModelProto


def bake_inputs(model: ModelProto, values: Mapping[str, NDArray[Any]]) -> None:
    """Make inputs constants, in place; one number fills its tensor.

    Raises:
        ModelFileError: there is no such input, or the numbers do not have its shape.
    """
    from onnx import helper, numpy_helper

    known = {value.name: value for value in model.graph.input}
    for name, value in values.items():
        if name not in known:
            raise ModelFileError(f"there is no input {name!r} to make constant; inputs: {', '.join(known)}")
        tensor = known[name].type.tensor_type
        shape = [size.dim_value if size.dim_value > 0 else 1 for size in tensor.shape.dim]
        if value.size not in (1, int(np.prod(shape))):
            raise ModelFileError(f"input {name!r} is {shape}, the constant has {value.size} numbers")
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        filled = np.full(shape, value.reshape(-1)[0]) if value.size == 1 else value.reshape(shape)
        stored = numpy_helper.from_array(np.ascontiguousarray(filled.astype(dtype)), name)
        model.graph.initializer.append(stored)
        model.graph.input.remove(known[name])
    del model.graph.value_info[:]
