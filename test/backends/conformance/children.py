# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What could end a process, or needs a fresh one, and runs in one of its own.

Usage: ``python -m conformance.children blocked|broken|damaged|exchanged ARGUMENTS``; prints one document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

LIMIT_S = 250


def run_child(kind: str, *arguments: object) -> Any:
    """Return what a child printed; fail where it ended by a signal or with an error."""
    command = [sys.executable, "-m", "conformance.children", kind, *map(str, arguments)]
    folders = [str(Path(__file__).resolve().parents[1]), *filter(None, sys.path)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        check=False,
    )
    assert done.returncode == 0, f"the process ended with status {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


class _Blocker(MetaPathFinder):
    def __init__(self, blocked: Sequence[str], *, broken: bool = False) -> None:
        self._blocked, self._broken = set(blocked), broken

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in self._blocked:
            if self._broken:
                raise OSError("libmissing.so.12: cannot open shared object file")
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def blocked(backend: str, file: str, *modules: str) -> dict[str, Any]:
    """Ask a backend for its status and for a session where its runtime cannot be imported."""
    sys.meta_path.insert(0, _Blocker(modules))
    from ad_compressed_perception.backends import create_backend
    from ad_compressed_perception.backends.choose_variant import missing_runtime
    from ad_compressed_perception.core.errors import BackendError

    found = create_backend(backend)
    status = found.status()
    try:
        found.load(Path(file), {})
        refused = ""
    except BackendError as error:
        refused = str(error)
    return {
        "available": status.available,
        "detail": status.detail,
        "refused": refused,
        "missing": missing_runtime(backend),
    }


def broken(backend: str, file: str, *modules: str) -> dict[str, Any]:
    """Ask likewise where the runtime is installed and one of its libraries is not there."""
    sys.meta_path.insert(0, _Blocker(modules, broken=True))
    return blocked(backend, file)


def damaged(backend: str, *files: str) -> dict[str, str]:
    """Return, for each file, in how many words a backend refuses it; "" where it loads and runs."""
    from ad_compressed_perception.backends import create_backend
    from ad_compressed_perception.backends.base import zero_feeds
    from ad_compressed_perception.core.errors import AdcpError

    found = create_backend(backend)
    results = {}
    for file in files:
        try:
            session = found.load(Path(file), {})
            session.infer(zero_feeds(session.info.inputs))
            session.close()
            results[file] = ""
        except AdcpError as error:
            results[file] = str(error)
    return results


def exchanged(backend: str, file: str) -> bool:
    """Return whether a session computes the same after its file was cut to nothing under it."""
    import numpy as np

    from ad_compressed_perception.backends import create_backend

    session = create_backend(backend).load(Path(file), {})
    feeds = {
        spec.name: np.full([size or 1 for size in spec.shape], 0.5, spec.dtype)
        for spec in session.info.inputs
    }
    before = session.infer(feeds)
    os.truncate(file, 0)
    after = session.infer(feeds)
    return all(bool(np.array_equal(before[name], after[name])) for name in before)


if __name__ == "__main__":
    kinds = {"blocked": blocked, "broken": broken, "damaged": damaged, "exchanged": exchanged}
    print(json.dumps(kinds[sys.argv[1]](*sys.argv[2:])))
