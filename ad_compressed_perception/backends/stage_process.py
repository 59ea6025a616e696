# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A stage in a process of its own: a session whose tensors go through memory that both processes map.

The memory is a file without a name (memfd_create), so nothing of it can be left behind, however the processes
end. The stage's process ends by itself once this one has ended.

Usage: ``python -m ad_compressed_perception.backends.stage_process PIPE_FD MEMORY_FD REQUEST_JSON``.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Thread
from time import sleep
from typing import Any

import numpy as np

from ad_compressed_perception.backends.base import Outputs, Session, Tensors
from ad_compressed_perception.backends.feeds import check_feeds
from ad_compressed_perception.backends.stage_file import StageTensor
from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.tensors import LayerRecord

_MODULE = "ad_compressed_perception.backends.stage_process"
_ALIGNMENT = 64
_END_LIMIT_S = 1.0
_PARENT_PERIOD_S = 1.0


class SharedTensors:
    """Arrays of given shapes in memory that two processes map."""

    def __init__(self, tensors: Sequence[StageTensor], memory: int | None = None) -> None:
        """Map the file of this descriptor; None: make one of the size that the tensors need."""
        places, size = [], 0
        for tensor in tensors:
            places.append(size)
            size += -(-tensor.bytes // _ALIGNMENT) * _ALIGNMENT
        size = max(size, _ALIGNMENT)
        self.memory = os.memfd_create("adcp-stage") if memory is None else memory
        try:
            if memory is None:
                os.ftruncate(self.memory, size)
            mapped = mmap.mmap(self.memory, size)
        except OSError:
            os.close(self.memory)
            raise
        self.arrays: Outputs = {
            tensor.name: np.ndarray(tensor.shape, tensor.dtype, mapped, place)
            for tensor, place in zip(tensors, places, strict=True)
        }

    def close(self) -> None:
        """Release it; the memory is freed once nothing refers to its arrays."""
        self.arrays = {}
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1


@dataclass(frozen=True)
class StageRequest:
    """What the process of a stage is to load, and how long it may take; see Backend.load_checked."""

    model: Path
    backend: str
    options: Mapping[str, Any]
    sha256: str
    inputs: Sequence[StageTensor]
    outputs: Sequence[StageTensor]

    def to_json(self) -> str:
        """Return the text that the process reads."""
        values = {**vars(self), "model": str(self.model), "options": dict(self.options)}
        values |= {key: [one.model_dump() for one in values[key]] for key in ("inputs", "outputs")}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> StageRequest:
        """Read what to_json wrote."""
        values = json.loads(text)
        values |= {key: [StageTensor(**one) for one in values[key]] for key in ("inputs", "outputs")}
        return cls(**{**values, "model": Path(values["model"])})


class ProcessSession(Session):
    """A stage that another process runs."""

    def __init__(self, request: StageRequest, timeout_s: float, load_timeout_s: float) -> None:
        """Start the process and wait until it has loaded.

        Args:
            request: what it loads.
            timeout_s: of an inference, after which the process is killed; 0: none.
            load_timeout_s: the same of loading.

        Raises:
            BackendError: it cannot load the stage, ended meanwhile or took too long.
        """
        self._request, self._timeout_s = request, timeout_s
        self._asking = Lock()  # another thread may list the layers while a frame is in work
        self._process: subprocess.Popen[bytes] | None = None
        with ExitStack() as undo:
            undo.callback(self.stop)
            try:
                self._pipe, theirs = Pipe()
                undo.callback(self._pipe.close)
                with theirs:
                    self._shared = SharedTensors([*request.inputs, *request.outputs])
                    undo.callback(self._shared.close)
                    handles = (theirs.fileno(), self._shared.memory)
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", _MODULE, *map(str, handles), request.to_json()],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        pass_fds=handles,
                        start_new_session=True,  # Ctrl-C is for this process, which ends the other one
                    )
            except OSError as error:
                raise BackendError(f"no process could be started: {error.strerror or error}") from error
            self.info = self._answer(load_timeout_s)
            undo.pop_all()

    def infer(self, feeds: Tensors) -> Outputs:
        """Run the stage; see Session.infer."""
        check_feeds(self.info.inputs, feeds)
        arrays = self._shared.arrays
        for tensor in self._request.inputs:
            if feeds[tensor.name].shape != tuple(tensor.shape):
                raise BackendError(f"input {tensor.name!r} must have the shape {tensor.shape}")
            arrays[tensor.name][...] = feeds[tensor.name]
        self._ask("infer", self._timeout_s)
        return {tensor.name: arrays[tensor.name].copy() for tensor in self._request.outputs}

    def layers(self) -> list[LayerRecord]:
        """List the layers of the executed graph; see Session.layers."""
        layers: list[LayerRecord] = self._ask("layers", self._timeout_s)
        return layers

    def close(self) -> None:
        """End the process and release the memory."""
        self.stop()
        self._pipe.close()
        self._shared.close()

    def stop(self) -> None:
        """End the process, at once where it is in an inference."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ask(self, what: str, timeout_s: float) -> Any:
        with self._asking:
            try:
                self._pipe.send(what)
            except (OSError, ValueError) as error:
                raise self._ended() from error
            return self._answer(timeout_s)

    def _answer(self, timeout_s: float) -> Any:
        try:
            if not self._pipe.poll(timeout_s or None):
                self.stop()
                raise BackendError(f"its process did not answer within {timeout_s:g} s, and was ended")
            failure, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if failure:
            raise BackendError(failure)
        return answer

    def _ended(self) -> BackendError:
        process = self._process
        if process is None:
            return BackendError("it has no process")
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_LIMIT_S)
        return BackendError(f"its process ended (status {process.returncode}): load the model again")


def main(arguments: list[str]) -> int:
    """Load a stage, and run it as often as the other process asks."""
    from ad_compressed_perception.backends import create_backend

    Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    pipe, request = Connection(int(arguments[0])), StageRequest.from_json(arguments[2])
    shared = SharedTensors([*request.inputs, *request.outputs], int(arguments[1]))
    try:
        backend = create_backend(request.backend)
        session = backend.load_checked(request.model, request.options, request.sha256)
    except Exception as error:
        pipe.send((describe_error(error), None))
        return 1
    pipe.send(("", session.info))
    feeds = {tensor.name: shared.arrays[tensor.name] for tensor in request.inputs}
    while True:
        try:
            asked = pipe.recv()
        except (EOFError, OSError):  # the other process closed the stage, or ended
            return 0
        layers: list[LayerRecord] = []
        try:
            if asked == "layers":
                layers = session.layers()
            else:
                _infer(session, feeds, shared, request.outputs)
        except Exception as error:
            pipe.send((describe_error(error), None))
        else:
            pipe.send(("", layers))


def _infer(session: Session, feeds: Tensors, shared: SharedTensors, outputs: Sequence[StageTensor]) -> None:
    results = session.infer(feeds)
    for tensor in outputs:
        result = results.get(tensor.name)
        if result is None or result.shape != tuple(tensor.shape) or str(result.dtype) != tensor.dtype:
            found = "nothing" if result is None else f"{result.dtype}{list(result.shape)}"
            raise AdcpError(f"output {tensor.name!r} must be {tensor.dtype}{tensor.shape}, it is {found}")
        shared.arrays[tensor.name][...] = result


def _end_with_parent(parent: int) -> None:
    """End this process where the other one was killed while the runtime is in an inference."""
    while os.getppid() == parent:
        sleep(_PARENT_PERIOD_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
