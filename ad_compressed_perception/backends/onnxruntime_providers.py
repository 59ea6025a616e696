# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Execution providers of ONNX Runtime: which ones a session asks for, and which ones it got.

ONNX Runtime takes whatever is left where a provider is missing, or knows an operator only on the CPU. Here
the session's graph is asked which provider has its operators, and ``strict`` turns each kind of fallback off.
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Final

from ad_compressed_perception.backends.onnxruntime_options import OnnxRuntimeOptions
from ad_compressed_perception.core.errors import BackendError

CPU: Final = "CPUExecutionProvider"
QNN: Final = "QNNExecutionProvider"
PROVIDERS: Final = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "qnn": QNN,
}
EMULATED: Final = " (emulated on the CPU)"
COMPILING: Final = (PROVIDERS["tensorrt"], QNN)
"""Providers that compile parts of the graph, whose layers cannot be listed."""
_NEEDS = {
    "cuda": "GPUs need the extra [gpu]",
    "tensorrt": "GPUs need the extra [gpu]",
    "qnn": "see the extra [qnn]",
}
_registering, _registered = Lock(), set[str]()


def provider_chain(
    runtime: Any, options: OnnxRuntimeOptions, cache: Path | None
) -> list[tuple[str, dict[str, str]]]:
    """Return the built-in providers that a session asks for, best first, with their settings.

    It is empty where Qualcomm's is a plug-in: see add_qnn.

    Args:
        runtime: the module onnxruntime.
        options: of the backend.
        cache: folder of TensorRT's engines; None: none is kept.

    Raises:
        BackendError: ``strict``, and the build does not have the provider.
    """
    available = runtime.get_available_providers()
    requested = PROVIDERS[options.provider]
    if options.provider == "qnn" and (QNN not in available or _has_plug_in()):
        return []
    if options.strict and requested not in available:
        raise BackendError(
            f"onnxruntime: {requested} was asked for in strict mode, this build has only "
            f"{', '.join(available)}; {_NEEDS[options.provider]}"
        )
    chain: list[tuple[str, dict[str, str]]] = []
    device = {"device_id": str(options.device_id)}
    if options.provider == "tensorrt":
        engine = {**device, "trt_fp16_enable": str(options.trt_fp16)}
        if cache is not None:
            engine |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(cache)}
        chain.append((requested, engine))
    if options.provider in ("tensorrt", "cuda"):
        chain.append((PROVIDERS["cuda"], {**device, "use_tf32": "1" if options.cuda_tf32 else "0"}))
    if options.provider == "qnn":
        chain.append((QNN, {"backend_type": options.qnn_backend}))
    if not (options.strict and chain):  # without a fallback the CPU must not be asked for
        chain.append((CPU, {}))
    return [(name, settings) for name, settings in chain if name in available]


def add_qnn(runtime: Any, session_options: Any, processor: str) -> bool:
    """Add Qualcomm's provider where it is a plug-in (onnxruntime-qnn 2) to the options of a session.

    Args:
        runtime: the module onnxruntime.
        session_options: get the provider. By its name it would be ignored without an error.
        processor: htp, gpu or cpu.

    Returns:
        Whether the processor is only emulated, on the CPU, as by the packages for x86-64.

    Raises:
        BackendError: it is not installed, or finds no device.
        Exception: what ONNX Runtime raises where it does not load.
    """
    if not _has_plug_in():
        raise BackendError("the package onnxruntime-qnn is not installed: see the extra [qnn]")
    import onnxruntime_qnn

    with _registering:  # once a process: a second registration is an error
        if QNN not in _registered:
            runtime.register_execution_provider_library(QNN, onnxruntime_qnn.get_library_path())
            _registered.add(QNN)
        kinds = {
            device.device.type.name: device for device in runtime.get_ep_devices() if device.ep_name == QNN
        }
    if not kinds:
        raise BackendError("the plug-in of onnxruntime-qnn finds no device")
    own = "NPU" if processor == "htp" else processor.upper()
    kind = own if own in kinds else min(kinds)
    session_options.add_provider_for_devices([kinds[kind]], {"backend_type": processor})
    return kind != own


def _has_plug_in() -> bool:
    return find_spec("onnxruntime_qnn") is not None


def record_assignment(session_options: Any) -> None:
    """Let a session record which provider got which operators."""
    session_options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


def refuse_cpu(session_options: Any) -> None:
    """Let a session fail where an operator would be left to the CPU."""
    session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")


def actual_providers(session: Any) -> str:
    """Return the providers that have a session's operators, most operators first, joined by commas.

    Before ONNX Runtime 1.24, which does not say, it is the first registered one.
    """
    registered = str(session.get_providers()[0])
    ask = getattr(session, "get_provider_graph_assignment_info", None)
    if registered == CPU or ask is None:
        return registered
    counts: Counter[str] = Counter()
    for part in ask():
        counts[str(part.ep_name)] += len(part.get_nodes())
    return ", ".join(name for name, _ in counts.most_common()) or registered
