# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runtimes behind one interface; each optional runtime is imported only in its own file."""

from ad_compressed_perception.backends.base import Backend, BackendStatus, Session, SessionInfo
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.registry import BACKENDS, find, names

__all__ = ["Backend", "BackendStatus", "Session", "SessionInfo", "backend_names", "create_backend"]

PLUGINS = {
    "executorch": "ad_compressed_perception.backends.executorch_backend:ExecuTorchBackend",
    "litert": "ad_compressed_perception.backends.litert_backend:LiteRtBackend",
    "onnxruntime": "ad_compressed_perception.backends.onnxruntime_backend:OnnxRuntimeBackend",
    "openvino": "ad_compressed_perception.backends.openvino_backend:OpenVinoBackend",
    "remote": "ad_compressed_perception.backends.remote_backend:RemoteBackend",
    "staged": "ad_compressed_perception.backends.staged_backend:StagedBackend",
    "tensorrt": "ad_compressed_perception.backends.tensorrt_backend:TensorRtBackend",
    "torch": "ad_compressed_perception.backends.torch_backend:TorchBackend",
}


def backend_names() -> list[str]:
    """Names of all registered backends, installed or not."""
    return names(BACKENDS)


def create_backend(name: str) -> Backend:
    """Return the backend called ``name``; raise BackendError naming the known ones."""
    backend: Backend = find(BACKENDS, name, BackendError)()
    return backend
