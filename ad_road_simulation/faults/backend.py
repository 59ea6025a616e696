# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backend ``fault_injection``: a real runtime whose inferences fail on request."""

from __future__ import annotations

import ctypes
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.backends import Backend, BackendStatus, Session, create_backend
from ad_compressed_perception.backends.base import BackendOptions, HashingBackend, LayerTime, Tensors
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.tensors import LayerRecord
from ad_road_simulation.faults.effects import (
    Outputs,
    emptied,
    implausible,
    lengthened,
    with_infinity,
    with_nan,
)
from ad_road_simulation.faults.kinds import BACKEND, SWITCH
from ad_road_simulation.faults.log import record
from ad_road_simulation.faults.options import FaultOptions
from ad_road_simulation.faults.schedule import FaultSchedule

_CHANGED = {
    "nan": with_nan,
    "inf": with_infinity,
    "empty": emptied,
    "wrong_shape": lengthened,
    "implausible": implausible,
}
_MEBIBYTE = 1 << 20


class FaultCounts:
    """Inferences and faults by file and options, so that a reloaded model continues its schedule.

    Attributes:
        injected: faults by kind.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = Lock()
        self._next: Counter[tuple[str, str]] = Counter()
        self.injected: Counter[str] = Counter()

    def number(self, key: tuple[str, str]) -> int:
        """Return the number of the next inference of a file with these options, and count it."""
        with self._lock:
            self._next[key] += 1
            return self._next[key] - 1

    def add(self, kind: str) -> None:
        """Count a fault."""
        with self._lock:
            self.injected[kind] += 1


_counts = FaultCounts()


def injected_counts() -> Counter[str]:
    """Return how many faults of each kind this process has injected since its start."""
    return Counter(_counts.injected)


class FaultySession(Session):
    """A model in a real runtime, with faults."""

    def __init__(
        self, inner: Session, model: Path, options: FaultOptions, counts: FaultCounts = _counts
    ) -> None:
        """Bind the loaded model; its warm-up had no faults. By default the process counts them."""
        self._inner, self._options, self._counts = inner, options, counts
        self._schedule = FaultSchedule(options)
        self._key = (str(model), options.model_dump_json())
        self._log = Path(options.log) if options.log else None
        self._first: Outputs | None = None
        self._kept: list[NDArray[np.uint8]] = []
        self.info = replace(inner.info, backend=BACKEND)

    def infer(self, feeds: Tensors) -> Outputs:
        """Run the model and inject what is due; see Session.infer."""
        number = self._counts.number(self._key)
        kind = self._schedule.fault(number)
        if kind is None:
            return self._remember(self._inner.infer(feeds))
        record(self._log, number, kind, feeds)
        self._counts.add(kind)
        return self._injected(kind, number, feeds)

    def _injected(self, kind: str, number: int, feeds: Tensors) -> Outputs:
        options = self._options
        if kind == "raise":
            raise BackendError(f"{BACKEND}: injected error at inference {number}")
        if kind == "exit":
            raise SystemExit(3)
        if kind == "missing":
            return {}
        if kind == "hang":
            time.sleep(options.duration_ms * 1e-3)
        elif kind == "hang_gil":
            _sleep_holding_the_lock(options.duration_ms)
        elif kind == "memory":
            # Written to: untouched pages take no memory.
            self._kept.append(np.ones(options.memory_mb * _MEBIBYTE, np.uint8))
        start = time.perf_counter()
        outputs = self._remember(self._inner.infer(feeds))
        if kind == "slow":
            time.sleep((options.slow_factor - 1.0) * (time.perf_counter() - start))
        if kind == "constant":
            assert self._first is not None
            return {name: np.array(array) for name, array in self._first.items()}
        change = _CHANGED.get(kind)
        return change(outputs) if change else outputs

    def _remember(self, outputs: Outputs) -> Outputs:
        if self._first is None and "constant" in self._options.kind:
            self._first = {name: np.array(array) for name, array in outputs.items()}
        return outputs

    def layers(self) -> list[LayerRecord]:
        """List the layers of the executed graph."""
        return self._inner.layers()

    def profile(self, feeds: Tensors, runs: int) -> list[LayerTime]:
        """Time every layer; without faults."""
        return self._inner.profile(feeds, runs)

    def close(self) -> None:
        """Release the model and the memory that faults kept."""
        self._kept.clear()
        self._inner.close()


class FaultInjectionBackend(HashingBackend):
    """Runs files in another runtime and injects faults; only where the environment asks for it."""

    name: ClassVar[str] = BACKEND
    reads: ClassVar[tuple[str, ...]] = ()
    options_type: ClassVar[type[BackendOptions]] = FaultOptions

    @classmethod
    def status(cls) -> BackendStatus:
        """Report that it is for tests only, unless the environment asks for it."""
        enabled = os.environ.get(SWITCH) == "1"
        return BackendStatus(cls.name, available=enabled, detail=f"for tests; {SWITCH}=1 enables it")

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load a file in the inner runtime; options are those of FaultOptions.

        Raises:
            BackendError: it was not enabled, an unknown option, or what the inner runtime raises.
        """
        if not self.status().available:
            raise BackendError(f"backend {BACKEND!r} injects faults: for tests, set {SWITCH}=1")
        parsed: FaultOptions = self.parse_options(options)
        if parsed.inner == BACKEND:
            raise BackendError(f"backend {BACKEND!r}: inner is {BACKEND!r} itself")
        inner = create_backend(parsed.inner)
        time.sleep(parsed.load_ms * 1e-3)
        session = inner.load_checked(model, _inner_options(inner, parsed), sha256)
        return FaultySession(session, Path(model), parsed)


def _inner_options(inner: Backend, options: FaultOptions) -> dict[str, Any]:
    threads = {"threads": options.threads} if "threads" in inner.options_type.model_fields else {}
    return {**threads, **options.inner_options}


def _sleep_holding_the_lock(duration_ms: float) -> None:
    """Sleep without releasing the interpreter lock, as an extension module does that hangs."""
    ctypes.PyDLL(None).usleep(ctypes.c_uint(round(duration_ms * 1e3)))
