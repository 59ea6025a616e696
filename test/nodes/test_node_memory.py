# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images that come and go cost no page faults in a node's process."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# Three raw images of 1920x1080 alive at the same time, as between middleware and model, thirty times.
PROBE = """
import resource, sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("memory", sys.argv[1])
memory = module_from_spec(spec)
spec.loader.exec_module(memory)
if "keep" in sys.argv:
    assert memory.keep_freed_memory()
def images():
    return [b"x" * (1920 * 1080 * 3) for _ in range(3)]
for _ in range(3):
    images()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    images()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="sets parameters of glibc's malloc")
def test_memory_of_freed_images_is_used_for_the_next_ones() -> None:
    """Failed before: each image was paid with 1,500 page faults; the subscription fell behind the camera."""
    file = REPOSITORY / "ad_compressed_perception" / "nodes" / "memory.py"

    def faults(*arguments: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", PROBE, str(file), *arguments], text=True))

    assert faults("keep") < faults() / 10


# Threads that begin together would each get a heap of their own, up to eight times the number of cores.
HEAPS = """
import ctypes, sys
from importlib.util import module_from_spec, spec_from_file_location
from threading import Barrier, Thread
spec = spec_from_file_location("memory", sys.argv[1])
memory = module_from_spec(spec)
spec.loader.exec_module(memory)
if "keep" in sys.argv:
    assert memory.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
together = Barrier(6)
def allocate():
    together.wait()
    libc.malloc(ctypes.c_size_t(100_000))
threads = [Thread(target=allocate) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
file = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="sets parameters of glibc's malloc")
def test_threads_share_one_heap() -> None:
    """Failed before: what exchanged models left in the heaps of loader threads added up to 20 MB."""
    file = REPOSITORY / "ad_compressed_perception" / "nodes" / "memory.py"

    def heaps(*arguments: str) -> int:
        command = [sys.executable, "-c", HEAPS, str(file), *arguments]
        return subprocess.check_output(command, text=True).count("<heap nr=")

    assert heaps("keep") == 1
    assert heaps() > 1
