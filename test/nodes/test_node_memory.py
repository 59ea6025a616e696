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
