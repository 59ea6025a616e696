# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Interface of a runtime: a Backend loads a file into a Session, a Session computes outputs from feeds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.manifest import StrictModel, describe_validation_error
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec

MAX_INPUT_VALUES = 1 << 30
UNKNOWN = "unknown"
"""Precision where a runtime does not say what it executes; it equals no other precision."""
Tensors = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SessionInfo:
    """Requested and actual properties of a loaded model.

    Attributes:
        backend: the backend's name.
        version: the runtime's version.
        requested_provider: requested device or execution provider.
        provider: the one that runs the model.
        precision: numeric precision of the heavy layers as executed: fp32, tf32, bf16, fp16, int8, mixed,
            or unknown where the runtime does not say it, as of a model on a server.
        threads: threads inside one inference; 0 means the runtime's choice.
        integer_coverage: share of convolutions and matrix products that run as integer kernels, or
            None where the model has none of either, or the precision is unknown.
        load_ms: reading and compiling the model.
        warmup_ms: the runs made before the first frame.
    """

    backend: str
    version: str
    requested_provider: str
    provider: str
    precision: str
    threads: int
    integer_coverage: float | None
    load_ms: float
    warmup_ms: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class BackendStatus:
    """Whether a runtime can be used here; ``detail`` says which version, or why not."""

    name: str
    available: bool
    version: str = ""
    providers: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class LayerTime:
    """A layer of the executed graph and how long it took: the median over several runs, milliseconds."""

    record: LayerRecord
    ms: float


class BackendOptions(StrictModel):
    """Base of each backend's options; unknown keys are refused by name."""


class Session(ABC):
    """A loaded model. Not thread-safe: one thread calls infer.

    Attributes:
        depth: frames that it computes at the same time; above 1, frames that are submitted one after the
            other come faster than by infer.
    """

    info: SessionInfo
    depth: int = 1

    @abstractmethod
    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run the model; returned arrays stay valid after the next call. Raises BackendError."""

    def submit(self, feeds: Tensors) -> Future[Outputs]:
        """Begin a frame and return its outputs to come, in the order of the calls; by default at once.

        Waits while ``depth`` frames are in flight; the feeds must stay as they are until the outputs come.

        Raises:
            BackendError: the frame cannot be begun. What fails on the frame itself, its future raises.
        """
        future: Future[Outputs] = Future()
        try:
            future.set_result(self.infer(feeds))
        except BackendError as error:
            future.set_exception(error)
        return future

    @abstractmethod
    def layers(self) -> list[LayerRecord]:
        """List the layers of the executed graph (may compile the model again; not for the hot path)."""

    def profile(self, feeds: Tensors, runs: int) -> list[LayerTime]:
        """Time every layer over ``runs`` inferences; compiles the model again, not for the hot path.

        Raises:
            BackendError: the runtime cannot time its layers.
        """
        raise BackendError(f"backend {self.info.backend!r} does not report the times of its layers")

    def close(self) -> None:  # noqa: B027  (not every runtime holds something to release)
        """Release the model; infer must not be called afterwards."""


class Backend(ABC):
    """A runtime that can execute models.

    Attributes:
        name: of the backend.
        options_type: of its options.
        distribution: what pip installs of it; empty where nothing is to be suggested.
        reads: suffixes of the model files it runs; empty: none of its own.
        precisions: what a float file may be computed in, to the options that ask for it.
    """

    name: ClassVar[str]
    distribution: ClassVar[str] = ""
    reads: ClassVar[tuple[str, ...]] = (".onnx",)
    precisions: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fp32": {}}
    options_type: ClassVar[type[BackendOptions]]

    @classmethod
    @abstractmethod
    def status(cls) -> BackendStatus:
        """Report whether the runtime is installed, without loading a model."""

    @abstractmethod
    def load(self, model: Path, options: Mapping[str, Any]) -> Session:
        """Load and warm up a model file.

        Raises:
            BackendError: an unknown option or provider, or the runtime cannot load the file.
        """

    def load_checked(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load a model file of this sha256 (None: any); by default ``load``, without another check.

        A backend that overrides it hashes the very bytes it loads, where the model is one file: the file may
        have been exchanged since the manifest's hash was checked.

        Raises:
            BackendError: see load.
            ModelFileError: the file has another hash.
        """
        return self.load(model, options)

    @classmethod
    def strict_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options with which a load also refuses fallbacks that SessionInfo does not show."""
        return dict(options)

    @classmethod
    def parse_options(cls, options: Mapping[str, Any]) -> Any:
        """Validate options into ``options_type``; raise BackendError naming the wrong key."""
        try:
            return cls.options_type.model_validate(dict(options))
        except ValidationError as error:
            raise BackendError(
                f"options of backend {cls.name!r}: {describe_validation_error(error)}; "
                f"known: {', '.join(cls.options_type.model_fields)}"
            ) from error


class HashingBackend(Backend):
    """A runtime that hashes the very bytes it loads. Third parties override ``load``, as of any backend."""

    @abstractmethod
    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load and warm up a model file of this sha256 (None: any); raises as load_checked."""

    def load(self, model: Path, options: Mapping[str, Any]) -> Session:
        """Load and warm up a model file; raises as Backend.load."""
        return self._load(model, options, None)

    def load_checked(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load and warm up a model file of this sha256; see Backend.load_checked."""
        if type(self).load is not HashingBackend.load:  # a subclass's own must not be passed over
            return super().load_checked(model, options, sha256)
        return self._load(model, options, sha256)


def zero_feeds(inputs: tuple[TensorSpec, ...]) -> dict[str, NDArray[Any]]:
    """Return zeros for every input (dynamic dimensions become 1), for warm-up.

    Raises:
        BackendError: an input takes more memory than any image.
    """
    for spec in inputs:
        sizes = [size or 1 for size in spec.shape]
        if prod(sizes) > MAX_INPUT_VALUES:
            raise BackendError(f"input {spec.name!r} is {sizes}: more than {MAX_INPUT_VALUES} values")
    return {spec.name: np.zeros([size or 1 for size in spec.shape], dtype=spec.dtype) for spec in inputs}


def executed_precision(layers: list[LayerRecord], fallback: str) -> tuple[str, float | None]:
    """Return (precision of the compute layers, integer coverage or None without compute layers)."""
    compute = [layer for layer in layers if layer.is_compute]
    if not compute:
        return fallback, None
    coverage = sum(layer.is_integer for layer in compute) / len(compute)
    kinds = {layer.precision for layer in compute}
    return (kinds.pop() if len(kinds) == 1 else "mixed"), coverage
