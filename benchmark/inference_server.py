# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A small server of the Open Inference Protocol over gRPC: one ONNX model, for this computer only.

    python -m benchmark.inference_server MODEL.onnx --name detector    # prints its port, and serves

For measurements and tests; a lab runs Triton, MLServer or another one.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as services

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.base import Session
from ad_compressed_perception.backends.remote_protocol import DATATYPES
from ad_compressed_perception.core.tensors import TensorSpec

_DTYPES = {theirs: ours for ours, theirs in DATATYPES.items()}
_MAX_BYTES = 512 << 20


class Service(services.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers for one model."""

    def __init__(self, session: Session, name: str, version: str = "1") -> None:
        """Serve a loaded model under this name and version."""
        self.session, self.name, self.version = session, name, version

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Name the server."""
        return messages.ServerMetadataResponse(name="adcp-inference-server", version="1")

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Describe the model's tensors."""
        if request.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name!r} here")
        info = self.session.info
        return messages.ModelMetadataResponse(
            name=self.name,
            versions=[self.version],
            platform="onnxruntime",
            inputs=[describe(spec) for spec in info.inputs],
            outputs=[describe(spec) for spec in info.outputs],
        )

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run the model."""
        feeds = {
            tensor.name: np.frombuffer(content, _DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor, content in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        response = messages.ModelInferResponse(model_name=self.name, model_version=self.version)
        for name, array in self.session.infer(feeds).items():
            datatype = DATATYPES[array.dtype.name]
            response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response


def describe(spec: TensorSpec) -> Any:
    """Return a tensor's description; -1 where a size is dynamic."""
    shape = [-1 if size is None else size for size in spec.shape]
    return messages.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=DATATYPES[spec.dtype], shape=shape
    )


def serve(service: Any, port: int = 0, credentials: Any = None) -> tuple[Any, int]:
    """Start a server on a loopback address; return it and its port (0: a free one)."""
    limits = [("grpc.max_receive_message_length", _MAX_BYTES), ("grpc.max_send_message_length", _MAX_BYTES)]
    # The session serves one call at a time.
    server = grpc.server(ThreadPoolExecutor(1), options=[*limits, ("grpc.so_reuseport", 0)])
    services.add_GRPCInferenceServiceServicer_to_server(service, server)
    address = f"127.0.0.1:{port}"
    if credentials is None:
        bound = server.add_insecure_port(address)
    else:
        bound = server.add_secure_port(address, credentials)
    server.start()
    return server, bound


def main(arguments: list[str]) -> int:
    """Serve a model until the process ends."""
    parser = argparse.ArgumentParser(description="Serve one ONNX model on this computer.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", default="model")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args(arguments)
    session = create_backend("onnxruntime").load(given.model, {})
    server, port = serve(Service(session, given.name), given.port)
    print(port, flush=True)
    server.wait_for_termination()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
