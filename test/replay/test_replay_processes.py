# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How the processes of a replay end: a node that hangs, a second signal, a replay that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ad_compressed_perception.report.schemas.comparison import Report
from support.bags import write_bag
from support.models import draw_scene, write_planner
from support.ros import PATIENCE_S

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]


@contextmanager
def running_replay(
    tmp_path: Path, *more: str
) -> Iterator[tuple[subprocess.Popen[str], psutil.Process, list[str]]]:
    """A replay of a minute at the recorded pace that offers frames, and the process of its nodes."""
    drive = write_bag(tmp_path / "drive", [draw_scene(0, 32, 24)] * 1200)
    arguments = [
        str(drive),
        "--models",
        str(write_planner(tmp_path / "model")),
        "--out",
        str(tmp_path / "out"),
    ]
    arguments += ["--work", str(tmp_path / "work"), "--rate", "1", *more]
    replay = subprocess.Popen(
        [sys.executable, "-m", "ad_compressed_perception.cli.main", "replay", *arguments],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    nodes: list[psutil.Process] = []
    try:
        assert replay.stderr is not None
        for line in replay.stderr:
            if line.startswith("replaying"):
                break
        nodes += psutil.Process(replay.pid).children()
        (child,) = nodes
        time.sleep(1.0)  # some frames
        yield replay, child, arguments
    finally:
        for process in nodes:
            if process.is_running():
                process.kill()
        replay.kill()
        replay.communicate()


def wait_until_gone(process: psutil.Process) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end_s, "an orphan is left"
        time.sleep(0.05)


def test_a_hung_node_ends_the_replay_in_words(tmp_path: Path) -> None:
    """A stopped process is what a runtime looks like that never returns: nothing answers any more."""
    with running_replay(tmp_path, "--node-timeout-s", "3") as (replay, child, _):
        child.suspend()
        _, errors = replay.communicate(timeout=120)
        wait_until_gone(child)
    assert replay.returncode == 1
    text = " ".join(errors.split())
    assert "error: node /baseline/planning finished no frame for 3 s (its limit): " in text
    assert "came back, the last with stamp" in text
    assert "its process runs, its state is unknown, it did not answer" in text
    assert "Traceback" not in errors
    report = Report.read(tmp_path / "out" / "report.json")
    assert any("partial" in note for note in report.notes)
    variant = report.tasks["planning"].variants["baseline"]
    assert variant.sent - len_done(variant.reasons) == variant.processed
    assert any("reached the node" in problem for problem in report.problems)


def len_done(reasons: dict[str, int]) -> int:
    return sum(reasons.values())


def test_a_second_signal_ends_it_faster_and_leaves_no_orphan(tmp_path: Path) -> None:
    """The nodes hang, so the first signal waits for them; the second must not leave them behind."""
    with running_replay(tmp_path) as (replay, child, _):
        child.suspend()
        os.kill(replay.pid, signal.SIGTERM)
        time.sleep(0.5)
        began_s = time.monotonic()
        os.kill(replay.pid, signal.SIGTERM)
        wait_until_gone(child)
        os.kill(replay.pid, signal.SIGTERM)
        _, errors = replay.communicate(timeout=120)
        assert time.monotonic() - began_s < PATIENCE_S
    assert replay.returncode in (1, -signal.SIGTERM), "the third comes while the report is drawn, or before"
    assert "Traceback" not in errors


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux does it")
def test_a_replay_that_is_killed_leaves_no_orphan(tmp_path: Path) -> None:
    """Not even nodes that hang."""
    with running_replay(tmp_path) as (replay, child, _):
        child.suspend()
        replay.kill()
        replay.wait()
        wait_until_gone(child)
