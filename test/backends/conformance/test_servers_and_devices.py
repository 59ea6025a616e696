# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The conformance suite on backends that need more than a file: a server, and a stand-in of TensorRT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import BackendError
from conformance.suite import BackendConformance
from conformance.table import Lack


class _Elsewhere(BackendConformance):
    """Where no thread of this process computes, and a child process finds no server or device."""

    def test_threads(self, threads: int = 0) -> None:
        pytest.skip("no thread of this process computes")

    def test_threads_of_two_sessions(self) -> None:
        pytest.skip("no thread of this process computes")

    def test_a_file_may_change_under_an_open_session(self) -> None:
        pytest.skip("the file is read once, at loading")

    def test_damaged_files_are_refused_in_one_line(self) -> None:
        """In this process: the runtime that would end with it is elsewhere."""
        whole = self.file("plain")
        data = whole.read_bytes()
        damaged = [data[: len(data) * share // 100] for share in (0, 25, 50, 90)]
        damaged += [np.random.default_rng(0).bytes(5000), b"no model " * 50, None]
        for number, content in enumerate(damaged):
            file: Path = self.folder / f"damaged{number}.onnx"  # type: ignore[attr-defined]
            if content is not None:
                file.write_bytes(content)
            with pytest.raises(BackendError) as refused:
                create_backend(self.backend_name).load(file, dict(self.options))
            assert "\n" not in str(refused.value)
            assert file.name in str(refused.value)


class TestRemote(_Elsewhere):
    backend_name = "remote"
    runtime_module = "tritonclient"
    lacks = {
        "information": Lack("no server says in what precision it computes", "^unknown"),
        "layers": Lack("no server says what it executes", "not known"),
    }

    @pytest.fixture(autouse=True, scope="class")
    def _server(self, request: pytest.FixtureRequest) -> Iterator[None]:
        from support.inference_servers import SeveralModels, serve  # skips without tritonclient

        request.cls.models = SeveralModels()
        server, request.cls.port = serve(request.cls.models)
        yield
        server.stop(0).wait()

    def test_reopening_does_not_grow(self) -> None:
        pytest.skip("the server is in this process, with sockets of its own: see test_remote_backend.py")

    def file(self, kind: str) -> Path:
        path = super().file(kind)
        self.models.add(kind, path)  # type: ignore[attr-defined]
        self.options = {  # type: ignore[misc]
            "url": f"127.0.0.1:{self.port}",  # type: ignore[attr-defined]
            "model_name": kind,
            "deadline_ms": 60_000.0,
        }
        return path


class TestTensorRtStandIn(_Elsewhere):
    backend_name = "tensorrt"
    runtime_module = "tensorrt"
    options = {"max_batch": 4}

    @pytest.fixture(autouse=True)
    def _device(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
        from support.tensorrt_stand_in import Device, install

        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        install(monkeypatch, Device())
