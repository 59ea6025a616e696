# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A folder that is created completely or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.workspace.temporary import scratch_folder


@contextlib.contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a path beside ``out`` that does not exist yet; what is created there becomes ``out`` at the end.

    Where the block raises an error, or creates nothing, nothing is left.

    Raises:
        DataError: ``out`` is not empty, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is there already and is not empty: name another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out.parent, ".adcp-folder-") as hidden:
            made = hidden / out.name
            yield made
            with contextlib.suppress(FileNotFoundError):
                out.rmdir()
            made.rename(out)
    except OSError as error:  # a folder that cannot be made, a full disk, a quota
        raise DataError(f"cannot write {out}: {error.strerror or error}; name another folder") from error
