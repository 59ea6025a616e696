# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A file that is replaced completely or not at all: whoever reads it sees its old content or its new one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ad_compressed_perception.workspace.temporary import remove_stale_files

PREFIX = ".adcp-part-"
"""Of the names of unfinished files; the number of their process follows."""
UNCHANGED_S = 60.0
"""Time without a change after which an unfinished file of an ended process is removed."""


@contextlib.contextmanager
def replaced_file(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield the path of an unfinished file beside ``path``, which takes the place of ``path`` at the end.

    An error in the block, a signal or a kill at any moment leaves ``path`` as it was. Folders are created.
    The content is handed to the operating system, not forced onto the disk.

    Args:
        path: what is replaced, or created.
        mode: its permission bits; None for those of any new file.

    Raises:
        OSError: a full disk, or a folder that cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_files(path.parent, PREFIX, UNCHANGED_S)
    # It has a suffix: torch.save refuses hidden names without one.
    part = path.with_name(f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        if mode is not None:
            part.chmod(mode)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_file(path: Path, content: str | bytes, mode: int | None = None) -> Path:
    """Replace a file by a text (UTF-8) or bytes as ``replaced_file`` does; return its path."""
    with replaced_file(path, mode) as part:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path
