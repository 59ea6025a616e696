# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that nothing will resume from, and folders left empty."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ad_compressed_perception.core.errors import ModelFileError, RecipeError


def remove_checkpoints(folder: Path, name: str) -> None:
    """Remove the checkpoints of a variant, those of earlier recipes of its name too, once it is stored.

    Args:
        folder: of all checkpoints of a model; it is removed too where it is then empty.
        name: the variant's; its folders are named ``NAME-<12 hexadecimal digits>``.
    """
    for path in folder.glob(f"{name}-*"):
        if len(path.name) == len(name) + 13:
            shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def discard_refused_checkpoints(checkpoints: Path) -> Iterator[None]:
    """Remove a run's checkpoints where its model or recipe is refused: a repeated run would be refused too.

    After other errors (Ctrl-C, a full disk, a missing runtime) they are kept, so that the run can be resumed.
    """
    try:
        yield
    except (ModelFileError, RecipeError):
        remove_with_empty_parents(checkpoints, 2)
        raise


def remove_with_empty_parents(folder: Path, levels: int) -> None:
    """Remove a folder, and up to ``levels`` of its parents that are then empty."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in list(folder.parents)[:levels]:
        with contextlib.suppress(OSError):  # other things are in it
            parent.rmdir()
