# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Storage files compressed as a whole (``*.mcap.zstd``): unpacked once in a process, removed at its end."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.zstd import zstd_expand
from ad_compressed_perception.workspace.temporary import process_folder

_PREFIX = "adcp-bag-"
_UNITS = {"kB": 1, "MB": 2, "GB": 3, "TB": 4}
_lock = Lock()
_unpacked: dict[tuple[str, int, int], Unpacked] = {}


@dataclass(frozen=True)
class Unpacked:
    """An unpacked file.

    Attributes:
        path: where it lies until the process ends.
        note: where and how large it is, one sentence.
        damage: why a part of it could not be unpacked, a phrase; empty where all of it was.
    """

    path: Path
    note: str
    damage: str = ""


def unpack(path: Path, beginnings: tuple[bytes, ...] = (b"",)) -> Unpacked:
    """Return a ``.zstd`` file's content as a file; unpacked at the first call, the same one at later calls.

    Args:
        path: the file.
        beginnings: what its content may begin with.

    Raises:
        DataError: the disk is full.
        StorageError: nothing of it can be unpacked, or its content begins otherwise.
    """
    state = path.stat()
    key = (str(path.resolve()), state.st_mtime_ns, state.st_size)
    with _lock:
        if key not in _unpacked or not _unpacked[key].path.is_file():
            target = _place(path.stem)
            damage = _within_space(path, lambda: zstd_expand(path, target, beginnings), target)
            note = (
                f"{path.name} is compressed as a whole: {_size(state.st_size)} were unpacked to "
                f"{_size(target.stat().st_size)} in {target.parent.parent}, until the end of the command."
            )
            _unpacked[key] = Unpacked(target, note, damage)
        return _unpacked[key]


def copy_with_log(path: Path, log: Path) -> Path:
    """Return a copy of an sqlite3 file and its write-ahead log, which opening would change; as ``unpack``."""
    state, log_state = path.stat(), log.stat()
    key = (str(path.resolve()), state.st_mtime_ns + log_state.st_mtime_ns, state.st_size + log_state.st_size)
    with _lock:
        if key not in _unpacked or not _unpacked[key].path.is_file():
            target = _place(path.name)

            def copy() -> str:
                shutil.copyfile(path, target)
                shutil.copyfile(log, target.with_name(f"{target.name}-wal"))
                return ""

            _within_space(path, copy, target)
            _unpacked[key] = Unpacked(target, "")
        return _unpacked[key].path


def _within_space(path: Path, write: Callable[[], str], target: Path) -> str:
    try:
        return write()
    except OSError as cause:
        shutil.rmtree(target.parent, ignore_errors=True)
        if cause.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = _size(shutil.disk_usage(target.parent.parent).free)
        raise DataError(
            f"{path}: no space to unpack it in {target.parent.parent} ({free} free); TMPDIR=FOLDER names "
            f"another "
            f"place, or unpack it yourself: zstd -d {path.name}"
        ) from cause
    except BaseException:  # Ctrl-C, too: half a file is of no use
        shutil.rmtree(target.parent, ignore_errors=True)
        raise


def _place(name: str) -> Path:
    """Return a path in a new folder below this process's own, which is removed when the process ends."""
    return Path(tempfile.mkdtemp(dir=process_folder(_PREFIX))) / name


def _size(count: int) -> str:
    units = [unit for unit in ("TB", "GB", "MB", "kB") if count >= 1000 ** _UNITS[unit]]
    return f"{count / 1000 ** _UNITS[units[0]]:.1f} {units[0]}" if units else f"{count} bytes"
