# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of a server of the Open Inference Protocol over gRPC, each with a deadline and without retries."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, Protocol

from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import is_this_computer
from ad_compressed_perception.core.one_line import one_line

_SILENT_CALLS = 3
"""Calls in a row without an answer after which the connection is replaced: it may lead nowhere any more."""


class ChannelOptions(Protocol):
    """What a channel is opened with; see RemoteOptions."""

    url: str
    max_bytes: int
    tls: bool
    tls_root_certificate: str | None
    tls_client_key: str | None
    tls_client_certificate: str | None
    allow_plaintext: bool


class UnreachableError(BackendError):
    """The server did not answer: no connection, a lost one, or not in time."""


class RemoteChannel:
    """A connection to one server. One thread at a time.

    gRPC would wait up to two minutes before it connects again; here it is a second at most. Nothing is
    retried: a camera's next frame is worth more than an old one.
    """

    def __init__(self, options: ChannelOptions, folder: Path) -> None:
        """Prepare; the first call connects.

        Args:
            options: address, sizes and certificates.
            folder: of relative names of certificates.

        Raises:
            BackendError: tritonclient is missing, a certificate cannot be read, or the connection would leave
                this computer without TLS.
        """
        self._grpc, self.messages, self._services = import_client()
        self._options, self._folder = options, folder
        self._credentials = self._read_credentials()
        self._channel: Any = None
        self._stub: Any = None
        self._silent = 0

    def _read_credentials(self) -> Any:
        options = self._options
        names = ("tls_root_certificate", "tls_client_key", "tls_client_certificate")
        if not options.tls:
            given = [name for name in names if getattr(options, name) is not None]
            if given:
                raise BackendError(f"remote: {given[0]} needs tls: true")
            if not is_this_computer(options.url) and not options.allow_plaintext:
                raise BackendError(
                    f"remote: images would go to {options.url} unencrypted, to a server that nobody checked: "
                    "set tls: true, or allow_plaintext: true in a network of your own"
                )
            return None
        root, key, certificate = (self._read(name) for name in names)
        if (key is None) != (certificate is None):
            raise BackendError("remote: tls_client_key and tls_client_certificate belong together")
        self._refuse_broken_files(root)
        return self._grpc.ssl_channel_credentials(root, key, certificate)

    def _refuse_broken_files(self, root: bytes | None) -> None:
        """Raise BackendError where gRPC could not use a file, which it says of a server that it cannot reach.

        Of an empty file of authorities it says nothing, and takes the public ones.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        name = "tls_root_certificate"
        try:
            if root is not None:
                context.load_verify_locations(cadata=root.decode("ascii"))
            name = "tls_client_certificate"
            if (certificate := self._path(name)) is not None:
                context.load_cert_chain(certificate, self._path("tls_client_key"), password="")
        except (ValueError, OSError) as error:  # SSLError is an OSError
            raise BackendError(
                f"remote: {name}: {self._path(name)} holds no usable certificate in PEM format, or not that "
                f"of its key: {one_line(error)}"
            ) from error

    def _path(self, name: str) -> Path | None:
        value = getattr(self._options, name)
        return None if value is None else self._folder / Path(value).expanduser()

    def _read(self, name: str) -> bytes | None:
        path = self._path(name)
        if path is None:
            return None
        try:
            return path.read_bytes()
        except OSError as error:
            raise BackendError(f"remote: {name}: cannot read {path}: {error.strerror or error}") from error

    def _open(self) -> Any:
        if self._stub is not None:
            return self._stub
        options = [
            ("grpc.max_send_message_length", self._options.max_bytes),
            ("grpc.max_receive_message_length", self._options.max_bytes),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            # How long an attempt to connect may take, with TLS and on a busy computer.
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # One that leads nowhere would be shared with the channel that replaces it.
            ("grpc.use_local_subchannel_pool", 1),
            # Nobody between: by default the environment may name a proxy, and DNS a configuration.
            ("grpc.enable_http_proxy", 0),
            ("grpc.service_config_disable_resolution", 1),
        ]
        url = f"dns:///{self._options.url}"
        if self._credentials is None:
            self._channel = self._grpc.insecure_channel(url, options)
        else:
            self._channel = self._grpc.secure_channel(url, self._credentials, options)
        self._stub = self._services.GRPCInferenceServiceStub(self._channel)
        return self._stub

    def is_connected(self) -> bool:
        """Return whether the connection of the last call stands; behind the next one may be another server.

        gRPC connects again by itself, and its public interface does not say so before a call.
        """
        if self._channel is None:
            return False
        state = self._channel._channel.check_connectivity_state(False)
        return bool(state == self._grpc.ChannelConnectivity.READY.value[0])

    def call(self, method: str, request: Any, deadline_s: float) -> Any:
        """Return a method's answer.

        Raises:
            UnreachableError: no connection, or no answer within the time.
            BackendError: the server refused, or the message exceeds max_bytes.
        """
        try:
            response = getattr(self._open(), method)(request, timeout=deadline_s)
        except self._grpc.RpcError as error:
            raise self._error(error, deadline_s) from error
        self._silent = 0
        return response

    def _error(self, error: Any, deadline_s: float) -> BackendError:
        codes, code, where = self._grpc.StatusCode, error.code(), self._options.url
        if code == codes.DEADLINE_EXCEEDED:
            self._silent += 1
            if self._silent >= _SILENT_CALLS:
                self.close()
            return UnreachableError(f"{where} did not answer within {deadline_s * 1e3:.0f} ms")
        self._silent = 0
        text = one_line(str(error.details() or code.name))
        if code == codes.UNAVAILABLE:
            return UnreachableError(f"{where} cannot be reached, or the connection was lost: {text}")
        if code == codes.RESOURCE_EXHAUSTED:
            return BackendError(f"{where}: {text}; max_bytes is {self._options.max_bytes}")
        return BackendError(f"{where} answered with {code.name}: {text}")

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        channel, self._channel, self._stub, self._silent = self._channel, None, None, 0
        if channel is not None:
            channel.close()


def import_client() -> tuple[Any, Any, Any]:
    """Return the modules grpc, and the protocol's messages and services; raise BackendError without them."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors come as exceptions; its log is on stderr
    try:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc
    except TypeError as error:  # generated messages of another protobuf
        raise BackendError(f"tritonclient does not fit the installed protobuf: {one_line(error)}") from error
    except Exception as error:  # also a library that lacks or does not fit
        raise BackendError(f"backend 'remote' needs the extra [remote]: {one_line(error)}") from error
    return grpc, service_pb2, service_pb2_grpc
