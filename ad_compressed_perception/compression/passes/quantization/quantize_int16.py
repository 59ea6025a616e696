# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""16-bit activations with 8-bit weights (A16W8), for accelerators with such kernels.

The formulas are those of 8 bits with 65536 levels instead of 256: ``scale = (max - min) / 65535``,
a step 257 times finer. Qualcomm's HTP (ONNX Runtime's QNN provider) and some NPUs multiply 16-bit
activations by 8-bit weights in hardware. ONNX Runtime and OpenVINO on a CPU have no such kernels and
compute the operators between the Q/DQ pairs in float: there the variant is small and accurate, not fast.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.compression.passes.quantization.quantize_int8 import (
    QuantizeInt8,
    QuantizeInt8Options,
)


class QuantizeInt16Options(QuantizeInt8Options):
    """Options of quantize_int16: those of quantize_int8."""

    # 7-bit weights prevent saturation of sums of 8-bit products only.
    reduce_range: bool | Literal["auto"] = Field(False, description="7-bit weights")


class QuantizeInt16(QuantizeInt8):
    """Quantizes activations to unsigned 16 and weights to signed 8 bits.

    Below opset 21 the standard operators have no 16-bit types: ONNX Runtime's own operators are used.
    """

    name = "quantize_int16"
    options_type = QuantizeInt16Options
    activations = "QUInt16"
    # OpenVINO removes 16-bit pairs and with them the clipping that they would do.
    keeps_activations = True
