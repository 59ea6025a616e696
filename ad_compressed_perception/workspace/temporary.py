# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hidden and temporary paths of this process, which end with it; what killed processes left is removed."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_of_process: dict[str, tuple[int, Path]] = {}


def remove_stale_files(folder: Path, prefix: str, unchanged_s: float = 0.0) -> None:
    """Remove what is called ``PREFIX<process number>-...`` in ``folder`` and whose process no longer runs.

    Processes of other containers are not seen: what they may be writing has changed within ``unchanged_s``.
    """
    for path in folder.glob(f"{prefix}*"):
        number = path.name[len(prefix) :].partition("-")[0]
        with contextlib.suppress(OSError):  # removed by another process meanwhile
            is_old = time.time() - path.stat().st_mtime >= unchanged_s
            if number.isdecimal() and is_old and not _is_running(int(number)):
                _remove(path)


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder ``PREFIX<process number>-...`` in ``parent`` for unfinished files, and remove it."""
    remove_stale_files(parent, prefix)
    path = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
    try:
        yield path
    finally:
        _remove(path)


def process_folder(prefix: str) -> Path:
    """Return this process's folder of a prefix in ``TMPDIR``, removed at its end; a fork makes its own."""
    owner, folder = _of_process.get(prefix, (0, Path()))
    if owner != os.getpid() or not folder.is_dir():
        owner, root = os.getpid(), Path(tempfile.gettempdir())
        remove_stale_files(root, prefix)
        folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{owner}-", dir=root))
        _of_process[prefix] = owner, folder
        atexit.register(_remove_own, owner, folder)
    return folder


def _remove_own(owner: int, folder: Path) -> None:
    if os.getpid() == owner:
        _remove(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
