# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT 10 and 11: engines built on the device from an ONNX file as it is written, and kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.backends.base import (
    UNKNOWN,
    BackendOptions,
    BackendStatus,
    HashingBackend,
    Session,
    SessionInfo,
    Tensors,
    executed_precision,
)
from ad_compressed_perception.backends.checked_load import backend_errors
from ad_compressed_perception.backends.compiled_cache import compiled_cache
from ad_compressed_perception.backends.cuda_memory import DeviceMemory, device_name, import_cuda
from ad_compressed_perception.backends.device_run import read_device_run
from ad_compressed_perception.backends.feeds import check_feeds, warm_up
from ad_compressed_perception.backends.tensorrt_engine import build_plan, layers_of, open_engine, tensors_of
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import external_data, read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord
from ad_compressed_perception.onnx_graph.layers import read_onnx
from ad_compressed_perception.packing.decompress import decompress

_LOGGER = logging.getLogger(__name__)
_PLAN = "engine.plan"
_OLDEST = 10


class TensorRtOptions(BackendOptions):
    """Options of the backend ``tensorrt``."""

    device_id: int = Field(0, ge=0, description="which GPU")
    cache_dir: str | None = Field(
        "tensorrt",
        description="folder that keeps built engines, relative: in the user's cache; null: none is kept",
    )
    workspace_mb: int = Field(
        1024, ge=16, le=1 << 20, description="most memory of the device that a layer may use, MiB"
    )
    max_batch: int = Field(1, ge=1, le=4096, description="largest batch where the model leaves it open")
    threads: int = Field(1, ge=0, le=1024, description="of no effect: the device computes")
    warmup_runs: int = Field(3, ge=0, le=1000, description="runs on zeros before the first frame")


class TensorRtSession(Session):
    """A model in a TensorRT engine."""

    def __init__(
        self,
        trt: Any,
        cuda: Any,
        model: Path,
        options: TensorRtOptions,
        sha256: str | None,
        cache: Path | None,
    ) -> None:
        """Build the engine, or take it from the cache, and warm up; raise BackendError where it cannot be."""
        start = perf_counter()
        self._model = model
        self._memory = DeviceMemory(cuda, options.device_id)
        self._engine: Any = None
        self._context: Any = None
        try:
            self._engine = _engine(trt, model, options, sha256, cache)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise BackendError(f"tensorrt cannot load {model}: the device has no memory left for it")
            load_ms = (perf_counter() - start) * 1e3
            self._inputs, self._outputs = tensors_of(trt, self._engine, model.name)
            self._layers = layers_of(trt, self._engine)
            precision, coverage = executed_precision(self._layers, fallback=UNKNOWN)
            if any(layer.precision == UNKNOWN for layer in self._layers if layer.is_compute):
                precision, coverage = UNKNOWN, None
            warmup_ms = warm_up(self, self._inputs, options.warmup_runs)
        except BaseException:
            self.close()
            raise
        device = device_name(cuda, options.device_id)
        self.info = SessionInfo(
            backend=TensorRtBackend.name,
            version=str(trt.__version__),
            requested_provider=device,
            provider=device,
            precision=precision,
            threads=0,
            integer_coverage=coverage,
            load_ms=load_ms,
            warmup_ms=warmup_ms,
            inputs=self._inputs,
            outputs=self._outputs,
        )

    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run the model; see Session.infer. Outputs are copied from the device into arrays of their own."""
        check_feeds(self._inputs, feeds)
        context, memory = self._context, self._memory
        try:
            memory.select()
            # They are read by the device until wait() returns.
            arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
            for name, array in arrays.items():
                if not context.set_input_shape(name, array.shape):
                    raise BackendError(f"the batch of {name!r} is larger than max_batch")
                context.set_tensor_address(name, memory.upload(name, array))
            outputs = {spec.name: self._reserve(spec.name, spec.dtype) for spec in self._outputs}
            if not context.execute_async_v3(int(memory.stream)):
                raise BackendError("the engine did not run")
            for name, array in outputs.items():
                memory.download(name, array)
            memory.wait()
        except Exception as error:
            raise BackendError(f"tensorrt failed on {self._model.name}: {one_line(error)}") from error
        return outputs

    def _reserve(self, name: str, dtype: str) -> NDArray[Any]:
        shape = tuple(int(size) for size in self._context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise BackendError(f"the size of {name!r} depends on the image: cut the model before it")
        array = np.empty(shape, dtype)
        self._context.set_tensor_address(name, self._memory.reserve(name, array.nbytes))
        return array

    def layers(self) -> list[LayerRecord]:
        """List the engine's layers, as TensorRT's inspector describes them.

        Raises:
            BackendError: it does not.
        """
        if not self._layers:
            raise BackendError("tensorrt: the inspector of this version does not describe the layers")
        return list(self._layers)

    def close(self) -> None:
        """Release the engine and its memory on the device."""
        self._context = self._engine = None
        self._memory.close()


class TensorRtBackend(HashingBackend):
    """Runs ONNX files in TensorRT."""

    name: ClassVar[str] = "tensorrt"
    distribution: ClassVar[str] = "tensorrt cuda-python"
    reads: ClassVar[tuple[str, ...]] = (".onnx", ".adcpz")
    options_type: ClassVar[type[BackendOptions]] = TensorRtOptions

    @classmethod
    def status(cls) -> BackendStatus:
        """Report whether TensorRT is installed, its device, and whether a run there was right."""
        try:
            trt, cuda = _import_runtime(), import_cuda()
            device = device_name(cuda, 0)
        except BackendError as error:
            return BackendStatus(cls.name, available=False, detail=str(error))
        version = str(trt.__version__)
        return BackendStatus(
            cls.name,
            available=True,
            version=version,
            providers=(device,),
            detail=read_device_run(cls.name, version, device),
        )

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load and warm up an ONNX file; options are those of TensorRtOptions.

        Raises:
            BackendError: TensorRT, cuda-python or the device is missing; an unknown option or value; the file
                is missing, no ONNX, or has operators TensorRT does not know.
        """
        parsed: TensorRtOptions = self.parse_options(options)
        path = decompress(Path(model), sha256)
        with backend_errors(self.name, path):
            trt, cuda = _import_runtime(), import_cuda()
            device = device_name(cuda, parsed.device_id)
            built = f"strongly typed, no TF32, batch {parsed.max_batch}, workspace {parsed.workspace_mb}"
            key = (self.name, str(trt.__version__), device, built)
            with compiled_cache(parsed.cache_dir, path, *key) as cache:
                expected = sha256 if path == Path(model) else None
                return TensorRtSession(trt, cuda, path, parsed, expected, cache)


def _engine(trt: Any, model: Path, options: TensorRtOptions, sha256: str | None, cache: Path | None) -> Any:
    """Return the engine kept in the cache, else a new one, which is then kept."""
    plan = cache / _PLAN if cache is not None else None
    if plan is not None and plan.is_file():
        engine = open_engine(trt, plan.read_bytes())
        if engine is not None:
            return engine
        _LOGGER.warning("TensorRT refuses the engine kept for %s: it is built again", model.name)
    content = read_checked(model, sha256, BackendError)
    source = read_onnx(model, content)
    is_apart = any(external_data(source))
    del source
    serialized = build_plan(
        trt, str(model) if is_apart else content, model.name, options.workspace_mb, options.max_batch
    )
    engine = open_engine(trt, serialized)
    if engine is None:
        raise BackendError(f"tensorrt cannot load {model}: it refuses the engine that it built")
    if plan is not None:
        plan.write_bytes(serialized)
    return engine


def _import_runtime() -> Any:
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # OSError: its libraries do not load
        raise BackendError(f"backend 'tensorrt' needs the extra [tensorrt]: {one_line(error)}") from error
    if int(str(tensorrt.__version__).partition(".")[0]) < _OLDEST:
        raise BackendError(f"backend 'tensorrt' needs TensorRT 10 or newer, not {tensorrt.__version__}")
    return tensorrt
