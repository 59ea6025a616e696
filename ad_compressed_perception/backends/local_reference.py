# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a server's model is compared with: the tensors of the local ONNX file, and its outputs on noise.

Names and shapes say nothing about weights: a server that serves another training of the same network would
pass a comparison of descriptions, and every result of it would be wrong without an error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.backends.onnxruntime_backend import OnnxRuntimeBackend
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.tensors import TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

_LOGGER = logging.getLogger(__name__)
_SEED = 20260


def local_tensors(model: ModelProto, path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the inputs and outputs of an ONNX model; a size is None where the file does not give it.

    Raises:
        BackendError: an input or output is no tensor, or of a type that numpy does not have.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    return (
        tuple(_spec(value, path) for value in inputs),
        tuple(_spec(value, path) for value in model.graph.output),
    )


def _spec(value: ValueInfoProto, path: Path) -> TensorSpec:
    from onnx import helper

    kind = value.type.tensor_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    except (KeyError, TypeError) as error:
        raise BackendError(f"{path}: {value.name!r} is no tensor of numbers") from error
    if not kind.HasField("shape"):
        raise BackendError(f"{path}: {value.name!r} has no shape: run the pass optimize")
    sizes = tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
    return TensorSpec(value.name, sizes, dtype)


@dataclass(frozen=True)
class Reference:
    """Inputs of noise and what the local file makes of them in ONNX Runtime."""

    feeds: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]

    @classmethod
    def make(cls, model: Path, sha256: str | None, inputs: tuple[TensorSpec, ...]) -> Reference | None:
        """Run the local file once; None where sizes beyond the batch are dynamic, so that none is an image.

        Raises:
            BackendError: ONNX Runtime cannot run the file.
        """
        if any(size is None for spec in inputs for size in spec.shape[1:]):
            _LOGGER.warning(
                "%s has dynamic sizes: its outputs are not compared with the server's", model.name
            )
            return None
        rng = np.random.default_rng(_SEED)
        feeds = {spec.name: _noise(rng, spec) for spec in inputs}
        session = OnnxRuntimeBackend().load_checked(model, {"warmup_runs": 0}, sha256)
        try:
            return cls(feeds, session.infer(feeds))
        finally:
            session.close()

    def refuse_other(self, outputs: Mapping[str, NDArray[Any]], least: float) -> None:
        """Raise BackendError where an output of another runtime is not the local one.

        Args:
            outputs: by name, of the same types.
            least: least concordance with it.
        """
        for name, ours in self.outputs.items():
            found = concordance(ours, outputs[name])
            if not found >= least:
                raise BackendError(
                    f"on noise its output {name!r} is not that of the local file (concordance {found:.3f}, "
                    f"least {least:g}): another model, or arithmetic that min_cosine has to allow"
                )


def _noise(rng: np.random.Generator, spec: TensorSpec) -> NDArray[Any]:
    sizes = [size or 1 for size in spec.shape]
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return rng.random(sizes).astype(dtype)
    if dtype == np.uint8:
        return rng.integers(0, 256, sizes, dtype=np.uint8)
    return np.zeros(sizes, dtype)


def concordance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return Lin's concordance of two arrays of one shape: their cosine, less where scale or mean differ.

    ``2 cov / (var + var + (mean - mean)^2)`` (Lin, "A concordance correlation coefficient to evaluate
    reproducibility", Biometrics 1989): a cosine alone is 1 for a network whose outputs are all doubled.
    Where both are constant, or single numbers, it is 1 less their relative difference. NaN where the shapes
    differ, a value is not finite, or only one of them is constant.
    """
    if one.shape != other.shape:
        return float("nan")
    if not one.size:
        return 1.0
    first, second = (array.astype(np.float64).ravel() for array in (one, other))
    if not (np.ptp(first) or np.ptp(second)):
        largest = max(abs(first[0]), abs(second[0]))
        return 1.0 - abs(first[0] - second[0]) / largest if largest else 1.0
    if not (np.ptp(first) and np.ptp(second)):
        return float("nan")
    apart = first.mean() - second.mean()
    first, second = first - first.mean(), second - second.mean()
    return float(2.0 * (first @ second) / (first @ first + second @ second + first.size * apart**2))
