# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model on a server: the Open Inference Protocol (KServe v2) of Triton, MLServer and others, over gRPC.

The local ONNX file of the same model gives shapes, hash and labels; the server's description is compared with
it, and its answer to one image of noise with that of ONNX Runtime on this computer. Every failure is raised
at once, so that the guard answers the same frame by a local model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import Field, field_validator

from ad_compressed_perception.backends.base import (
    UNKNOWN,
    BackendOptions,
    BackendStatus,
    HashingBackend,
    Session,
    SessionInfo,
    Tensors,
)
from ad_compressed_perception.backends.checked_load import backend_errors
from ad_compressed_perception.backends.feeds import check_feeds, warm_up
from ad_compressed_perception.backends.local_reference import Reference, local_tensors
from ad_compressed_perception.backends.remote_channel import RemoteChannel, UnreachableError, import_client
from ad_compressed_perception.backends.remote_protocol import (
    agreed_tensors,
    fill_request,
    message_bytes,
    read_answer,
    refuse_unknown_types,
)
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord
from ad_compressed_perception.onnx_graph.layers import read_onnx
from ad_compressed_perception.packing.decompress import decompress

_LOGGER = logging.getLogger(__name__)
_MESSAGE_OVERHEAD = 4096


class RemoteOptions(BackendOptions):
    """Options of the backend ``remote``."""

    url: str = Field(
        pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$",
        description="server's gRPC address, host:port, such as lab-pc:8001",
    )
    model_name: str = Field(min_length=1, description="of the model on the server")
    model_version: str = Field("", description="of the model on the server; empty: the server's choice")
    deadline_ms: float = Field(
        200.0, gt=0.0, le=600_000.0, description="time in which an answer must be here, else the frame fails"
    )
    load_deadline_ms: float = Field(
        10_000.0, gt=0.0, le=600_000.0, description="the same for the calls that are made at loading"
    )
    max_bytes: int = Field(
        64 << 20, ge=1024, le=(1 << 31) - 1, description="largest message in either direction, decompressed"
    )
    tls: bool = Field(False, description="encrypt, and check the server's certificate")
    tls_root_certificate: str | None = Field(
        None, description="PEM file of the authority that signed the server's; default: those of gRPC"
    )
    tls_client_key: str | None = Field(None, description="PEM file, for servers that check their clients")
    tls_client_certificate: str | None = Field(None, description="PEM file that belongs to tls_client_key")
    allow_plaintext: bool = Field(
        False, description="send images unencrypted to another computer than this one"
    )
    min_cosine: float = Field(
        0.99,
        ge=0.0,
        le=1.0,
        description="least concordance of each output with that of the local file on noise: the cosine, or "
        "less where scale or mean differ; 0: not compared",
    )
    must_answer: bool = Field(
        True,
        description="refuse to load while the server does not answer; false: frames fail until it does, and "
        "it is compared with the local file then",
    )
    threads: int = Field(0, ge=0, le=1024, description="of no effect: the server decides")
    warmup_runs: int = Field(3, ge=0, le=1000, description="runs on zeros before the first frame")

    @field_validator("url")
    @classmethod
    def _has_a_port(cls, url: str) -> str:
        port = int(url.rpartition(":")[2])
        if not 0 < port < 1 << 16:  # gRPC takes the lowest 16 bits, another port
            raise ValueError(f"{port} is no port: 1 to 65535")
        return url


class RemoteSession(Session):
    """A model on a server."""

    def __init__(self, model: Path, options: RemoteOptions, sha256: str | None) -> None:
        """Compare the server with the local file and warm up; raise BackendError where they differ."""
        self._options = options
        self._server = f"{options.url}/{options.model_name}"
        if options.model_version:
            self._server += f"/{options.model_version}"
        start = perf_counter()
        self._inputs, self._outputs = local_tensors(
            read_onnx(model, read_checked(model, sha256, BackendError)), model
        )
        refuse_unknown_types((*self._inputs, *self._outputs), model.name)
        needed = max(message_bytes(self._inputs), message_bytes(self._outputs)) + _MESSAGE_OVERHEAD
        if needed > options.max_bytes:
            raise BackendError(f"remote: {model.name} needs messages of {needed} bytes: raise max_bytes")
        self._reference = Reference.make(model, sha256, self._inputs) if options.min_cosine else None
        self._channel = RemoteChannel(options, model.parent)
        self._version = options.model_version
        self._is_compared = self._is_closed = False
        self._calls = 0
        self._deadline_s = options.load_deadline_ms * 1e-3  # a server's first run takes longer
        warmup_ms = load_ms = 0.0
        try:
            self._compare(self._deadline_s)
            load_ms = (perf_counter() - start) * 1e3
            warmup_ms = warm_up(self, self._inputs, options.warmup_runs)
        except BackendError as error:
            if options.must_answer or not isinstance(error, UnreachableError):
                self.close()
                raise BackendError(f"remote cannot load {self._server}: {error}") from error
            _LOGGER.warning("%s does not answer yet: %s", self._server, error)
        except BaseException:
            self.close()
            raise
        self._deadline_s = options.deadline_ms * 1e-3
        self.info = SessionInfo(
            backend=RemoteBackend.name,
            version=version("tritonclient"),
            requested_provider=self._server,
            provider=self._server,
            precision=UNKNOWN,
            threads=0,
            integer_coverage=None,
            load_ms=load_ms,
            warmup_ms=warmup_ms,
            inputs=self._inputs,
            outputs=self._outputs,
        )

    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run the model on the server; see Session.infer.

        After a failure, or on another connection, the server is compared with the local file again, since
        another one may have taken its place: that has as much time as a frame.

        Raises:
            BackendError: not answered in time, the connection is lost, or an answer that is not this model's.
        """
        check_feeds(self._inputs, feeds)
        if self._is_closed:
            raise BackendError(f"remote: the session of {self._server} is closed")
        try:
            if not (self._is_compared and self._channel.is_connected()):
                self._compare(self._deadline_s)
            return self._infer(feeds, self._deadline_s)
        except BackendError as error:
            self._is_compared = False
            raise type(error)(f"remote failed on {self._server}: {error}") from error

    def _infer(self, feeds: Tensors, deadline_s: float) -> dict[str, NDArray[Any]]:
        options = self._options
        request = self._channel.messages.ModelInferRequest(
            model_name=options.model_name, model_version=options.model_version, id=str(self._calls)
        )
        self._calls += 1
        fill_request(request, self._inputs, feeds)
        for spec in self._outputs:
            request.outputs.add(name=spec.name)
        response = self._channel.call("ModelInfer", request, deadline_s)
        if response.id not in ("", request.id):  # most servers repeat it
            raise BackendError(f"it answered the request {one_line(response.id)}, not {request.id}")
        if response.model_name != options.model_name:
            raise BackendError(f"it answered for the model {response.model_name!r}")
        if response.model_version != self._version:
            if self._version:
                raise BackendError(
                    f"it answered with version {response.model_version!r}, not {self._version!r}"
                )
            self._version = response.model_version
        return read_answer(response, self._outputs, "it")

    def _compare(self, deadline_s: float) -> None:
        """Compare the server's model with the local file, within the time; raise BackendError."""
        end_s = perf_counter() + deadline_s
        options, messages = self._options, self._channel.messages
        about = self._channel.call("ServerMetadata", messages.ServerMetadataRequest(), deadline_s)
        request = messages.ModelMetadataRequest(name=options.model_name, version=options.model_version)
        found = self._channel.call("ModelMetadata", request, _left_s(end_s))
        self._inputs = agreed_tensors("input", self._inputs, found.inputs, "it")
        self._outputs = agreed_tensors("output", self._outputs, found.outputs, "it")
        if not options.model_version:
            self._version = ""  # it may serve another one by now; whether that is the same model is seen next
        if self._reference is not None:
            outputs = self._infer(self._reference.feeds, _left_s(end_s))
            self._reference.refuse_other(outputs, options.min_cosine)
        self._is_compared = True
        _LOGGER.info("%s is served by %s", self._server, one_line(f"{about.name} {about.version}"))

    def layers(self) -> list[LayerRecord]:
        """Raise BackendError: no server of this protocol says what it executes."""
        raise BackendError(f"remote: the layers that {self._server} executes are not known")

    def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        self._channel.close()


class RemoteBackend(HashingBackend):
    """Runs models on a server."""

    name: ClassVar[str] = "remote"
    distribution: ClassVar[str] = "tritonclient[grpc]"
    reads: ClassVar[tuple[str, ...]] = (".onnx", ".adcpz")
    options_type: ClassVar[type[BackendOptions]] = RemoteOptions

    @classmethod
    def status(cls) -> BackendStatus:
        """Report whether tritonclient is installed; no server is asked."""
        try:
            import_client()
        except BackendError as error:
            return BackendStatus(cls.name, available=False, detail=str(error))
        return BackendStatus(
            cls.name,
            available=True,
            version=version("tritonclient"),
            providers=("gRPC",),
            detail="needs the options url and model_name",
        )

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Compare a server's model with a local ONNX file; options are those of RemoteOptions.

        Raises:
            BackendError: tritonclient is missing; an unknown option or value; the file is missing or no ONNX;
                the server does not answer, or what it serves has other tensors, or answers otherwise.
        """
        parsed: RemoteOptions = self.parse_options(options)
        path = decompress(Path(model), sha256)
        with backend_errors(self.name, path):
            return RemoteSession(path, parsed, sha256 if path == Path(model) else None)


def _left_s(end_s: float) -> float:
    """Return the seconds left, at least one millisecond: gRPC refuses deadlines that are over as an error."""
    return max(1e-3, end_s - perf_counter())
