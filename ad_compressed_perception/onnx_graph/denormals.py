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


def flush_denormals(model: ModelProto) -> int:
    """Set a model's denormal float32 weights to zero, in place; return how many there were."""
    from onnx import numpy_helper

    flushed = 0
    for tensor, values, mask in list(denormal_tensors(model)):
        tensor.CopyFrom(numpy_helper.from_array(np.where(mask, np.float32(0), values), tensor.name))
        flushed += int(mask.sum())
    return flushed


def denormal_tensors(
    model: ModelProto,
) -> Iterator[tuple[TensorProto, NDArray[Any], NDArray[np.bool_]]]:
    """Yield tensor, values and mask of denormals where there are any; external weights are not read."""
    from onnx import TensorProto, numpy_helper

    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.data_location == TensorProto.EXTERNAL:
            continue
        values = numpy_helper.to_array(tensor)
        mask = (values != 0) & (np.abs(values) < _SMALLEST_NORMAL)
        if mask.any():
            yield tensor, values, mask
