# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""File transactions: all moves or none, also when one fails or Ctrl-C comes between them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from ad_compressed_perception.workspace.file_transaction import FileTransaction


@pytest.fixture
def old_and_new(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of old files in place, and one of new files to move."""
    place, aside = tmp_path / "place", tmp_path / "aside"
    for folder, words in ((place, "old"), (aside, "new")):
        (folder / "report").mkdir(parents=True)
        (folder / "report" / "report.md").write_text(words)
        (folder / "file").write_text(words)
    return place, aside


def contents(place: Path) -> list[str]:
    return [(place / "file").read_text(), (place / "report" / "report.md").read_text()]


def test_files_and_folders_take_the_place_of_others(old_and_new: tuple[Path, Path]) -> None:
    place, aside = old_and_new
    moves = FileTransaction(aside / "earlier")
    with moves.all_or_none():
        moves.replace(aside / "file", place / "file")
        moves.replace(aside / "report", place / "report")
    assert contents(place) == ["new", "new"]
    assert sorted(path.name for path in place.iterdir()) == ["file", "report"]


def test_where_one_fails_those_before_it_are_undone(old_and_new: tuple[Path, Path]) -> None:
    place, aside = old_and_new
    moves = FileTransaction(aside / "earlier")
    with pytest.raises(FileNotFoundError), moves.all_or_none():
        moves.replace(aside / "file", place / "file")
        moves.replace(aside / "report", place / "report")
        moves.remove(place / "file")
        moves.replace(aside / "missing", place / "third")
    assert contents(place) == ["old", "old"]
    assert not (place / "third").exists()


def test_an_interrupt_waits_until_all_is_in_place(old_and_new: tuple[Path, Path]) -> None:
    place, aside = old_and_new
    moves = FileTransaction(aside / "earlier")
    with pytest.raises(KeyboardInterrupt), moves.all_or_none():
        moves.replace(aside / "file", place / "file")
        os.kill(os.getpid(), signal.SIGINT)
        moves.replace(aside / "report", place / "report")
    assert contents(place) == ["new", "new"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_may_move_too(old_and_new: tuple[Path, Path]) -> None:
    """Only the main thread may set signal handlers; other threads must not."""
    place, aside = old_and_new

    def work() -> None:
        moves = FileTransaction(aside / "earlier")
        with moves.all_or_none():
            moves.replace(aside / "file", place / "file")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert contents(place) == ["new", "old"]
