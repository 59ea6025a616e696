# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""16-bit activations with 8-bit weights (A16W8), for accelerators that compute so.

The formulas are those of 8 bits with 65536 numbers instead of 256: ``scale = (max - min) / 65535``,
a step 257 times finer. Qualcomm's HTP (ONNX Runtime's QNN provider) and some NPUs multiply 16-bit
activations by 8-bit weights in hardware. ONNX Runtime and OpenVINO on a CPU have no such kernels and
compute the float operators between the Q/DQ pairs: there the variant is small and exact, not fast.
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

    # 7-bit weights guard sums of 8-bit products only.
    reduce_range: bool | Literal["auto"] = Field(False, description="7-bit weights")


class QuantizeInt16(QuantizeInt8):
    """Quantizes activations to unsigned 16 and weights to signed 8 bits.

    Below opset 21 the standard operators know no 16-bit numbers: ONNX Runtime's own ones are written.
    """

    name = "quantize_int16"
    options_type = QuantizeInt16Options
    activations = "QUInt16"
    # OpenVINO leaves 16-bit pairs out as too fine to matter, and with them the clipping they would do.
    keeps_clipping = True
