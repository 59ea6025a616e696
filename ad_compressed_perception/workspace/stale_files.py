# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Removes leftovers: folders of killed processes, checkpoints that will not be resumed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def remove_stale_files(folder: Path, prefix: str) -> None:
    """Remove the folders ``PREFIX<process number>-...`` in ``folder`` whose process no longer runs."""
    for path in folder.glob(f"{prefix}*"):
        number = path.name[len(prefix) :].partition("-")[0]
        if number.isdecimal() and not _is_running(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
