# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps broken model files from ending or blocking the process that loads them.

OpenVINO never returns on some graphs that are not valid ONNX, and ends the process on others. So ONNX's
checker with shape inference, some milliseconds, comes first. What exporters are known to write against the
rules, such as nodes out of order or wrong shapes between them, may suit a runtime all the same: such a file
is loaded and run in a process of its own first, with a time limit, and only then in this one.

Usage of that trial: ``python -m ad_compressed_perception.backends.checked_load FILE BACKEND OPTIONS_JSON``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.core.one_line import one_line

TRIAL_LIMIT_S = 60.0
TRIAL = "a trial in a process of its own"
"""Start of the words on a file that ended or blocked its runtime."""
_MODULE = "ad_compressed_perception.backends.checked_load"
_IN_TRIAL = "ADCP_TRIAL_LOAD"
# Nodes out of order, other shapes or types between operators than inferred, a newer format.
_EXPORTERS_HABIT = re.compile(
    r"topologically sorted|(?:Shape|Type)InferenceError|higher than the checker|[Ii]nferred (?:shape|elem)"
)


@contextmanager
def backend_errors(backend: str, model: Path) -> Iterator[None]:
    """Turn whatever the body raises while it loads a model into a BackendError of one line."""
    try:
        yield
    except AdcpError:
        raise
    except Exception as error:  # runtimes and parsers have no common base
        raise BackendError(f"{backend} cannot load {model}: {one_line(error)}") from error


def refuse_broken(backend: str, model: Path, options: Mapping[str, Any]) -> None:
    """Raise BackendError where an ONNX file is not valid; of some kinds only where its trial fails.

    Args:
        backend: the runtime's name.
        model: the file; a missing one is left to the runtime.
        options: the backend's options, for the trial.
    """
    if _IN_TRIAL in os.environ or not model.is_file():
        return
    status = model.stat()
    wrong = _check(model, status.st_size, status.st_mtime_ns)
    if not wrong:
        return
    reason = f"{backend} cannot load {model}: not valid ONNX ({wrong})"
    if not _EXPORTERS_HABIT.search(wrong):
        raise BackendError(reason)
    failed = _try_load(model, backend, json.dumps(dict(options), sort_keys=True), status.st_mtime_ns)
    if failed:
        raise BackendError(f"{reason}, and {failed}")


def try_load(backend: str, model: Path, options: Mapping[str, Any]) -> None:
    """Load and run a file of unknown origin in a process of its own; raise BackendError where that failed.

    About a second; where it succeeds, what a broken file can do to a process has been seen.
    """
    if model.is_file():
        failed = _try_load(
            model, backend, json.dumps(dict(options), sort_keys=True), model.stat().st_mtime_ns
        )
        if failed:
            prefix = f"{backend} cannot load {model}: "
            raise BackendError(prefix + failed.removeprefix(prefix))


@lru_cache(maxsize=64)
def _check(model: Path, size: int, changed_ns: int) -> str:
    """Return why a file is not valid ONNX, or "" where it is; size and time of change are the cache's key."""
    import onnx

    try:
        onnx.checker.check_model(str(model), full_check=True)
    except Exception as error:  # the checker's, shape inference's and protobuf's own
        return one_line(error)
    return ""


@lru_cache(maxsize=64)
def _try_load(model: Path, backend: str, options: str, changed_ns: int) -> str:
    """Load and run a file in a process of its own; return what went wrong there, or ""."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", _MODULE, str(model), backend, options],
            env={**os.environ, _IN_TRIAL: "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return f"{TRIAL} did not end within {TRIAL_LIMIT_S:.0f} s"
    except OSError as error:
        return f"no process for a trial could be started: {error.strerror or error}"
    if done.returncode < 0:
        return f"{TRIAL} ended by {signal.Signals(-done.returncode).name}"
    lines = done.stdout.splitlines()
    return "" if done.returncode == 0 else one_line(lines[-1] if lines else f"status {done.returncode}")


def main(arguments: list[str]) -> int:
    """Load a file and run it on zeros; print why that failed, and return 1 where it did."""
    from ad_compressed_perception.backends import create_backend
    from ad_compressed_perception.backends.base import zero_feeds

    try:
        session = create_backend(arguments[1]).load(Path(arguments[0]), json.loads(arguments[2]))
        if all(size is not None for spec in session.info.inputs for size in spec.shape[1:]):
            session.infer(zero_feeds(session.info.inputs))
    except AdcpError as error:
        print(one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
