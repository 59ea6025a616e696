# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every source file starts with the two header lines."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HEADER = [
    "# Copyright 2026 The ad_compressed_perception authors",
    "# SPDX-License-Identifier: Apache-2.0",
]
FOLDERS = (
    "ad_compressed_perception",
    "ad_road_simulation",
    "benchmark",
    "dev",
    "docs",
    "examples",
    "launch",
    "test",
)
SINGLE_FILES = ("Makefile", "setup.py", ".ci/run", "dev/vision_msgs/CMakeLists.txt")


def source_files() -> list[Path]:
    found = [REPOSITORY / name for name in SINGLE_FILES]
    for folder in FOLDERS:
        found += sorted((REPOSITORY / folder).rglob("*.py"))
    return found


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_header(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    assert lines[:2] == HEADER
