# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's folder: a run removes what the run before left there, and nothing else."""

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
    """Empty ``out`` of an earlier demo, and take down what this one leaves there.

    Args:
        out: made where missing.
        names: of what will be written; other new things in the folder are the demo's too.

    Raises:
        DataError: one of the names is there already and no demo wrote it.
    """
    earlier = _written(out)
    foreign = [name for name in names if (out / name).exists() and name not in earlier]
    if foreign:
        raise DataError(
            f"{out / foreign[0]} is there already and not of an earlier demo: name another folder with OUT="
        )
    for name in earlier:
        _remove(out / name)
    out.mkdir(parents=True, exist_ok=True)
    before = set(_names(out))
    # At once: a run that is killed leaves things that the next one may remove.
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
