# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the modules ``tensorrt`` and ``cuda.bindings.runtime``, where no device is.

What it has is what TensorRT 10 and 11 document, and nothing else: a call of anything that one of the versions
lacks is an AttributeError. An engine computes in ONNX Runtime, in memory that is counted as a device's.
"""

from __future__ import annotations

import ctypes
import enum
import json
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

_MAGIC = b"stand-in plan "


@dataclass
class Device:
    """A device and the version of TensorRT that it has.

    Attributes:
        version: of TensorRT.
        name: of the device.
        capability: compute capability.
        fails: node for which no kernel is found.
        allocations: buffers that are in use, by address.
        streams: in use.
        builds: engines built.
        seen: settings of the last build.
        runs_right: False: outputs are zeros.
    """

    version: str = "10.9.0"
    name: str = "Orin"
    capability: tuple[int, int] = (8, 7)
    fails: str = ""
    allocations: dict[int, Any] = field(default_factory=dict)
    streams: int = 0
    builds: int = 0
    seen: dict[str, Any] = field(default_factory=dict)
    runs_right: bool = True
    while_building: Any = None


class _Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class _Logger:
    Severity = _Severity

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


class _Monitor:
    pass


class _Mode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class _Flag(enum.IntEnum):
    STRONGLY_TYPED = 1


class _BuilderFlag10(enum.Enum):
    TF32 = 1
    FP16 = 2
    INT8 = 3


class _BuilderFlag11(enum.Enum):
    TF32 = 1


def install(patch: pytest.MonkeyPatch, device: Device) -> None:
    """Put both modules into sys.modules for the time of a test."""
    trt = ModuleType("tensorrt")
    major = int(device.version.split(".")[0])
    members = {
        "__version__": device.version,
        "ILogger": _Logger,
        "IProgressMonitor": _Monitor,
        "TensorIOMode": _Mode,
        "NetworkDefinitionCreationFlag": _Flag,
        "BuilderFlag": _BuilderFlag10 if major == 10 else _BuilderFlag11,
        "MemoryPoolType": SimpleNamespace(WORKSPACE="workspace"),
        "ProfilingVerbosity": SimpleNamespace(DETAILED="detailed"),
        "LayerInformationFormat": SimpleNamespace(JSON="json"),
        "nptype": lambda dtype: np.dtype(dtype),
        "Builder": lambda log: _Builder(device, log),
        "OnnxParser": _Parser,
        "Runtime": lambda log: _Runtime(device, log),
    }
    for name, value in members.items():
        setattr(trt, name, value)
    cuda = _cuda(device)
    bindings, package = ModuleType("cuda.bindings"), ModuleType("cuda")
    bindings.runtime, package.bindings = cuda, bindings  # type: ignore[attr-defined]
    for name, module in (
        *(("tensorrt", trt), ("cuda", package)),
        *(("cuda.bindings", bindings), ("cuda.bindings.runtime", cuda)),
    ):
        patch.setitem(sys.modules, name, module)


class _Status(enum.Enum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815


def _cuda(device: Device) -> ModuleType:
    ok = _Status.cudaSuccess

    def malloc(size: int) -> tuple[Any, ...]:
        buffer = np.zeros(size, np.uint8)
        device.allocations[buffer.ctypes.data] = buffer
        return ok, buffer.ctypes.data

    def free(address: int) -> tuple[Any, ...]:
        del device.allocations[address]  # KeyError: freed twice
        return (ok,)

    def copy(target: int, source: int, size: int, kind: str, stream: Any) -> tuple[Any, ...]:
        known = device.allocations[target if kind == "to device" else source]
        assert size <= known.nbytes
        ctypes.memmove(target, source, size)
        return (ok,)

    def make_stream() -> tuple[Any, ...]:
        device.streams += 1
        return ok, 7

    def destroy_stream(stream: int) -> tuple[Any, ...]:
        device.streams -= 1
        return (ok,)

    properties = SimpleNamespace(
        name=device.name.encode() + b"\0" * 8, major=device.capability[0], minor=device.capability[1]
    )
    module = ModuleType("cuda.bindings.runtime")
    members = {
        "cudaError_t": _Status,
        "cudaMemcpyKind": SimpleNamespace(
            cudaMemcpyHostToDevice="to device", cudaMemcpyDeviceToHost="to host"
        ),
        "cudaGetDeviceCount": lambda: (ok, 1),
        "cudaGetDeviceProperties": lambda index: (ok, properties),
        "cudaSetDevice": lambda index: (ok,),
        "cudaStreamCreate": make_stream,
        "cudaStreamDestroy": destroy_stream,
        "cudaStreamSynchronize": lambda stream: (ok,),
        "cudaMalloc": malloc,
        "cudaFree": free,
        "cudaMemcpyAsync": copy,
    }
    for name, value in members.items():
        setattr(module, name, value)
    return module


class _Network:
    def __init__(self) -> None:
        self.content = b""

    def _inputs(self) -> list[Any]:
        return list(onnx.load_model_from_string(self.content).graph.input)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs())

    def get_input(self, index: int) -> Any:
        value = self._inputs()[index]
        shape = [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim]
        return SimpleNamespace(name=value.name, shape=shape)


class _Parser:
    def __init__(self, network: _Network, log: Any) -> None:
        self._network, self._errors = network, []  # type: tuple[_Network, list[Any]]

    def parse(self, content: bytes) -> bool:
        for node in onnx.load_model_from_string(content).graph.node:
            if node.op_type == "Nonsense":
                self._errors.append(
                    SimpleNamespace(
                        desc=lambda: "no importer registered",
                        node=lambda: 0,
                        node_name=lambda node=node: node.name,
                        node_operator=lambda node=node: node.op_type,
                    )
                )
        self._network.content = content
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]


class _Config:
    def __init__(self, seen: dict[str, Any]) -> None:
        self._seen = seen
        self.profiling_verbosity = self.progress_monitor = None

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self._seen["workspace"] = size

    def clear_flag(self, flag: Any) -> None:
        self._seen.setdefault("cleared", []).append(flag.name)

    def set_flag(self, flag: Any) -> None:
        self._seen.setdefault("set", []).append(flag.name)

    def add_optimization_profile(self, profile: Any) -> None:
        self._seen["profile"] = profile.shapes


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        self.shapes[name] = (least, best, most)


class _Builder:
    def __init__(self, device: Device, log: Any) -> None:
        self._device, self._log = device, log
        device.seen = {}

    def create_network(self, flags: int) -> _Network:
        self._device.seen["flags"] = flags
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config(self._device.seen)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        self._device.builds += 1
        monitor = config.progress_monitor
        assert monitor is not None
        monitor.phase_start("Building engine", None, 2)
        if self._device.while_building is not None:
            self._device.while_building()
        for step in range(2):
            assert monitor.step_complete("Building engine", step)
        monitor.phase_finish("Building engine")
        if self._device.fails:
            reason = f"Could not find any implementation for node {self._device.fails}."
            text = f"[optimizer.cpp::computeCosts::4] Error Code 10: {reason}"
            self._log.log(_Severity.ERROR, text)
            self._log.log(_Severity.ERROR, "[builder.cpp] Engine building failed")
            return None
        return _MAGIC + self._device.version.encode() + b"\n" + network.content


class _Runtime:
    def __init__(self, device: Device, log: Any) -> None:
        self._device, self._log = device, log

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        head, _, content = plan.partition(b"\n")
        if head != _MAGIC + self._device.version.encode():
            self._log.log(_Severity.ERROR, "The engine plan file is not compatible with this version")
            return None
        return _Engine(self._device, content)


class _Engine:
    def __init__(self, device: Device, content: bytes) -> None:
        self._device = device
        self._model = onnx.load_model_from_string(content)
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self._inputs = {value.name: value for value in self.session.get_inputs()}
        self._outputs = {value.name: value for value in self.session.get_outputs()}
        self._names = [*self._inputs, *self._outputs]

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> _Mode:
        return _Mode.INPUT if name in self._inputs else _Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        kind = (self._inputs | self._outputs)[name].type
        return {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}[kind]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = (self._inputs | self._outputs)[name].shape
        return tuple(size if isinstance(size, int) else -1 for size in shape)

    def create_execution_context(self) -> _Context:
        return _Context(self._device, self)

    def create_engine_inspector(self) -> Any:
        is_quantized = any(node.op_type == "QuantizeLinear" for node in self._model.graph.node)
        kind = (
            "Thirty-two wide channel vectorized row major Int8 format"
            if is_quantized
            else "Row major linear FP32"
        )
        layers = [
            {
                "Name": node.name,
                "LayerType": "CaskConvolution" if node.op_type == "Conv" else "PointWiseV2",
                "ParameterType": "Convolution" if node.op_type == "Conv" else "PointWise",
                "Inputs": [{"Name": node.input[0], "Location": "Device", "Format/Datatype": kind}],
                "TacticName": "stand-in",
            }
            for node in self._model.graph.node
            if not node.op_type.endswith("Linear")
        ]
        text = json.dumps({"Layers": layers, "Bindings": self._names})
        return SimpleNamespace(get_engine_information=lambda form: text)


class _Context:
    def __init__(self, device: Device, engine: _Engine) -> None:
        self._device, self._engine = device, engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        profile = self._device.seen.get("profile", {}).get(name)
        return profile is None or shape[0] <= profile[2][0]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self._shapes.values()))[0]
        return tuple(batch if size < 0 else size for size in self._engine.get_tensor_shape(name))

    def execute_async_v3(self, stream: int) -> bool:
        feeds, memory = {}, self._device.allocations
        for name, shape in self._shapes.items():
            dtype = np.dtype(self._engine.get_tensor_dtype(name))
            size = int(np.prod(shape)) * dtype.itemsize
            feeds[name] = memory[self._addresses[name]][:size].view(dtype).reshape(shape)
        names = [value.name for value in self._engine.session.get_outputs()]
        for name, array in zip(names, self._engine.session.run(names, feeds), strict=True):
            content = np.ascontiguousarray(array if self._device.runs_right else 0 * array)
            memory[self._addresses[name]][: content.nbytes] = content.reshape(-1).view(np.uint8)
        return True
