# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's output folder: a run removes the files of the previous run, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.report.kit.document import Document, field_of_kind

MARKER = "demo.json"


class DemoFiles(Document):
    """What a demo wrote into its folder; the next one removes it."""

    schema_: Literal["adcp-demo/1"] = field_of_kind("adcp-demo/1")
    written: list[str] = Field(description="files and folders, each directly in the folder")


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
        names = DemoFiles.read(out / MARKER).written
    except DataError:
        return []
    return [name for name in names if name == Path(name).name and name != ".."]


def _mark(out: Path, names: Sequence[str]) -> None:
    DemoFiles(written=list(names)).write(out / MARKER)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
