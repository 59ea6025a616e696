# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO, with an explicit numeric precision.

By default OpenVINO computes in bfloat16 wherever the processor can. A comparison in which one side
changed its number format implicitly would be invalid, so this backend always sets a precision hint
(fp32 by default) and reports the precision that the compiled model executes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, Field, field_validator

from ad_compressed_perception.backends.base import (
    BackendOptions,
    BackendStatus,
    HashingBackend,
    LayerTime,
    Session,
    SessionInfo,
    Tensors,
    executed_precision,
)
from ad_compressed_perception.backends.checked_load import backend_errors, refuse_broken
from ad_compressed_perception.backends.compiled_cache import compiled_cache
from ad_compressed_perception.backends.feeds import check_feeds, refuse_nan, warm_up
from ad_compressed_perception.backends.openvino_operators import refuse_old_softmax
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import external_data, read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec
from ad_compressed_perception.onnx_graph.layers import read_onnx
from ad_compressed_perception.packing.decompress import decompress

# int8 comes from quantization written in the file; the hint applies to the layers that are not quantized.
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
_PRECISIONS = {"f32": "fp32", "f16": "fp16", "f64": "fp64", "u8": "int8", "i8": "int8"}
_PROFILE_WARMUP_RUNS = 3
_INTEGER = frozenset({"u8", "i8", "u4", "i4"})
_COMPUTE = frozenset(
    {
        *("convolution", "groupconvolution", "deconvolution", "deformableconvolution"),
        *("matmul", "fullyconnected", "gemm", "scaleddotproductattention", "mha"),
    }
)
_NOT_LAYERS = frozenset(
    {"const", "constant", "input", "input_layout", "output", "parameter", "result", "data"}
)


class OpenVinoOptions(BackendOptions):
    """Options of the backend ``openvino``."""

    device: str = Field(
        "CPU",
        pattern=r"^(CPU|GPU|NPU)(\.\d+)?$",
        validation_alias=AliasChoices("device", "provider"),
        description="CPU, GPU or NPU, with the number where there are several (GPU.1); also called provider",
    )
    precision: Literal["fp32", "bf16", "fp16", "int8"] = Field(
        "fp32", description="of layers that are not quantized; int8: the file is quantized, the rest fp32"
    )
    threads: int = Field(1, ge=0, le=1024, description="inside one inference; 0: the runtime's choice")
    streams: int = Field(1, ge=1, le=64, description="inferences the runtime prepares to run side by side")
    pinning: bool = Field(False, description="bind threads to cores")
    warmup_runs: int = Field(3, ge=0, le=1000, description="runs on zeros before the first frame")
    strict: bool = Field(False, description="refuse another device or precision than the one asked for")
    cache_dir: str | None = Field(
        None, description="folder that keeps compiled models, for faster loads; relative: in the user's cache"
    )

    @field_validator("device", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


class OpenVinoSession(Session):
    """A model compiled by OpenVINO."""

    def __init__(self, runtime: Any, model: Path, options: OpenVinoOptions, sha256: str | None) -> None:
        """Compile and warm up; raise BackendError where the file, device or precision cannot be used."""
        self._model = model
        self._sha256 = sha256
        self._device = _device(_core(), options)
        self._properties = _properties(options, self._device)
        start = perf_counter()
        graph, content = self._read()
        input_names = [value.name for value in graph.input] if graph else []
        names = [value.name for value in graph.output] if graph else []
        del graph
        key = (OpenVinoBackend.name, str(runtime.__version__), self._device)
        with compiled_cache(options.cache_dir, model, *key) as cache:
            self._compiled = self._compile(content, {"CACHE_DIR": str(cache)} if cache else {})
        del content
        try:
            self._request = self._compiled.create_infer_request()
        # The runtime raises RuntimeError, and others from its Python layer.
        except Exception as error:
            raise BackendError(f"openvino cannot load {model}: {one_line(error)}") from error
        load_ms = (perf_counter() - start) * 1e3
        self._layers = _layer_records(self._compiled)
        precision, coverage = executed_precision(self._layers, fallback=options.precision)
        if options.strict:
            self._refuse_other_precision(options.precision)
        inputs = tuple(
            _tensor_spec(port, name)
            for port, name in zip(
                self._compiled.inputs, _onnx_names(self._compiled.inputs, input_names), strict=True
            )
        )
        output_names = _onnx_names(self._compiled.outputs, names)
        outputs = tuple(
            _tensor_spec(port, name) for port, name in zip(self._compiled.outputs, output_names, strict=True)
        )
        self._inputs, self._output_names = inputs, output_names
        warmup_ms = warm_up(self, inputs, options.warmup_runs)
        self.info = SessionInfo(
            backend=OpenVinoBackend.name,
            version=_version(runtime),
            requested_provider=options.device,
            provider=", ".join(self._compiled.get_property("EXECUTION_DEVICES")),
            precision=precision,
            threads=options.threads,
            integer_coverage=coverage,
            load_ms=load_ms,
            warmup_ms=warmup_ms,
            inputs=inputs,
            outputs=outputs,
        )

    def _read(self) -> tuple[Any, str | bytes]:
        """Return the graph (None for an .xml) and what is compiled: the hashed bytes, or a path.

        A model whose weights lie in another file is compiled from its path.
        """
        if not _is_onnx(self._model):
            return None, str(self._model)
        content = read_checked(self._model, self._sha256, BackendError)
        source = read_onnx(self._model, content)
        refuse_old_softmax(source, self._model)
        return source.graph, str(self._model) if any(external_data(source)) else content

    def _compile(self, content: str | bytes, properties: dict[str, Any]) -> Any:
        core = _core()
        try:
            model = content if isinstance(content, str) else core.read_model(content)
            return core.compile_model(model, self._device, {**self._properties, **properties})
        # The runtime raises RuntimeError, and others from its Python layer.
        except Exception as error:
            raise BackendError(f"openvino cannot load {self._model}: {one_line(error)}") from error

    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run the model; see Session.infer. Outputs are copied out of the request's buffers."""
        check_feeds(self._inputs, feeds)
        arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        refuse_nan("openvino", arrays, "zeros")  # by its ReLU
        try:
            # The call returns after the run, so the caller's arrays can be read in place.
            results = self._request.infer(arrays, share_inputs=True, share_outputs=False)
        except Exception as error:
            raise BackendError(f"openvino failed on {self._model.name}: {one_line(error)}") from error
        return {name: results[index] for index, name in enumerate(self._output_names)}

    def layers(self) -> list[LayerRecord]:
        """List the layers of the compiled model, without its constants."""
        return list(self._layers)

    def profile(self, feeds: Tensors, runs: int) -> list[LayerTime]:
        """Read OpenVINO's performance counters; see Session.profile."""
        check_feeds(self._inputs, feeds)
        arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        times_ms: dict[str, list[float]] = {}
        try:
            compiled = self._compile(self._read()[1], {"PERF_COUNT": True})
            request = compiled.create_infer_request()
            for run in range(_PROFILE_WARMUP_RUNS + runs):
                request.infer(arrays, share_inputs=True, share_outputs=True)
                for counter in request.profiling_info if run >= _PROFILE_WARMUP_RUNS else []:
                    duration_ms = counter.real_time.total_seconds() * 1e3
                    times_ms.setdefault(counter.node_name, []).append(duration_ms)
        except Exception as error:
            raise BackendError(f"openvino failed on {self._model.name}: {one_line(error)}") from error
        return [
            LayerTime(record, median(times_ms[name]))
            for name, record in _named_records(compiled)
            if any(times_ms.get(name, []))
        ]

    def close(self) -> None:
        """Release the model."""
        self._request = None
        self._compiled = None

    def _refuse_other_precision(self, asked: str) -> None:
        executed = {layer.precision for layer in self._layers if layer.is_compute}
        missing = asked not in executed if asked == "int8" else bool(executed - {asked})
        if executed and missing:
            raise BackendError(
                f"openvino: precision {asked} was asked for in strict mode, the compute layers of "
                f"{self._model.name} run in {', '.join(sorted(executed))} on this device"
            )


class OpenVinoBackend(HashingBackend):
    """Runs ONNX files (and OpenVINO's own .xml) in OpenVINO."""

    name: ClassVar[str] = "openvino"
    distribution: ClassVar[str] = "openvino"
    reads: ClassVar[tuple[str, ...]] = (".onnx", ".adcpz", ".xml")
    precisions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"precision": name} for name in ("fp32", "bf16", "fp16")
    }
    options_type: ClassVar[type[BackendOptions]] = OpenVinoOptions

    @classmethod
    def status(cls) -> BackendStatus:
        """Report whether OpenVINO is installed and which devices it finds."""
        try:
            runtime = _import_runtime()
            devices = tuple(_core().available_devices)
        except BackendError as error:
            return BackendStatus(cls.name, available=False, detail=str(error))
        except RuntimeError as error:
            return BackendStatus(cls.name, available=False, detail=one_line(error))
        return BackendStatus(cls.name, available=True, version=_version(runtime), providers=devices)

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Compile and warm up a model; options are those of OpenVinoOptions.

        A device this machine lacks falls back to the CPU, a precision the processor lacks to the one
        OpenVINO takes instead; ``info`` reports the actual ones.

        Raises:
            BackendError: OpenVINO is missing; an unknown option or value; the file is missing, corrupt
                or has operators OpenVINO cannot convert; ``strict`` and another device or precision
                than the one asked for.
        """
        parsed = self.parse_options(options)
        path = decompress(Path(model), sha256)
        with backend_errors(self.name, path):
            if path.suffix != ".xml":
                refuse_broken(self.name, path, options)
            expected = sha256 if path == Path(model) else None
            return OpenVinoSession(_import_runtime(), path, parsed, expected)


def _import_runtime() -> Any:
    try:
        import openvino
    except Exception as error:  # also a library that lacks or does not fit
        raise BackendError(f"backend 'openvino' needs the extra [openvino]: {one_line(error)}") from error
    return openvino


@cache
def _core() -> Any:
    """Return the process's one Core, which is never released.

    The CPU plug-in of every Core sets a signal stack for the thread that loads it and restores the previous
    one when it is destroyed. Where two overlap, as in a hot swap, the first one's stack is unmapped and
    then restored by the second, and the next signal with a Python handler (Ctrl-C) is a segmentation fault.
    """
    return _import_runtime().Core()


def _version(runtime: Any) -> str:
    return str(runtime.__version__).split("-")[0]


def _is_onnx(model: Path) -> bool:
    if not model.is_file():
        raise BackendError(f"no model file at {model}")
    return model.suffix != ".xml"


def _device(core: Any, options: OpenVinoOptions) -> str:
    available = [str(name) for name in core.available_devices]
    # A single GPU is listed as GPU and can be selected as GPU.0 too; of several, GPU means the first.
    known = {*available, *(name.partition(".")[0] for name in available)}
    known |= {f"{name}.0" for name in available if "." not in name}
    if options.device in known:
        return options.device
    if options.strict or "CPU" not in known:
        raise BackendError(
            f"openvino: device {options.device} was asked for; available: {', '.join(available) or 'none'}"
        )
    return "CPU"


def _properties(options: OpenVinoOptions, device: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[options.precision]}
    if device.startswith("CPU"):
        properties |= {"NUM_STREAMS": options.streams, "ENABLE_CPU_PINNING": options.pinning}
        if options.threads:
            properties["INFERENCE_NUM_THREADS"] = options.threads
    return properties


def _layer_records(compiled: Any) -> list[LayerRecord]:
    return [record for _, record in _named_records(compiled)]


def _named_records(compiled: Any) -> list[tuple[str, LayerRecord]]:
    """Return the executed layers, each with the name that performance counters use."""
    records = []
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = {key: str(value.astype(str)) for key, value in operation.get_rt_info().items()}
        kind = facts.get("layerType", operation.get_type_name())
        if kind.lower() in _NOT_LAYERS:
            continue
        precision = facts.get("runtimePrecision", "unknown")
        compute = kind.lower() in _COMPUTE
        # The original name first: fused layers list every node they came from.
        names = [name for name in facts.get("originalLayersNames", "").split(",") if name]
        friendly = operation.get_friendly_name()
        record = LayerRecord(
            name=",".join(names) or friendly,
            operator=kind,
            precision=_PRECISIONS.get(precision, precision),
            kernel=facts.get("primitiveType", "unknown"),
            is_compute=compute,
            is_integer=compute and precision in _INTEGER,
        )
        records.append((friendly, record))
    return records


def _tensor_spec(port: Any, name: str) -> TensorSpec:
    shape = port.partial_shape
    sizes = (
        ()
        if shape.rank.is_dynamic
        else tuple(size.get_length() if size.is_static else None for size in shape)
    )
    return TensorSpec(name, sizes, np.dtype(port.element_type.to_dtype()).name)


def _onnx_names(ports: Sequence[Any], onnx_names: list[str]) -> list[str]:
    """Name inputs or outputs as the ONNX file does.

    OpenVINO keeps the file's order. Outputs that it merged into one tensor, such as x and Dropout(x), may all
    have one name of theirs, which is then taken by the output that has it in the file.
    """
    claims = [set(port.get_names()).intersection(onnx_names) for port in ports]
    if len(ports) == len(onnx_names):
        pairs = list(zip(onnx_names, claims, strict=True))
        in_place = {name for name, claimed in pairs if name in claimed}
        if all(name in in_place or claimed <= in_place for name, claimed in pairs):
            return onnx_names
    return [
        next((name for name in onnx_names if name in claimed), str(port.get_any_name()))
        for port, claimed in zip(ports, claims, strict=True)
    ]
