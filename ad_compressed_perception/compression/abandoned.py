# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Temporary folders that carry their process's number, and what killed processes left of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the folders ``PREFIX<process number>-...`` in ``folder`` whose process no longer runs."""
    for path in folder.glob(f"{prefix}*"):
        number = path.name[len(prefix) :].partition("-")[0]
        if number.isdigit() and not _is_running(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
