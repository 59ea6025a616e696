# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The check that a changed model still fits its decoder."""

from __future__ import annotations

from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks import create_task


def require_decodable(context: PassContext, outputs: tuple[TensorSpec, ...]) -> None:
    """Raise AdcpError where the decoder of the context's present output cannot decode the outputs."""
    update = {"input": context.input, "output": context.output}
    create_task(context.manifest.model_copy(update=update)).decoder.check(outputs)
