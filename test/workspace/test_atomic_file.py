# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Replaced files: whatever happens, whenever it happens, a reader sees the old content or the new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.workspace.atomic_file import PREFIX, UNCHANGED_S, replaced_file, write_file
from ad_compressed_perception.workspace.temporary import scratch_folder

OLD, NEW = b"old content", b"the new content, which is longer than the old one"


class InterruptedAt:
    """Counts lines of the code that replaces files, and raises KeyboardInterrupt at one of them."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: object, event: str, argument: object) -> object:
        if not frame.f_code.co_filename.endswith(("atomic_file.py", "temporary.py", "pathlib.py")):  # type: ignore[attr-defined]
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


@given(line=st.integers(1, 150), exists=st.booleans())
@settings(max_examples=120, deadline=None)
def test_an_interrupt_at_any_line_leaves_the_old_content_or_the_new(line: int, exists: bool) -> None:
    """150 lines: more than a replacement runs, so that some examples are not interrupted at all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        if exists:
            path.write_bytes(OLD)
        interrupted, before = InterruptedAt(line), sys.gettrace()
        sys.settrace(interrupted)  # type: ignore[arg-type]
        try:
            write_file(path, NEW)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        seen = path.read_bytes() if path.exists() else None
        assert seen in ((OLD, NEW) if exists else (None, NEW))
        assert seen == NEW or interrupted.left <= 0
        # The same process tries again, whatever was left.
        write_file(path, NEW)
        assert path.read_bytes() == NEW


def age(folder: Path) -> None:
    """Let the files of a folder be as old as leftovers are when they are removed."""
    past_s = time.time() - UNCHANGED_S - 1.0
    for path in folder.iterdir():
        os.utime(path, (past_s, past_s))


WRITER = """
import sys
from pathlib import Path
from ad_compressed_perception.workspace.atomic_file import replaced_file
path, number = Path(sys.argv[1]), 0
print("begun", flush=True)
while True:
    number += 1
    with replaced_file(path) as part, part.open("wb") as stream:
        for _ in range(64):
            stream.write(bytes([number % 256]) * 4096)
            stream.flush()
"""


def test_a_reader_beside_a_writer_that_is_killed_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(64 * 4096))
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        contents = [path.read_bytes() for _ in range(150)]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        contents.append(path.read_bytes())
        assert all(len(content) == 64 * 4096 and len(set(content)) == 1 for content in contents)
    # What the killed ones left is removed by the next to write there, a minute later.
    age(tmp_path)
    write_file(path, NEW)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_an_error_while_writing_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "new" / "file", "old")
    with pytest.raises(OSError, match="no room"), replaced_file(path) as part:
        part.write_text("half")
        raise OSError("no room")
    assert path.read_text() == "old"
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    usual = (tmp_path / "other").stat().st_mode
    assert write_file(tmp_path / "file", NEW).stat().st_mode == usual
    assert write_file(tmp_path / "private", NEW, 0o600).stat().st_mode & 0o777 == 0o600


def test_only_leftovers_of_ended_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f"{PREFIX}{ended.pid}-00", f"{PREFIX}{os.getppid()}-00", f"{PREFIX}notes", "mine"):
        (tmp_path / name).touch()
    age(tmp_path)
    (tmp_path / f"{PREFIX}{ended.pid}-01").touch()  # as a process of another container writes
    write_file(tmp_path / "file", NEW)
    left = {one.name for one in tmp_path.iterdir()}
    kept = {f"{PREFIX}{os.getppid()}-00", f"{PREFIX}{ended.pid}-01", f"{PREFIX}notes", "mine", "file"}
    assert left == kept


def test_a_fork_has_a_process_folder_of_its_own_and_leaves_that_of_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from ad_compressed_perception.workspace.temporary import process_folder\n"
        "own = process_folder('adcp-test-')\n"
        "if os.fork() == 0:\n"
        "    assert process_folder('adcp-test-') != own\n"
        "    sys.exit(0)\n"
        "assert os.wait()[1] == 0 and own.is_dir() and process_folder('adcp-test-') == own\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not list(tmp_path.glob("adcp-test-*"))


def test_a_scratch_folder_ends_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path, ".scratch-") as folder:
        (folder / "half").mkdir()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
