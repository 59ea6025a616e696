# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A process in which nothing runs any more is ended from outside; a stopped or loading one is not; no ROS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.nodes.ended_process import EndedProcess, note_path, take_note
from ad_compressed_perception.serving.process_watcher import BOOT_FILE, LONGEST_STEP_S, SCHEMA, Silence

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
LIMIT_S = 1.0
# A thread gives signs of life; words on the standard input say what the main thread does.
SCRIPT = """
import ctypes, sys, threading, time
from pathlib import Path
from ad_compressed_perception.serving.process_watchdog import PROCESS_WATCHDOG as watchdog

def beat():
    while True:
        watchdog.beat("/node", 30.0)
        time.sleep(0.05)

watchdog.watch("/node", 1.0, 30.0, Path(sys.argv[1]))
threading.Thread(target=beat, daemon=True).start()
print(watchdog._watcher.pid, flush=True)
for line in sys.stdin:
    word, _, seconds = line.strip().partition(" ")
    if word == "hold":
        ctypes.PyDLL(None).sleep(int(seconds))  # with the interpreter lock, as a runtime that hangs in it
    if word == "load":
        with watchdog.loading():
            ctypes.PyDLL(None).sleep(int(seconds))
    if word == "wait":
        threading.Event().wait(float(seconds))
    if word == "second":  # a node of the same process, whose own watch thread gives no sign of life
        watchdog.watch("/second", 1.0, 30.0, Path(sys.argv[1] + ".second"))
    if word == "end":
        watchdog.forget("/node")
    print("did", word, flush=True)
"""


class Watched:
    """A process with a watchdog, and its watcher's number."""

    def __init__(self, note: Path, errors: Path) -> None:
        self._errors = errors.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(note)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
        )
        self.watcher = int(self.answer())

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def order(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._errors.close()
        wait(lambda: not runs(self.watcher))


def wait(condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def runs(process: int) -> bool:
    """Whether a process exists and is more than an entry that its parent has not asked for."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def ignores(process: int, number: signal.Signals) -> bool:
    mask = Path(f"/proc/{process}/status").read_text().partition("SigIgn:")[2].split()[0]
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note.json"


@pytest.fixture
def watched(note: Path, tmp_path: Path) -> Iterator[Watched]:
    process = Watched(note, tmp_path / "errors")
    yield process
    process.close()


def test_a_process_whose_interpreter_lock_is_held_is_ended_and_the_next_one_knows(
    watched: Watched, note: Path, tmp_path: Path
) -> None:
    before_s = time.monotonic()
    watched.order("hold 1000")

    assert watched.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert "no sign of life for 1." in (tmp_path / "errors").read_text()
    wait(lambda: not runs(watched.watcher))
    ended = take_note(note)
    assert ended is not None and ended.times == 1
    assert ended.silent_s >= LIMIT_S
    assert before_s - LIMIT_S <= ended.lost_since_s <= ended.ended_s - LIMIT_S
    assert take_note(note) is None  # it is read once


def test_a_process_that_is_stopped_waits_or_loads_is_not_ended(watched: Watched, note: Path) -> None:
    """The first two for longer than the limit; the third holds the lock, as a runtime that compiles may."""
    watched.process.send_signal(signal.SIGSTOP)
    time.sleep(3 * LIMIT_S)
    watched.process.send_signal(signal.SIGCONT)
    watched.order("wait 1.5")
    assert watched.answer() == "did wait"
    watched.order("load 2")
    assert watched.answer() == "did load"
    assert watched.process.poll() is None
    assert not note.exists()

    watched.order("hold 1000")  # the allowance of the load is past

    assert watched.process.wait(PATIENCE_S) == -signal.SIGKILL


@pytest.mark.parametrize("how", ["killed", "forgotten", "interrupted with its group"])
def test_the_watcher_ends_with_its_process_and_not_before(how: str, watched: Watched, note: Path) -> None:
    wait(lambda: ignores(watched.watcher, signal.SIGTERM))
    os.kill(watched.watcher, signal.SIGINT)
    os.kill(watched.watcher, signal.SIGTERM)
    time.sleep(0.2)
    assert runs(watched.watcher)

    if how == "forgotten":
        watched.order("end")
        assert watched.answer() == "did end"
    else:
        watched.process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGINT)

    wait(lambda: not runs(watched.watcher))
    assert not note.exists()


def test_nodes_of_one_process_have_one_watcher_and_each_has_to_give_signs_of_life(
    watched: Watched, note: Path
) -> None:
    watched.order("second")
    assert watched.answer() == "did second"
    children = Path(f"/proc/{watched.process.pid}/task/{watched.process.pid}/children").read_text().split()
    assert children == [str(watched.watcher)]

    assert watched.process.wait(PATIENCE_S) == -signal.SIGKILL

    assert take_note(note) is not None
    assert take_note(note.with_name(f"{note.name}.second")) is not None


def test_the_watcher_is_small_and_holds_nothing_of_its_process_open(watched: Watched) -> None:
    wait(lambda: ignores(watched.watcher, signal.SIGTERM))
    folder = Path(f"/proc/{watched.watcher}/fd")
    wait(lambda: len(list(folder.iterdir())) == 4)
    opened = sorted(os.readlink(each).split(":")[0] for each in folder.iterdir())
    rss_kb = int(Path(f"/proc/{watched.watcher}/status").read_text().partition("VmRSS:")[2].split()[0])

    assert opened == ["/dev/null", "/dev/null", "anon_inode", "pipe"]
    assert os.readlink(f"/proc/{watched.watcher}/cwd") == "/"
    assert rss_kb < 20_000  # 9 to 10 MB, of which 6 MB are the interpreter that all of them share


def test_a_watcher_that_was_killed_is_started_again(watched: Watched, note: Path) -> None:
    """Two seconds after its start at the earliest: one that cannot run is not started all the time."""
    time.sleep(2.0)
    os.kill(watched.watcher, signal.SIGKILL)
    watched.order("wait 1.5")
    assert watched.answer() == "did wait"

    watched.order("hold 1000")

    assert watched.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert take_note(note) is not None


@given(
    steps=st.lists(st.tuples(st.floats(0.0, 1e6), st.booleans()), max_size=50), limit_s=st.floats(0.1, 100)
)
def test_only_time_in_which_both_processes_ran_is_silence(
    steps: list[tuple[float, bool]], limit_s: float
) -> None:
    silence = Silence(0.0)
    assert silence.limit_s == inf  # before the first sign of life nothing is due
    silence.sign(0.0, limit_s)
    now_s = counted_s = 0.0
    for step_s, is_stopped in steps:
        now_s += step_s
        if not is_stopped:
            counted_s += min(step_s, LONGEST_STEP_S)
        assert silence.look(now_s, is_stopped=is_stopped) == (silence.seconds >= limit_s)
        assert silence.seconds == pytest.approx(counted_s, rel=1e-6, abs=1e-6)
    silence.sign(now_s, limit_s)
    assert silence.seconds == 0.0


def write_note(path: Path, **changed: object) -> None:
    now_s = time.monotonic()
    known = {
        "schema": SCHEMA,
        "boot": Path(BOOT_FILE).read_text().strip(),
        "silent_s": 2.0,
        "times": 1,
        "lost_since_s": now_s - 4.0,
        "ended_s": now_s - 2.0,
    }
    path.write_text(json.dumps(known | changed))


def test_a_note_states_what_was_lost_until_the_first_answered_frame(note: Path) -> None:
    write_note(note)
    ended = take_note(note)
    assert ended is not None

    line = ended.line(ended.lost_since_s + 5.25, now_s=1e9)

    assert line == (
        "the process before gave no sign of life for 2.0 s and was ended: no frame was answered for 5.2 s"
    )
    again = EndedProcess(2.0, 10.0, 14.0, times=3).line(None, now_s=17.0)
    assert again.endswith("3 times one after the other: no frame was answered for 7.0 s until now")


@pytest.mark.parametrize(
    "changed",
    [
        {"schema": "adcp-ended/2"},
        {"boot": "another start of the computer"},
        {"times": 0},
        {"times": "many"},
        {"silent_s": float("nan")},
        {"silent_s": -1.0},
        {"ended_s": 1e18},
        {"lost_since_s": float("inf")},
        {"lost_since_s": None},
        {"ended_s": 0.0, "lost_since_s": 0.0},
    ],
    ids=str,
)
def test_a_note_of_another_drive_or_with_impossible_figures_is_ignored(
    changed: dict[str, object], note: Path
) -> None:
    write_note(note, **changed)
    assert take_note(note) is None
    assert not note.exists()


@pytest.mark.parametrize("planted", ["link", "folder", "queue", "nonsense", "large"])
def test_what_others_put_in_the_place_of_a_note_is_ignored(planted: str, note: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_note(elsewhere)
    if planted == "link":
        note.symlink_to(elsewhere)
    elif planted == "folder":
        note.mkdir()
    elif planted == "queue":
        os.mkfifo(note)
    else:
        note.write_bytes(b"\xff[" * (10 if planted == "nonsense" else 10**6))

    assert take_note(note) is None
    assert elsewhere.exists()


def test_notes_lie_in_a_folder_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    first = note_path("/car/detection")
    assert first.parent.stat().st_mode & 0o777 == 0o700
    assert first.parent == tmp_path / "runtime" / "adcp"
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    assert len({first, note_path("/car/detection"), note_path("/car/../../x")}) == 3
    assert note_path("/car/../../x").parent == first.parent

    first.parent.chmod(0o777)

    with pytest.raises(AdcpError, match="others can write to"):
        note_path("/car/detection")
    first.parent.rmdir()
    first.parent.symlink_to(tmp_path)
    with pytest.raises(AdcpError, match="others can write to"):
        note_path("/car/detection")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert note_path("/car/detection").parent == tmp_path / "cache" / "adcp" / "ended"
