# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pass that rounds float32 weights to a few bits of their mantissa."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, numpy_helper
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.pass_api.passes import Pass, PassOptions

MANTISSA_BITS = 23
"""Stored bits of a float32's mantissa (IEEE 754)."""


class RoundMantissaOptions(PassOptions):
    """What a recipe may say under round_mantissa; other keys are refused by name."""

    bits: int = Field(6, ge=0, le=MANTISSA_BITS, description="bits of the mantissa that are kept")


class RoundMantissa(Pass):
    """Rounds each weight to the nearest number with ``bits`` bits of mantissa: off by 2^-(bits+1) at most."""

    name = "round_mantissa"
    options_type = RoundMantissaOptions
    lowers_precision = True  # the report then has the SQNR of every layer

    def apply(self, model, context):
        """Change the model in place; ``context.notes`` goes to the report."""
        count = 0
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
                values = rounded(numpy_helper.to_array(tensor), self.options.bits)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                count += values.size
        if not count:
            raise ModelFileError("round_mantissa: no float32 weights: put it before quantization")
        context.notes["weights_rounded"] = count
        return model


def rounded(values, bits):
    """Return float32 values rounded, half away from zero; NaN and infinite ones as they are."""
    drop = MANTISSA_BITS - bits
    if not drop:
        return values
    integers = values.view(np.uint32)
    # A carry out of the mantissa raises the exponent, which is the next larger number.
    nearest = (integers + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(values), nearest.view(np.float32), values)
