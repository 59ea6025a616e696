# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""zstd by the library that rosbags brings: Python's own, backports.zstd, or zstandard in older versions."""

from __future__ import annotations

import shutil
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ad_compressed_perception.data.storage import StorageError

_NAMES = ("compression.zstd", "backports.zstd", "zstandard")


@lru_cache(maxsize=1)
def _library() -> tuple[str, Any]:
    for name in _NAMES:
        try:
            return name, import_module(name)
        except ImportError:
            continue
    raise StorageError("no zstd library is installed; rosbags brings one")


def zstd_decompress(data: bytes) -> bytes:
    """Return decompressed bytes; raise StorageError where they are no zstd frame."""
    name, library = _library()
    try:
        if name == "zstandard":  # frames of streams do not state their size
            return bytes(library.ZstdDecompressor().decompressobj().decompress(data))
        return bytes(library.decompress(data))
    except Exception as error:  # each library has an error of its own
        raise StorageError(f"zstd: {error}") from error


def zstd_expand(path: Path, target: Path) -> None:
    """Decompress a file of any size; raise StorageError where it is no zstd file or cut off."""
    name, library = _library()
    try:
        with path.open("rb") as compressed, target.open("wb") as plain:
            if name == "zstandard":
                library.ZstdDecompressor().copy_stream(compressed, plain)
            else:
                with library.open(compressed, "rb") as stream:
                    shutil.copyfileobj(stream, plain)
    except OSError:
        raise
    except Exception as error:
        raise StorageError(f"zstd: {error}") from error
