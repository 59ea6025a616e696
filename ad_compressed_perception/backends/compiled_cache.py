# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A folder in which a runtime keeps compiled models, with a list of hashes that is checked before it is used.

Runtimes load what lies in their cache unchecked: a blob of OpenVINO with a changed byte runs. Each model has
a private folder here, named after its hash, the runtime, its version and the device. ``adcp-cache.json`` in
it has the sha256 of every file, written after a load that succeeded. A file that is not listed there, or
whose hash differs, is deleted before the next load, and the runtime compiles anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import cache_folder, file_sha256, further_files
from ad_compressed_perception.workspace.atomic_file import write_file

INDEX_NAME = "adcp-cache.json"
SCHEMA = "adcp-cache/1"
_LOCK_NAME = "lock"
_OWN = frozenset({INDEX_NAME, _LOCK_NAME})


@contextlib.contextmanager
def compiled_cache(folder: str | None, model: Path, *runtime: str) -> Iterator[Path | None]:
    """Yield the checked folder for the runtime's cache during a load; list what it holds afterwards.

    Args:
        folder: the option's value, see cache_folder; None for no cache.
        model: file of the model that is loaded; its further files count too.
        runtime: name and version of the runtime, the device, and options that change what is compiled.

    Yields:
        The model's own folder, or None: no cache, or another load is using it at this moment.

    Raises:
        BackendError: the folder cannot be made, others may write to it, or it is not this user's.
    """
    if folder is None:
        yield None
        return
    try:
        files = [model, *(model.parent / name for name in sorted(further_files(model)))]
        key = "\n".join((*map(file_sha256, files), *runtime))
    except OSError as error:
        raise BackendError(f"cannot read {model}: {error.strerror or error}") from error
    own = cache_folder(folder) / hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        _make_private(own)
        with (own / _LOCK_NAME).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a load in another thread or process: this one does without
                yield None
                return
            _remove_unverified(own)
            yield own
            _write_index(own, list(runtime))
    except OSError as error:
        raise BackendError(f"cannot use the cache {own}: {error.strerror or error}") from error


def _make_private(own: Path) -> None:
    own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if own.parent.stat().st_mode & stat.S_IWOTH:
        raise BackendError(
            f"the cache {own.parent} can be written by everyone, and what it holds is executed: "
            f"chmod 700 {own.parent}, or name another folder"
        )
    own.mkdir(mode=0o700, exist_ok=True)
    status = own.lstat()
    is_private = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and status.st_uid == os.geteuid()
    if not (stat.S_ISDIR(status.st_mode) and is_private):
        raise BackendError(
            f"the cache {own} is not a folder that only this user can write to, and what it holds is "
            "executed: remove it, or name another folder"
        )


def _remove_unverified(own: Path) -> None:
    """Delete what is not listed with its present hash: files, links, folders that a link leads to."""
    listed = _read_index(own)
    for path in list(own.rglob("*")):
        name = path.relative_to(own).as_posix()
        if path.is_symlink() or not path.is_dir():
            known = name in _OWN or (path.is_file() and listed.get(name) == file_sha256(path))
            if path.is_symlink() or not known:
                path.unlink()


def _read_index(own: Path) -> dict[str, Any]:
    try:
        index = json.loads((own / INDEX_NAME).read_text("utf-8"))
        files = index["files"] if index["schema"] == SCHEMA else {}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged: nothing is known
        return {}
    return files if isinstance(files, dict) else {}


def _write_index(own: Path, runtime: list[str]) -> None:
    files = {
        path.relative_to(own).as_posix(): file_sha256(path)
        for path in sorted(own.rglob("*"))
        if path.is_file() and path.name not in _OWN
    }
    index = {"schema": SCHEMA, "runtime": runtime, "files": files}
    write_file(own / INDEX_NAME, json.dumps(index, indent=1))
