# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Servers of the Open Inference Protocol: one that lies on request, one that is killed, MLServer."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.local_reference import local_tensors
from ad_compressed_perception.backends.remote_protocol import DATATYPES
from ad_compressed_perception.onnx_graph.layers import read_onnx

pytest.importorskip("tritonclient.grpc", reason="the extra [remote] is not installed", exc_type=Exception)

import grpc

from benchmark.inference_server import Service, serve

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
Change = Callable[[Any], Any]


class LyingService(Service):
    """Answers as the model does, unless a test changes what it says.

    Attributes:
        change_answer: gets each answer before it is sent, and returns what is sent.
        change_description: the same of the model's description.
        compress: whether answers are compressed by gzip.
        released: set at the end, so that no call hangs.
        calls: number of inferences.
    """

    def __init__(self, model: Path, name: str = "model") -> None:
        super().__init__(create_backend("onnxruntime").load(model, {}), name)
        self.change_answer: Change = lambda answer: answer
        self.change_description: Change = lambda description: description
        self.released = Event()
        self.compress = False
        self.calls = 0

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.change_description(super().ModelMetadata(request, context))

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        if self.compress:
            context.set_compression(grpc.Compression.Gzip)
        return self.change_answer(super().ModelInfer(request, context))

    def stall(self, answer: Any) -> Any:
        self.released.wait(PATIENCE_S)
        return answer


class SeveralModels(Service):
    """A service with several models by name, each loaded once."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    def add(self, name: str, model: Path) -> None:
        if name not in self._services:
            self._services[name] = Service(create_backend("onnxruntime").load(model, {}), name)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._services[request.name].ModelMetadata(request, context)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._services[request.model_name].ModelInfer(request, context)


@contextmanager
def lying_server(model: Path, credentials: Any = None) -> Iterator[tuple[LyingService, str]]:
    """Serve a model in this process; yield the service and its address."""
    service = LyingService(model)
    server, port = serve(service, credentials=credentials)
    try:
        yield service, f"127.0.0.1:{port}"
    finally:
        service.released.set()
        server.stop(0).wait()


def free_port() -> int:
    """Return a port of this computer that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """benchmark/inference_server.py in a process of its own, which a test kills and starts again."""

    def __init__(self, model: Path) -> None:
        self._model, self.port = model, 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        module = "benchmark.inference_server"
        command = [sys.executable, "-m", module, str(self._model), "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server did not start"
        self.port = int(line)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


class BlackHole:
    """A way to a server that swallows everything on the connections it has, on request, and closes none.

    With ``delay_s`` each connection is slow to begin.
    """

    def __init__(self, url: str, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        host, _, port = url.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._swallowing: list[Event] = []
        self._sockets: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        return len(self._swallowing)

    def swallow(self) -> None:
        for event in self._swallowing:
            event.set()

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            time.sleep(self._delay_s)
            far, swallows = socket.create_connection(self._target), Event()
            self._sockets += [near, far]
            self._swallowing.append(swallows)
            for source, target in ((near, far), (far, near)):
                Thread(target=self._pump, args=(source, target, swallows), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, swallows: Event) -> None:
        try:
            while content := source.recv(1 << 16):
                if not swallows.is_set():
                    target.sendall(content)
        except OSError:
            return


# MLServer ------------------------------------------------------------------------------------------

_RUNTIME = """
import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class OnnxModel(MLModel):
    async def load(self):
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        feeds = {one.name: self.decode(one, default_codec=NumpyCodec) for one in payload.inputs}
        names = [one.name for one in self._session.get_outputs()]
        outputs = [NumpyCodec.encode_output(name, np.ascontiguousarray(array))
                   for name, array in zip(names, self._session.run(None, feeds))]
        return InferenceResponse(
            id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs
        )
"""


def mlserver_python() -> str:
    """Return the interpreter that has MLServer; skip the test without one."""
    given = os.environ.get("ADCP_MLSERVER_PYTHON", "")
    beside = Path(sys.prefix).with_name(f"{Path(sys.prefix).name}-mlserver") / "bin" / "python"
    for path in (given, str(beside)):
        if path and shutil.which(path):
            return path
    pytest.skip("MLServer is not installed: make setup-all, or ADCP_MLSERVER_PYTHON=its interpreter")


@contextmanager
def mlserver(folder: Path, model: Path, name: str = "detector", version: str = "v3") -> Iterator[str]:
    """Run a real MLServer that serves an ONNX file by a runtime class of its own; yield its gRPC address."""
    python = mlserver_python()
    ports = {key: free_port() for key in ("http_port", "grpc_port", "metrics_port")}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    inputs, outputs = local_tensors(read_onnx(model), model)
    described = [
        [{"name": one.name, "datatype": DATATYPES[one.dtype], "shape": list(one.shape)} for one in tensors]
        for tensors in (inputs, outputs)
    ]
    served = {
        "name": name,
        "implementation": "onnx_runtime_model.OnnxModel",
        "parameters": {"uri": str(model), "version": version},
        "inputs": described[0],
        "outputs": described[1],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(served))
    (folder / "onnx_runtime_model.py").write_text(_RUNTIME)
    log = folder / "log"
    # Nothing of this environment: the server's may have other versions of everything.
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [python, "-c", "from mlserver.cli import main; main()", "start", "."],
            cwd=folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**kept, "PYTHONPATH": str(folder)},
        )
    try:
        _wait_until_ready(process, log, ports["grpc_port"], name)
        yield f"127.0.0.1:{ports['grpc_port']}"
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, port: int, name: str) -> None:
    from tritonclient import grpc as triton

    end = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            if triton.InferenceServerClient(f"127.0.0.1:{port}").is_model_ready(name, client_timeout=1.0):
                return
        except triton.InferenceServerException:
            time.sleep(0.2)


def with_value(answer: Any, value: float, output: int = 0) -> Any:
    """Return an answer whose output has this value in one place."""
    array = np.frombuffer(answer.raw_output_contents[output], np.float32).copy()
    array[array.size // 2] = value
    answer.raw_output_contents[output] = array.tobytes()
    return answer
