# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""LiteRT (formerly TensorFlow Lite): runs ``.tflite`` files as they are, on the processor.

Quantized inputs and outputs are exposed as real numbers: ``real = (q - zero_point) * scale``. A uint8
input whose scale is 1 and zero point 0 is an image's bytes and stays uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.backends.base import (
    BackendOptions,
    BackendStatus,
    HashingBackend,
    Session,
    SessionInfo,
    Tensors,
    executed_precision,
)
from ad_compressed_perception.backends.checked_load import backend_errors
from ad_compressed_perception.backends.feeds import check_feeds, warm_up
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec

SUFFIX = ".tflite"
_IDENTIFIER = b"TFL3"
_PIXEL_SCALE_WITHIN = 1e-2
COMPUTE_OPERATORS = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", "BATCH_MATMUL"}
)
"""Operators that multiply by weights: the bulk of the work."""
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8", "int16": "int16"}
_INTEGERS = frozenset({"int8", "uint8", "int16"})


class LiteRtOptions(BackendOptions):
    """Options of the backend ``litert``."""

    threads: int = Field(1, ge=1, le=1024, description="inside one operator")
    xnnpack: bool = Field(True, description="use the XNNPACK kernels; otherwise the built-in ones")
    warmup_runs: int = Field(3, ge=0, le=1000, description="runs on zeros before the first frame")


class _Port:
    """One input or output, with the conversion between stored and real numbers."""

    def __init__(self, details: Mapping[str, Any], *, is_input: bool) -> None:
        self.index = int(details["index"])
        stored = np.dtype(details["dtype"])
        self.stored = stored
        scale, self.zero_point = (float(details["quantization"][0]), int(details["quantization"][1]))
        is_pixels = (
            is_input
            and stored == np.uint8
            and self.zero_point == 0
            and abs(scale - 1.0) < _PIXEL_SCALE_WITHIN
        )
        self.scale = scale if scale and stored.kind in "iu" and not is_pixels else 0.0
        shape = tuple(int(size) for size in details["shape"])
        self.spec = TensorSpec(str(details["name"]), shape, "float32" if self.scale else stored.name)

    def to_stored(self, real: NDArray[Any]) -> NDArray[Any]:
        if not self.scale:
            return np.ascontiguousarray(real)
        limits = np.iinfo(self.stored)
        # Half to even, as the runtime's own Quantize does.
        levels = np.rint(real / np.float32(self.scale)) + self.zero_point
        if np.isnan(levels.min(initial=0.0)):  # an integer cannot hold it, and would be a plausible number
            raise BackendError(f"input {self.spec.name!r} has NaN, which its {self.stored.name} cannot hold")
        return np.clip(levels, limits.min, limits.max).astype(self.stored)

    def to_real(self, stored: NDArray[Any]) -> NDArray[Any]:
        if not self.scale:
            return stored
        return (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


class LiteRtSession(Session):
    """A model in LiteRT's interpreter."""

    def __init__(self, model: Path, options: LiteRtOptions, sha256: str | None) -> None:
        """Load and warm up; raise BackendError where the file cannot be used."""
        self._model = model
        start = perf_counter()
        self._interpreter = open_interpreter(model, options.threads, options.xnnpack, sha256)
        load_ms = (perf_counter() - start) * 1e3
        self._inputs = [_Port(details, is_input=True) for details in self._interpreter.get_input_details()]
        self._outputs = [_Port(details, is_input=False) for details in self._interpreter.get_output_details()]
        self._specs = tuple(port.spec for port in self._inputs)
        self._layers = _layer_records(self._interpreter)
        precision, coverage = executed_precision(self._layers, fallback="fp32")
        warmup_ms = warm_up(self, self._specs, options.warmup_runs)
        self.info = SessionInfo(
            backend=LiteRtBackend.name,
            version=_version(),
            requested_provider="CPU",
            provider="CPU",
            precision=precision,
            threads=options.threads,
            integer_coverage=coverage,
            load_ms=load_ms,
            warmup_ms=warmup_ms,
            inputs=self._specs,
            outputs=tuple(port.spec for port in self._outputs),
        )

    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run the model; see Session.infer. Outputs are copied out of the interpreter's buffers."""
        check_feeds(self._specs, feeds)
        try:
            for port in self._inputs:
                self._interpreter.set_tensor(port.index, port.to_stored(feeds[port.spec.name]))
            self._interpreter.invoke()
            return {
                port.spec.name: port.to_real(self._interpreter.get_tensor(port.index))
                for port in self._outputs
            }
        except Exception as error:
            raise BackendError(f"litert failed on {self._model.name}: {one_line(error)}") from error

    def layers(self) -> list[LayerRecord]:
        """List the file's operators with the types of their inputs and outputs."""
        return list(self._layers)

    def close(self) -> None:
        """Release the model."""
        self._interpreter = None


class LiteRtBackend(HashingBackend):
    """Runs .tflite files in LiteRT."""

    name: ClassVar[str] = "litert"
    distribution: ClassVar[str] = "ai-edge-litert"
    reads: ClassVar[tuple[str, ...]] = (SUFFIX,)
    options_type: ClassVar[type[BackendOptions]] = LiteRtOptions

    @classmethod
    def status(cls) -> BackendStatus:
        """Report whether LiteRT is installed."""
        try:
            _import_runtime()
        except BackendError as error:
            return BackendStatus(cls.name, available=False, detail=str(error))
        return BackendStatus(cls.name, available=True, version=_version(), providers=("CPU",))

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load and warm up a .tflite file; options are those of LiteRtOptions.

        Raises:
            BackendError: LiteRT is missing; an unknown option or value; the file is missing, is not a
                .tflite file, is damaged, or has operators LiteRT lacks.
        """
        parsed = self.parse_options(options)
        with backend_errors(self.name, Path(model)):
            return LiteRtSession(Path(model), parsed, sha256)


def _import_runtime() -> Any:
    try:
        from ai_edge_litert import interpreter
    except Exception as error:  # also a library that lacks or does not fit
        raise BackendError(f"backend 'litert' needs the extra [litert]: {one_line(error)}") from error
    return interpreter


def open_interpreter(model: Path, threads: int, xnnpack: bool, sha256: str | None = None) -> Any:
    """Return LiteRT's interpreter of a file, its tensors allocated; see LiteRtOptions.

    The file is read and not mapped: a mapped file that is written over ends the process at the next frame.

    Raises:
        BackendError: LiteRT is missing; the file is missing, of another sha256 than the given one, not a
            .tflite file, damaged, or has operators LiteRT lacks.
    """
    runtime = _import_runtime()
    content = read_checked(model, sha256, BackendError)
    if content[4:8] != _IDENTIFIER:
        raise BackendError(f"{model} is not a .tflite file: backend 'litert' runs no other")
    resolvers = runtime.OpResolverType
    try:
        interpreter = runtime.Interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=(
                resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        )
        interpreter.allocate_tensors()
    # The interpreter raises ValueError and RuntimeError, and others from its bindings.
    except Exception as error:
        raise BackendError(f"litert cannot load {model}: {one_line(error)}") from error
    return interpreter


def _version() -> str:
    try:
        return version("ai-edge-litert")
    except PackageNotFoundError:
        return "unknown"


def _layer_records(interpreter: Any) -> list[LayerRecord]:
    # Not public, and the only way to the operators; without it the model still runs.
    operators: list[dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
    types = {int(t["index"]): np.dtype(t["dtype"]).name for t in interpreter.get_tensor_details()}
    names = {int(t["index"]): str(t["name"]) for t in interpreter.get_tensor_details()}
    delegated = any(operator["op_name"] == "DELEGATE" for operator in operators)
    records = []
    for operator in operators:
        kind = str(operator["op_name"])
        outputs = [int(index) for index in operator["outputs"] if int(index) in types]
        inputs = [int(index) for index in operator["inputs"] if int(index) in types]
        if kind == "DELEGATE" or not outputs:
            continue
        read = {types[index] for index in (*inputs[:1], *outputs)}
        precision = types[outputs[0]]
        compute = kind in COMPUTE_OPERATORS
        records.append(
            LayerRecord(
                name=names[outputs[0]],
                operator=kind,
                precision=_PRECISIONS.get(precision, precision),
                kernel="XNNPACK where it has one" if delegated else "built-in",
                is_compute=compute,
                is_integer=compute and read <= _INTEGERS,
            )
        )
    return records
