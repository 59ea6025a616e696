# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""zstd by the library that rosbags brings: Python's own, backports.zstd, or zstandard in older versions."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ad_compressed_perception.data.storage import StorageError

_MAGIC = b"\x28\xb5\x2f\xfd"
_STEP_BYTES = 1 << 16
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


def is_zstd(data: bytes) -> bool:
    """Return whether bytes begin as a zstd frame (RFC 8878), which no serialized ROS 2 message does."""
    return data[:4] == _MAGIC


def zstd_expand(path: Path, target: Path) -> str:
    """Decompress a file of any size, as far as it can be read.

    Returns:
        Why it ended before its end, a phrase; empty where all of it was decompressed.

    Raises:
        StorageError: it is no zstd file, or nothing of it can be read.
        OSError: of reading and writing, such as a full disk.
    """
    name, library = _library()
    try:
        with path.open("rb") as compressed, target.open("wb") as plain:
            if name == "zstandard":
                library.ZstdDecompressor().copy_stream(compressed, plain)
            else:
                with library.open(compressed, "rb") as stream:
                    # In small steps: what was read before an error is kept.
                    while chunk := stream.read1(_STEP_BYTES):
                        plain.write(chunk)
    except OSError:
        raise
    except Exception as error:
        if not target.stat().st_size:
            raise StorageError(f"zstd: {error}") from error
        return f"{path.name} is cut off or damaged ({error}); what comes before is read"
    return ""
