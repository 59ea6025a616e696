# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's output folder: a run removes the files of the previous run, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ad_compressed_perception.core.errors import DataError

MARKER = "demo.json"
SCHEMA = "adcp-demo/1"


@contextmanager
def report_folder(out: Path, names: Sequence[str]) -> Iterator[None]:
    """Remove the files of an earlier demo from ``out``, and record those that this one writes.

    Args:
        out: created where missing.
        names: of files and folders to be written; other new ones in the folder are recorded too.

    Raises:
        DataError: one of the names exists already and was not written by a demo.
    """
    earlier = _written(out)
    foreign = [name for name in names if (out / name).exists() and name not in earlier]
    if foreign:
        raise DataError(
            f"{out / foreign[0]} exists and is not from an earlier demo: give another folder with OUT="
        )
    for name in earlier:
        _remove(out / name)
    out.mkdir(parents=True, exist_ok=True)
    before = set(_names(out))
    # Written before the run: the next one can then remove the files of a killed run.
    _mark(out, names)
    try:
        yield
    finally:
        _mark(out, sorted({*names, *_names(out)} - before - {MARKER}))


def _names(out: Path) -> list[str]:
    return [path.name for path in out.iterdir()]


def _written(out: Path) -> list[str]:
    """Return the names that an earlier demo wrote, each directly in the folder."""
    try:
        document = json.loads((out / MARKER).read_text(encoding="utf-8"))
        names = document["written"] if document["schema"] == SCHEMA else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and name == Path(name).name and name != ".."]


def _mark(out: Path, names: Sequence[str]) -> None:
    text = json.dumps({"schema": SCHEMA, "written": list(names)}, indent=2)
    (out / MARKER).write_text(text + "\n", encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
