# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several files and folders moved into place, all or none."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


class FileTransaction:
    """Moves inside one file system; replaced files are kept in another folder until all moves are done."""

    def __init__(self, aside: Path) -> None:
        """Keep replaced files in the folder ``aside``, which is created; the caller removes it."""
        self._aside = aside
        self._done: list[tuple[Path, Path]] = []

    @contextlib.contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Undo the moves made inside where one of them fails; signals are delivered at the end."""
        self._aside.mkdir()
        with _deferred_signals():
            try:
                yield
            except BaseException:
                for now, before in reversed(self._done):
                    with contextlib.suppress(OSError):
                        os.replace(now, before)
                raise

    def replace(self, source: Path, place: Path) -> None:
        """Move a file or folder to a path; raise OSError where that fails.

        A file is replaced atomically: the path exists at every moment.
        """
        kept = self._kept(place)
        try:
            os.link(place, kept)
        except OSError:  # a folder, no such file, or a file system without hard links
            self.remove(place)
            os.replace(source, place)
            self._done.append((place, source))
        else:
            self._done.append((kept, place))
            os.replace(source, place)

    def remove(self, place: Path) -> None:
        """Move what exists at a path to the folder of replaced files."""
        if place.exists() or place.is_symlink():
            kept = self._kept(place)
            os.replace(place, kept)
            self._done.append((kept, place))

    def _kept(self, place: Path) -> Path:
        return self._aside / f"{len(self._done)}-{place.name}"


@contextlib.contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM until the end; only the main thread receives them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    # A handler that was not set by Python cannot be put back.
    known = [number for number in numbers if before[number] is not None]
    for number in known:
        signal.signal(number, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        for number in known:
            signal.signal(number, before[number])
        for caught, _ in received[:1]:
            signal.raise_signal(caught)
