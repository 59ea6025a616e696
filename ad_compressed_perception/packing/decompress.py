# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decompress packed model files for runtimes: once per process, removed when it ends."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.model_files import read_checked
from ad_compressed_perception.packing.packed_file import expand, is_packed
from ad_compressed_perception.workspace.temporary import process_folder

_PREFIX = "adcp-expanded-"
_lock = threading.Lock()
_expanded: dict[tuple[int, Path, str], Path] = {}


def decompress(path: Path, sha256: str | None = None) -> Path:
    """Return a file that runtimes can read: the path itself, or the packed model as an ONNX file.

    The ONNX file lies in a private temporary folder of this process and is reused until the packed file
    changes; it is removed when the process ends. A packed file must have the given sha256 (None: any).

    Raises:
        ModelFileError: the packed file is damaged, or the disk is full; one line.
    """
    if not is_packed(path) or not path.is_file():
        return path
    content = read_checked(path, sha256)
    key = (os.getpid(), path.resolve(), hashlib.sha256(content).hexdigest())
    with _lock:
        known = _expanded.get(key)
        if known is None or not known.is_file():
            model = expand(path, content)
            folder: Path | None = None
            try:
                folder = Path(tempfile.mkdtemp(dir=process_folder(_PREFIX)))
                known = folder / f"{path.stem}.onnx"
                known.write_bytes(model.SerializeToString(deterministic=True))
            except OSError as error:
                if folder is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                raise ModelFileError(
                    f"cannot expand {path} into {tempfile.gettempdir()}: {error.strerror or error}; "
                    "TMPDIR names another folder"
                ) from error
            _expanded[key] = known
    return known
