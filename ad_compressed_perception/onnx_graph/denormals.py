# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Denormal weights: numbers below 1.2e-38 that change no result and can take most of the run time.

Training with weight decay leaves channels whose weights shrank towards zero. As float32 they fall below
the smallest normal number, and processors multiply such numbers many times slower. A float baseline
slowed down that way makes every quantized variant look fast, since quantization rounds them to zero.
ONNX Runtime's own switch (session.set_denormal_as_zero) is not used: it sets the calling thread's
floating-point mode, so it changes the arithmetic of other libraries in that thread too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


def count_denormals(model: ModelProto) -> int:
    """Count the float32 weights stored in a file that are denormal; weights kept elsewhere are not read."""
    return sum(int(mask.sum()) for _, _, mask in _denormal_tensors(model))


def flush_denormals(model: ModelProto) -> int:
    """Set a model's denormal float32 weights to zero, in place; return how many there were."""
    from onnx import numpy_helper

    flushed = 0
    for tensor, values, mask in list(_denormal_tensors(model)):
        tensor.CopyFrom(numpy_helper.from_array(np.where(mask, np.float32(0), values), tensor.name))
        flushed += int(mask.sum())
    return flushed


def has_external_data(model: ModelProto) -> bool:
    """Whether weights lie in files beside the model, which then must be loaded by its path."""
    from onnx import TensorProto

    return any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer)


def _denormal_tensors(
    model: ModelProto,
) -> Iterator[tuple[TensorProto, NDArray[Any], NDArray[np.bool_]]]:
    from onnx import TensorProto, numpy_helper

    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.data_location == TensorProto.EXTERNAL:
            continue
        values = numpy_helper.to_array(tensor)
        mask = (values != 0) & (np.abs(values) < _SMALLEST_NORMAL)
        if mask.any():
            yield tensor, values, mask
