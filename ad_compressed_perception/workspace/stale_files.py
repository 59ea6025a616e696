# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is left of work that ended: folders of killed processes, checkpoints that nobody will go on from."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ad_compressed_perception.core.errors import ModelFileError, RecipeError


def remove_stale_files(folder: Path, prefix: str) -> None:
    """Remove the folders ``PREFIX<process number>-...`` in ``folder`` whose process no longer runs."""
    for path in folder.glob(f"{prefix}*"):
        number = path.name[len(prefix) :].partition("-")[0]
        if number.isdigit() and not _is_running(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def remove_checkpoints(folder: Path, name: str) -> None:
    """Remove the checkpoints of a variant, those of earlier recipes of its name too, once it is stored.

    Args:
        folder: of all checkpoints of a model; it goes too where nothing else is in it.
        name: the variant's; its folders are called ``NAME-<12 hexadecimal digits>``.
    """
    for path in folder.glob(f"{name}-*"):
        if len(path.name) == len(name) + 13:
            shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def discard_refused_checkpoints(checkpoints: Path) -> Iterator[None]:
    """Remove a run's checkpoints where its model or recipe is refused: the same command would be again.

    What else can end a run (Ctrl-C, a full disk, a missing runtime) can be mended, and they serve then.
    """
    try:
        yield
    except (ModelFileError, RecipeError):
        remove_with_empty_parents(checkpoints, 2)
        raise


def remove_with_empty_parents(folder: Path, levels: int) -> None:
    """Remove a folder, and up to so many folders around it that hold nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in list(folder.parents)[:levels]:
        with contextlib.suppress(OSError):  # other things are in it
            parent.rmdir()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
