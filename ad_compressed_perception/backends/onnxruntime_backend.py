# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: on the CPU, on NVIDIA devices by its GPU build, on Qualcomm's by their plug-in."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.backends.base import (
    UNKNOWN,
    BackendOptions,
    BackendStatus,
    HashingBackend,
    LayerTime,
    Session,
    SessionInfo,
    Tensors,
    executed_precision,
)
from ad_compressed_perception.backends.checked_load import backend_errors
from ad_compressed_perception.backends.compiled_cache import compiled_cache
from ad_compressed_perception.backends.feeds import check_feeds, warm_up
from ad_compressed_perception.backends.onnxruntime_options import OnnxRuntimeOptions
from ad_compressed_perception.backends.onnxruntime_profile import read_profile
from ad_compressed_perception.backends.onnxruntime_providers import (
    COMPILING,
    CPU,
    EMULATED,
    PROVIDERS,
    QNN,
    actual_providers,
    add_qnn,
    provider_chain,
    record_assignment,
    refuse_cpu,
)
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import external_data, is_inside, read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec
from ad_compressed_perception.onnx_graph.denormals import flush_denormals
from ad_compressed_perception.onnx_graph.layers import (
    has_compute,
    is_plain_float32,
    layer_records,
    read_onnx,
    stores_weights_only,
)
from ad_compressed_perception.packing.decompress import decompress

_LOGGER = logging.getLogger(__name__)
_FATAL_ONLY = 4
_EXTERNAL_FROM_BYTES = "64"
_PROFILE_WARMUP_RUNS = 3
_INTEGERS = tuple(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({name})": name for name in _INTEGERS},
}


class OnnxRuntimeSession(Session):
    """A model in ONNX Runtime."""

    def __init__(
        self, runtime: Any, model: Path, options: OnnxRuntimeOptions, sha256: str | None, cache: Path | None
    ) -> None:
        """Load and warm up; raise BackendError where the file or the provider cannot be used."""
        self._runtime = runtime
        self._model = model
        self._sha256 = sha256
        self._options = options
        requested = PROVIDERS[options.provider]
        self._provider_chain = provider_chain(runtime, options, cache)
        self._is_emulated = False
        start = perf_counter()
        source, content = self._read()
        self._stores_weights_only = stores_weights_only(source)
        self._layers: list[LayerRecord] | None = None
        plain, compute = is_plain_float32(source), has_compute(source)
        del source  # the weights are in memory twice while the runtime loads, not three times
        if plain or requested in COMPILING:
            self._session = self._open(self._session_options(), content)
        else:
            self._session, self._layers = self._open_and_list(content)
        actual = actual_providers(self._session)
        if requested in COMPILING and actual == CPU and not plain:
            self._session, self._layers = self._open_and_list(content)
        if self._is_emulated and QNN in actual:
            actual += EMULATED
        del content
        load_ms = (perf_counter() - start) * 1e3
        if options.strict and actual != requested:
            raise BackendError(
                f"onnxruntime: {requested} was asked for in strict mode, the session got {actual}; "
                f"available: {', '.join(runtime.get_available_providers())}"
            )
        inputs = tuple(_tensor_spec(value, is_input=True) for value in self._session.get_inputs())
        outputs = tuple(_tensor_spec(value, is_input=False) for value in self._session.get_outputs())
        self._output_names = [spec.name for spec in outputs]
        precision, coverage = self._executed(plain, compute, actual)
        self._inputs = inputs
        warmup_ms = warm_up(self, inputs, options.warmup_runs)
        self.info = SessionInfo(
            backend=OnnxRuntimeBackend.name,
            version=str(runtime.__version__),
            requested_provider=requested,
            provider=actual,
            precision=precision,
            threads=options.threads,
            integer_coverage=coverage,
            load_ms=load_ms,
            warmup_ms=warmup_ms,
            inputs=inputs,
            outputs=outputs,
        )

    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run the model; see Session.infer. Every run allocates its own outputs."""
        check_feeds(self._inputs, feeds)
        try:
            results = self._session.run(self._output_names, dict(feeds))
        except Exception as error:
            raise BackendError(f"onnxruntime failed on {self._model.name}: {one_line(error)}") from error
        return {name: np.asarray(result) for name, result in zip(self._output_names, results, strict=True)}

    def layers(self) -> list[LayerRecord]:
        """List the nodes of the optimized graph; compiles the model again unless loading listed them.

        Raises:
            BackendError: a provider compiled the model, whose layers cannot be listed then.
        """
        if any(name in self.info.provider for name in COMPILING):
            raise BackendError(
                f"onnxruntime: the layers that {self.info.provider} compiled cannot be listed; inspect with "
                "provider cpu"
            )
        if self._layers is None:
            _, self._layers = self._open_and_list(self._read()[1])
        return list(self._layers)

    def profile(self, feeds: Tensors, runs: int) -> list[LayerTime]:
        """Time every operator with ONNX Runtime's profiler; see Session.profile."""
        if any(name in self.info.provider for name in COMPILING):
            raise BackendError(
                f"onnxruntime: the layers that {self.info.provider} compiled cannot be timed one by one"
            )
        check_feeds(self._inputs, feeds)
        with tempfile.TemporaryDirectory(prefix="adcp-profile-") as folder:
            session, records = self._open_and_list(self._with_names(), str(Path(folder) / "run"))
            try:
                for _ in range(_PROFILE_WARMUP_RUNS + runs):
                    session.run(self._output_names, dict(feeds))
            except Exception as error:
                raise BackendError(f"onnxruntime failed on {self._model.name}: {one_line(error)}") from error
            return read_profile(Path(session.end_profiling()), _PROFILE_WARMUP_RUNS, records)

    def close(self) -> None:
        """Release the model."""
        self._session = None

    def _executed(self, plain: bool, compute: bool, actual: str) -> tuple[str, float | None]:
        if QNN in actual:
            return UNKNOWN, None  # its float layers run in half precision on some processors
        if PROVIDERS["tensorrt"] in actual:
            # TensorRT selects each layer's kernel itself and does not report it.
            return ("fp32" if plain and not self._options.trt_fp16 else "mixed"), None
        if self._layers is None:
            is_rounded = self._options.cuda_tf32 and PROVIDERS["cuda"] in actual
            return "tf32" if is_rounded else "fp32", (0.0 if compute else None)
        return executed_precision(self._layers, fallback="fp32")

    def _session_options(self) -> Any:
        options, runtime = self._options, self._runtime
        session_options = runtime.SessionOptions()
        # Errors come as exceptions; the log would only repeat them on stderr.
        session_options.log_severity_level = _FATAL_ONLY
        session_options.intra_op_num_threads = options.threads
        session_options.inter_op_num_threads = options.inter_op_threads
        if options.inter_op_threads != 1:
            session_options.execution_mode = runtime.ExecutionMode.ORT_PARALLEL
        level = {"none": "DISABLE_ALL", "all": "ENABLE_ALL"}.get(
            options.graph_optimization, f"ENABLE_{options.graph_optimization.upper()}"
        )
        session_options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, f"ORT_{level}")
        if self._stores_weights_only:
            # Dequantized once at loading; doing it in every run takes half as much time again.
            session_options.add_session_config_entry("session.disable_quant_qdq", "1")
        for pool in ("intra_op", "inter_op"):
            session_options.add_session_config_entry(
                f"session.{pool}.allow_spinning", "1" if options.spinning else "0"
            )
        if options.provider != "cpu":
            record_assignment(session_options)
            if options.strict:
                refuse_cpu(session_options)
        return session_options

    def _read(self) -> tuple[Any, str | bytes]:
        """Return the parsed model and what the runtime loads: its bytes, or the path where weights lie apart.

        The bytes are those that were hashed, without denormal weights where these are flushed.
        """
        content = read_checked(self._model, self._sha256, BackendError)
        source = read_onnx(self._model, content)
        folder = self._model.parent
        for name in (names := set(external_data(source))):
            if not is_inside(folder / name, [folder]):  # as ONNX demands, and OpenVINO checks
                raise BackendError(
                    f"{self._model} names weights outside of its folder: {name}; move them there"
                )
        if names:
            return source, str(self._model)
        if self._options.flush_denormals and flush_denormals(source):
            content = source.SerializeToString()
        return source, content

    def _open(self, session_options: Any, source: str | bytes) -> Any:
        try:
            session = self._create(source, session_options)
        # The runtime's exception classes have no common base but Exception.
        except Exception as error:
            if self._provider_chain == [(CPU, {})] or self._options.strict:
                raise BackendError(f"onnxruntime cannot load {self._model}: {one_line(error)}") from error
            _LOGGER.warning("%s on %s: %s", self._model.name, self._options.provider, one_line(error))
            self._provider_chain = [(CPU, {})]
            return self._open(session_options, source)
        # It keeps the bytes for a later change of providers, which would double the memory of the weights.
        session._model_bytes = None
        return session

    def _create(self, source: str | bytes, session_options: Any) -> Any:
        """Create a session that never changes its providers by itself, as it would by default."""
        chain = self._provider_chain
        if not chain:
            self._is_emulated = add_qnn(self._runtime, session_options, self._options.qnn_backend)
        return self._runtime.InferenceSession(
            source, session_options, providers=chain or None, enable_fallback=0
        )

    def _open_and_list(
        self, source: str | bytes, profile_prefix: str | None = None
    ) -> tuple[Any, list[LayerRecord]]:
        """Open a session that also writes its optimized graph, weights apart, and read the graph.

        With ``profile_prefix`` the session times its operators, each of which then has a name.
        """
        with tempfile.TemporaryDirectory(prefix="adcp-graph-") as folder:
            session_options = self._session_options()
            if profile_prefix is not None:
                session_options.enable_profiling = True
                session_options.profile_file_prefix = profile_prefix
            graph = Path(folder) / "optimized.onnx"
            session_options.optimized_model_filepath = str(graph)
            prefix = "session.optimized_model_external_initializers_"
            session_options.add_session_config_entry(f"{prefix}file_name", "weights.bin")
            session_options.add_session_config_entry(f"{prefix}min_size_in_bytes", _EXTERNAL_FROM_BYTES)
            session = self._open(session_options, source)
            return session, layer_records(read_onnx(graph))

    def _with_names(self) -> str | bytes:
        """Return the model with a name on every operator, by which the profile is joined to the layers."""
        model, source = self._read()
        if isinstance(source, str):
            return source
        for node in model.graph.node:
            node.name = node.name or node.output[0]
        return bytes(model.SerializeToString())


class OnnxRuntimeBackend(HashingBackend):
    """Runs ONNX files in ONNX Runtime."""

    name: ClassVar[str] = "onnxruntime"
    distribution: ClassVar[str] = "onnxruntime"
    reads: ClassVar[tuple[str, ...]] = (".onnx", ".adcpz")
    options_type: ClassVar[type[BackendOptions]] = OnnxRuntimeOptions

    @classmethod
    def strict_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse single operators on another provider, too; see Backend.strict_options."""
        return {**options, "strict": True}

    @classmethod
    def status(cls) -> BackendStatus:
        """Report whether ONNX Runtime is installed and which execution providers its build has."""
        try:
            runtime = _import_runtime()
        except BackendError as error:
            return BackendStatus(cls.name, available=False, detail=str(error))
        providers = tuple(runtime.get_available_providers())
        if QNN not in providers and find_spec("onnxruntime_qnn") is not None:
            providers = (QNN, *providers)
        return BackendStatus(
            cls.name,
            available=True,
            version=str(runtime.__version__),
            providers=providers,
            detail="" if PROVIDERS["cuda"] in providers else "CPU build; GPUs need the extra [gpu]",
        )

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load and warm up an ONNX file; options are those of OnnxRuntimeOptions.

        A provider the installed build lacks falls back to the next one (tensorrt, cuda, cpu), and operators
        that a provider does not know to the CPU: ``info.provider`` names all that have operators.

        Raises:
            BackendError: ONNX Runtime is missing; an unknown option or value; the file is missing, not
                ONNX, or has operators or an opset the runtime does not know; ``strict`` and another
                provider than the one asked for.
        """
        parsed: OnnxRuntimeOptions = self.parse_options(options)
        path = decompress(Path(model), sha256)
        with backend_errors(self.name, path):
            runtime, expected = _import_runtime(), sha256 if path == Path(model) else None
            folder = parsed.trt_engine_cache if parsed.provider == "tensorrt" else None
            key = (str(runtime.__version__), f"tensorrt {parsed.device_id} fp16={parsed.trt_fp16}")
            with compiled_cache(folder, path, self.name, *key) as cache:
                return OnnxRuntimeSession(runtime, path, parsed, expected, cache)


def _import_runtime() -> Any:
    try:
        import onnxruntime
    except Exception as error:  # also a library that lacks or does not fit
        raise BackendError(
            "backend 'onnxruntime' needs the package onnxruntime, or for GPUs the extra [gpu]: "
            f"{one_line(error)}"
        ) from error
    return onnxruntime


def _tensor_spec(value: Any, *, is_input: bool) -> TensorSpec:
    dtype = _DTYPES.get(value.type)
    if dtype is None and is_input:
        raise BackendError(
            f"onnxruntime: input {value.name!r} is a {value.type}; inputs must be tensors of "
            f"{', '.join(sorted(_DTYPES.values()))}"
        )
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(value.name, shape, dtype or str(value.type))
