# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detectors of other makers: tasks for a decoder, and tiny ONNX files with the heads of several families.

The tiny networks box bright cells of a 64x64 image as ``support.models.write_detector`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks import Task, create_task


def decoder_task(decoder: str, labels: int, width: int, height: int, **options: Any) -> Task[Any]:
    """Return a detection task of an input size with a decoder and its options."""
    manifest = Manifest(
        name="m",
        task="detection",
        labels=[f"label {index}" for index in range(labels)],
        input={"width": width, "height": height},
        output={"decoder": decoder, "options": options},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )
    return create_task(manifest)


def specs(outputs: Mapping[str, NDArray[Any]]) -> tuple[TensorSpec, ...]:
    """Return outputs as a file describes them."""
    return tuple(TensorSpec(name, values.shape, values.dtype.name) for name, values in outputs.items())
