# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ExecuTorch: runs .pte programs on the CPU, products in XNNPACK where the file says so.

ExecuTorch has one pool of threads for the process, which cannot change while a program that uses it is
loaded: all programs that are open at the same time have the same number of threads. Its Python runtime needs
torch.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.backends.base import (
    BackendOptions,
    BackendStatus,
    HashingBackend,
    Session,
    SessionInfo,
    Tensors,
    executed_precision,
)
from ad_compressed_perception.backends.checked_load import backend_errors
from ad_compressed_perception.backends.executorch_program import XNNPACK, read_program
from ad_compressed_perception.backends.feeds import check_feeds, refuse_nan, warm_up
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord

SUFFIX = ".pte"
_pool_lock = threading.Lock()
_sessions: weakref.WeakSet[ExecuTorchSession] = weakref.WeakSet()


class ExecuTorchOptions(BackendOptions):
    """Options of the backend ``executorch``."""

    threads: int = Field(
        1, ge=1, le=1024, description="inside one operator; the same for all programs that are open at once"
    )
    warmup_runs: int = Field(3, ge=0, le=1000, description="runs on zeros before the first frame")


class ExecuTorchSession(Session):
    """A program in ExecuTorch."""

    def __init__(self, runtime: Any, model: Path, options: ExecuTorchOptions, sha256: str | None) -> None:
        """Load and warm up; raise BackendError where the file cannot be used."""
        self._model = model
        self._method: Any = None
        self._program: Any = None
        try:
            self._open(runtime, options, sha256)
        except BaseException:
            self.close()
            raise

    def _open(self, runtime: Any, options: ExecuTorchOptions, sha256: str | None) -> None:
        import torch

        self._torch, model = torch, self._model
        start = perf_counter()
        content = read_checked(model, sha256, BackendError)
        facts = read_program(content, model)
        registry = runtime.Runtime.get().backend_registry
        missing = [name for name in facts.delegates if not registry.is_available(name)]
        if missing:
            raise BackendError(f"{model} needs {', '.join(missing)}, which this build of ExecuTorch has not")
        with _pool_lock:
            _set_threads(options.threads)
            _sessions.add(self)
        # Program and method live as long as the session: the runtime refers to their memory.
        self._program = runtime.Runtime.get().load_program(content)
        self._method = self._program.load_method(facts.method)
        load_ms = (perf_counter() - start) * 1e3
        self._inputs, self._outputs, self._layers = facts.inputs, facts.outputs, facts.layers
        precision, coverage = executed_precision(self._layers, fallback=_fallback(self._layers))
        warmup_ms = warm_up(self, self._inputs, options.warmup_runs)
        provider = "XNNPACK" if XNNPACK in facts.delegates else "CPU"
        self.info = SessionInfo(
            backend=ExecuTorchBackend.name,
            version=_version(),
            requested_provider=provider,
            provider=provider,
            precision=precision,
            threads=options.threads,
            integer_coverage=coverage,
            load_ms=load_ms,
            warmup_ms=warmup_ms,
            inputs=self._inputs,
            outputs=self._outputs,
        )

    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run the program; see Session.infer. Outputs are copied out of its memory."""
        check_feeds(self._inputs, feeds)
        torch = self._torch
        arrays = [feeds[spec.name] for spec in self._inputs]
        # XNNPACK limits ranges with a minimum and a maximum.
        refuse_nan("executorch", feeds, "a number")
        try:
            contiguous = [x if x.flags.c_contiguous and x.flags.writeable else x.copy("C") for x in arrays]
            results = self._method.execute([torch.from_numpy(x) for x in contiguous])
            return {
                spec.name: value.detach().numpy() for spec, value in zip(self._outputs, results, strict=True)
            }
        except Exception as error:
            raise BackendError(f"executorch failed on {self._model.name}: {one_line(error)}") from error

    def layers(self) -> list[LayerRecord]:
        """List the program's operators, those inside XNNPACK's part one by one."""
        return list(self._layers)

    def close(self) -> None:
        """Release the program."""
        self._method = self._program = None
        with _pool_lock:
            _sessions.discard(self)


class ExecuTorchBackend(HashingBackend):
    """Runs .pte files in ExecuTorch."""

    name: ClassVar[str] = "executorch"
    distribution: ClassVar[str] = "executorch"
    reads: ClassVar[tuple[str, ...]] = (SUFFIX,)
    options_type: ClassVar[type[BackendOptions]] = ExecuTorchOptions

    @classmethod
    def status(cls) -> BackendStatus:
        """Report whether ExecuTorch is installed, and its runtimes."""
        try:
            runtime = _import_runtime()
        except BackendError as error:
            return BackendStatus(cls.name, available=False, detail=str(error))
        found = tuple(runtime.Runtime.get().backend_registry.registered_backend_names)
        return BackendStatus(cls.name, available=True, version=_version(), providers=found)

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load and warm up a .pte file; options are those of ExecuTorchOptions.

        Raises:
            BackendError: ExecuTorch is missing; an unknown option or value; another number of threads than
                that of the programs that are open; the file is missing, no .pte file, damaged, or needs
                what this build has not.
            ModelFileError: see HashingBackend.
        """
        parsed = self.parse_options(options)
        with backend_errors(self.name, Path(model)):
            return ExecuTorchSession(_import_runtime(), Path(model), parsed, sha256)


def _set_threads(count: int) -> None:
    """Give the process's pool a number of threads; raise BackendError while a program uses another one."""
    from executorch.extension.pybindings import portable_lib

    present = int(portable_lib._threadpool_get_thread_count())
    if present == count:
        return
    if len(_sessions):
        raise BackendError(
            f"ExecuTorch has one pool of threads in a process, of {present} while other programs are open: "
            f"give all of them threads: {count}, or run them in processes of their own"
        )
    portable_lib._unsafe_reset_threadpool(count)


def _fallback(layers: list[LayerRecord]) -> str:
    """Return the precision of a program without known products: that of all its operators, or unknown."""
    kinds = {layer.precision for layer in layers}
    return kinds.pop() if len(kinds) == 1 else "unknown"


def _import_runtime() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the interface is experimental
            from executorch import runtime
    except Exception as error:  # also a library that lacks or does not fit
        raise BackendError(
            f"backend 'executorch' needs the extra [executorch]: pip install executorch ({one_line(error)})"
        ) from error
    return runtime


def _version() -> str:
    try:
        return version("executorch")
    except PackageNotFoundError:
        return "unknown"
