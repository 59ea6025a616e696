# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A backend of a third party in the test's process, whose outputs are those of a script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.backends import PLUGINS
from ad_compressed_perception.backends.onnxruntime_backend import OnnxRuntimeBackend
from ad_compressed_perception.core import registry

Outputs = dict[str, Any]
Act = Callable[[int, Outputs], Outputs]


class Script:
    """What the models of the backend do; the warm-up at loading is not counted.

    Attributes:
        act: gets the number of the inference (all models together, from 0) and the runtime's outputs.
        loads: models loaded.
        released: set at the end, so that no thread stays in an inference.
    """

    def __init__(self) -> None:
        self.act: Act = lambda number, outputs: outputs
        self.number = self.loads = 0
        self.released = Event()

    def hang(self, seconds: float = 10.0) -> None:
        """Do not return for so long, without the interpreter's lock."""
        self.released.wait(seconds)


_script = Script()


class ScriptedBackend(OnnxRuntimeBackend):
    """ONNX Runtime with a script."""

    name = "scripted"

    def load(self, model: Any, options: Any) -> Any:
        session = super().load(model, options)
        _script.loads += 1
        infer = session.infer

        def scripted(feeds: Any) -> Outputs:
            number, _script.number = _script.number, _script.number + 1
            return _script.act(number, dict(infer(feeds)))

        session.infer = scripted
        session.info = replace(session.info, backend=self.name)
        return session


@contextmanager
def scripted_backend(patch: pytest.MonkeyPatch) -> Iterator[Script]:
    """Make the backend ``scripted`` known, with a script that changes nothing yet."""
    global _script
    _script = Script()
    patch.setitem(PLUGINS, "scripted", "support.scripted_backend:ScriptedBackend")
    registry._targets.cache_clear()
    try:
        yield _script
    finally:
        _script.released.set()
        registry._targets.cache_clear()


def _raise(number: int, outputs: Outputs) -> Outputs:
    raise RuntimeError("the accelerator is gone")


def _exit(number: int, outputs: Outputs) -> Outputs:
    raise SystemExit(3)


def _filled(value: float) -> Act:
    return lambda number, outputs: {key: np.full_like(array, value) for key, array in outputs.items()}


def _slow(number: int, outputs: Outputs) -> Outputs:
    time.sleep(0.2)
    return outputs


FAULTS: dict[str, Act] = {
    "raises": _raise,
    "ends the thread": _exit,
    "NaN": _filled(float("nan")),
    "infinite": _filled(float("inf")),
    "empty": lambda number, outputs: {key: array[..., :0] for key, array in outputs.items()},
    "wrong shape": lambda number, outputs: {key: array[..., :-1, :-1] for key, array in outputs.items()},
    "no outputs": lambda number, outputs: {},
    "slow": _slow,
}
"""Faults on every inference; all but slow leave the frame without a result of this model."""
