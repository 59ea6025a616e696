# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds TensorRT engines from ONNX files as they are written, and reads what an engine executes.

Networks are strongly typed, which TensorRT 11 always does and 10 by a flag: precision is what the file says,
8 bits where it has Q/DQ pairs. What was quantized by a calibrator of TensorRT's is not.
"""

from __future__ import annotations

import json
import logging
import re
from functools import lru_cache
from time import monotonic
from typing import Any

from ad_compressed_perception.backends.base import UNKNOWN
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec

_LOGGER = logging.getLogger(__name__)
_LINE_PERIOD_S = 10.0
_MOST_ERRORS = 20
_COMPUTE = re.compile(r"conv|gemm|matmul|matrix.?multiply|fully.?connected", re.IGNORECASE)
# Parts compiled as a whole, which do not say what is inside.
_OPAQUE = re.compile(r"myelin|foreign", re.IGNORECASE)
_TYPES = (
    (re.compile(r"\bINT8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\bFP8\b", re.IGNORECASE), "fp8"),
    (re.compile(r"\bBF16\b|\bBFloat16\b", re.IGNORECASE), "bf16"),
    (re.compile(r"\bFP16\b|\bHalf\b", re.IGNORECASE), "fp16"),
    (re.compile(r"\bFP32\b|\bFloat\b", re.IGNORECASE), "fp32"),
)


@lru_cache(maxsize=2)
def logger_of(trt: Any) -> Any:
    """Return the one logger of a process, which TensorRT's objects share; ``errors`` has its last errors."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(one_line(message))
                del self.errors[:-_MOST_ERRORS]

    return Log()


def _monitor(trt: Any, model: str) -> Any:
    """Return what notes how far a build is, in the log, every ten seconds."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._begin_s = self._line_s = monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            now_s = monotonic()
            if now_s - self._line_s >= _LINE_PERIOD_S:
                self._line_s = now_s
                text = "TensorRT builds the engine of %s for %.0f s: %s, step %d of %d"
                elapsed_s, steps = now_s - self._begin_s, self._steps.get(phase_name, 0)
                _LOGGER.warning(text, model, elapsed_s, phase_name, step + 1, steps)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def build_plan(trt: Any, source: str | bytes, model: str, workspace_mb: int, max_batch: int) -> bytes:
    """Return the serialized engine of an ONNX model.

    It may take minutes. TensorRT releases the interpreter lock meanwhile, so that other threads go on.

    Args:
        trt: the module tensorrt.
        source: the file's content, or its path where weights lie apart.
        model: name of the file, for messages.
        workspace_mb: most memory of the device that a layer may use.
        max_batch: largest batch where the file leaves it open.

    Raises:
        BackendError: TensorRT does not know an operator, or finds no kernel; the line names the node.
    """
    log = logger_of(trt)
    log.errors.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    is_read = parser.parse_from_file(source) if isinstance(source, str) else parser.parse(source)
    if not is_read:
        raise BackendError(f"tensorrt cannot load {model}: {_parser_error(parser) or _last(log)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else layers have names only
    config.clear_flag(trt.BuilderFlag.TF32)  # it would round fp32 to 10 bits, and be called fp32
    config.progress_monitor = monitor = _monitor(trt, model)
    _add_profile(builder, network, config, model, max_batch)
    plan = builder.build_serialized_network(network, config)
    del monitor  # it has to live as long as what uses it
    if plan is None:
        raise BackendError(f"tensorrt cannot build the engine of {model}: {_last(log)}")
    return bytes(plan)


def _add_profile(builder: Any, network: Any, config: Any, model: str, max_batch: int) -> None:
    """Say which batches are coming where the file leaves that open."""
    profile = None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if all(size >= 0 for size in shape):
            continue
        if any(size < 0 for size in shape[1:]):
            raise BackendError(
                f"tensorrt: input {tensor.name!r} of {model} has dynamic sizes beyond the batch: give it one "
                "size at its import"
            )
        profile = profile or builder.create_optimization_profile()
        profile.set_shape(tensor.name, (1, *shape[1:]), (1, *shape[1:]), (max_batch, *shape[1:]))
    if profile is not None:
        config.add_optimization_profile(profile)


def _parser_error(parser: Any) -> str:
    texts = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        name, operator = (_called(error, key) for key in ("node_name", "node_operator"))
        where = (
            f"node {name or error.node()!r} ({operator})" if operator else f"node {name or error.node()!r}"
        )
        texts.append(f"{where}: {one_line(error.desc())}")
    return one_line(texts[0]) if texts else ""


def _called(value: Any, name: str) -> str:
    """Return what a method returns that not every version has; empty without it."""
    method = getattr(value, name, None)
    return str(method()) if method is not None else ""


def _last(log: Any) -> str:
    """Return the first error that names a node, else the last one."""
    named = [text for text in log.errors if "node" in text.lower()]
    return str((named or log.errors[-1:] or ["no reason given"])[0])


def open_engine(trt: Any, plan: bytes) -> Any:
    """Return the engine of a plan; None where TensorRT refuses it, such as one of another version."""
    log = logger_of(trt)
    runtime = trt.Runtime(log)
    return runtime.deserialize_cuda_engine(plan)


def tensors_of(trt: Any, engine: Any, model: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return an engine's inputs and outputs; raise BackendError on types that numpy does not have."""
    import numpy as np

    found: dict[bool, list[TensorSpec]] = {True: [], False: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        try:
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        except TypeError as error:
            raise BackendError(
                f"tensorrt: {name!r} of {model} has a type that numpy does not have"
            ) from error
        shape = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        found[is_input].append(TensorSpec(name, shape, dtype))
    return tuple(found[True]), tuple(found[False])


def layers_of(trt: Any, engine: Any) -> list[LayerRecord]:
    """Return the layers that an engine executes, as its inspector describes them; none where it does not."""
    try:
        text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
        described = json.loads(text)["Layers"]
        return [_record(layer) for layer in described if isinstance(layer, dict)]
    except (AttributeError, KeyError, TypeError, ValueError):  # another version's form
        return []


def _record(layer: dict[str, Any]) -> LayerRecord:
    kind = str(layer.get("LayerType", UNKNOWN))
    is_opaque = bool(_OPAQUE.search(kind))
    is_compute = is_opaque or bool(_COMPUTE.search(f"{kind} {layer.get('ParameterType', '')}"))
    inputs = layer.get("Inputs") or []
    precision = UNKNOWN if is_opaque else _precision(inputs[0] if inputs else {})
    return LayerRecord(
        name=str(layer.get("Name", "")),
        operator=kind,
        precision=precision,
        kernel=str(layer.get("TacticName") or UNKNOWN),
        is_compute=is_compute,
        is_integer=is_compute and precision == "int8",
    )


def _precision(tensor: dict[str, Any]) -> str:
    text = " ".join(str(value) for key, value in tensor.items() if "ormat" in key or "ype" in key)
    return next((name for pattern, name in _TYPES if pattern.search(text)), UNKNOWN)
