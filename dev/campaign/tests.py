# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tests that are campaigns of their own: random requests to real nodes, and look-ups without a network."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

from dev.campaign.pool import REPOSITORY

_REQUESTS = 10_000
_FILES = ("test/nodes/test_random_requests.py", "test/backends/test_telemetry.py")


def prepare(folder: Path) -> None:
    """Nothing is needed."""


def case(pick: random.Random, number: int, folder: Path) -> str:
    """Run one of them; its output is kept."""
    file = _FILES[number % len(_FILES)]
    environment = {
        **os.environ,
        "ADCP_RANDOM_REQUESTS": str(_REQUESTS),
        "ADCP_RANDOM_SEED": str(pick.randrange(10**6)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "--timeout=800", file],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    (folder / "output").write_text(output)
    assert done.returncode == 0, output[-2000:]
    return "skipped" if not re.search(r"\d+ passed", output) else f"{Path(file).stem} passed"
