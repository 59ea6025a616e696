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


LARGEST_BYTES = 1 << 30
"""Of a chunk or a message that is decompressed in memory: a few bytes may stand for terabytes."""


def zstd_decompress(data: bytes, most: int = LARGEST_BYTES) -> bytes:
    """Return decompressed bytes; raise StorageError where they are no whole frames, or more than ``most``."""
    name, library = _library()
    plain, is_whole = b"", True
    try:
        if name == "zstandard":
            with library.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
                plain = bytes(stream.read(most + 1))
        else:
            rest = data
            while rest and len(plain) <= most:
                decompressor = library.ZstdDecompressor()
                plain += decompressor.decompress(rest, max_length=most + 1 - len(plain))
                rest, is_whole = decompressor.unused_data, decompressor.eof
    except Exception as error:  # each library has an error of its own
        raise StorageError(f"zstd: {error}") from error
    if len(plain) > most:
        raise StorageError(f"zstd: more than {most} bytes")
    if not is_whole:
        raise StorageError("zstd: cut off")
    return plain


def is_zstd(data: bytes) -> bool:
    """Return whether bytes begin as a zstd frame (RFC 8878), which no serialized ROS 2 message does."""
    return data[:4] == _MAGIC


def zstd_expand(path: Path, target: Path, beginnings: tuple[bytes, ...] = (b"",)) -> str:
    """Decompress a file of any size, as far as it can be read.

    Args:
        path: the file.
        target: the new file.
        beginnings: what its content may begin with; nothing else is written to the end, since a few bytes may
            stand for terabytes.

    Returns:
        Why it ended before its end, a phrase; empty where all of it was decompressed.

    Raises:
        StorageError: it is no zstd file, nothing of it can be read, or its content begins otherwise.
        OSError: of reading and writing, such as a full disk.
    """
    name, library = _library()
    try:
        with path.open("rb") as compressed, target.open("wb") as plain:
            if name == "zstandard":
                stream = library.ZstdDecompressor().stream_reader(compressed, read_across_frames=True)
            else:
                stream = library.open(compressed, "rb")
            with stream:
                # In small steps: what was read before an error is kept.
                is_first = True
                while chunk := stream.read1(_STEP_BYTES):
                    if is_first and not chunk.startswith(beginnings):
                        raise StorageError("it holds something else than its name says")
                    plain.write(chunk)
                    is_first = False
    except (OSError, StorageError):
        raise
    except Exception as error:
        if not target.stat().st_size:
            raise StorageError(f"zstd: {error}") from error
        return f"{path.name} is cut off or damaged ({error}); what comes before is read"
    return ""
