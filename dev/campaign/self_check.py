# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Commits each fault that the campaign counts, so that a test can see that it does."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from ad_compressed_perception.core.errors import DataError


def prepare(folder: Path) -> None:
    """Nothing is needed."""


def case(pick: random.Random, number: int, folder: Path) -> str:
    """Work, hang, crash, raise an unexpected error, or an expected one of two lines."""
    (folder / "input").write_text("input")
    if number == 1:
        time.sleep(600.0)
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 3:
        raise KeyError("unexpected")
    if number == 4:
        raise DataError("two\nlines")
    return "worked"
