# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps memory of freed images in the process, for the next ones."""

from __future__ import annotations

import ctypes
import sys

# Of malloc.h, glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_BYTES = 32 << 20  # glibc's largest; images of 1920x1080 have 6.2 MB
_TRIM_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Let glibc return freed memory to the system beyond 64 MiB only; return whether it does.

    An image of some megabytes is allocated several times between the middleware and the model, and freed.
    By default glibc gives such memory back each time, and each new image is paid with thousands of page
    faults: tens of milliseconds for a raw one of 1920x1080. Without effect on other C libraries.

    All threads share one heap from then on: a model is loaded in a thread of its own, and what is left
    between the blocks of each such thread's own heap would add up, by 20 MB in 200 exchanges of a model.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # The second one alone would let the first follow the largest freed block.
    settings = ((_M_TRIM_THRESHOLD, _TRIM_BYTES), (_M_MMAP_THRESHOLD, _MMAP_BYTES), (_M_ARENA_MAX, 1))
    taken = [bool(mallopt(name, value)) for name, value in settings]
    return all(taken)


def release_freed_memory() -> None:
    """Give freed memory back to the system, once, as after a model was closed; glibc only."""
    if _LIBC is not None:
        _LIBC.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "malloc_trim") else None
    except (OSError, TypeError):
        return None


_LIBC = _glibc()
