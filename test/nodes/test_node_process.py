# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a node's process ends: in order and with status 0, however often it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
# Says where it is and stays there for as long as a signal needs to come.
SCRIPT = """
import atexit, sys, time
from rclpy.node import Node
from ad_compressed_perception.nodes.run import run_process

def say(word):
    print(word, flush=True)

class Slow(Node):
    def __init__(self):
        super().__init__("slow")
        self.create_timer(0.05, lambda: say("spinning"))

    def autostart(self):
        say("starting")
        time.sleep(1.0 if "start" in sys.argv else 0.0)
        return True

    def close(self):
        say("closing")
        time.sleep(1.0)
        say("closed")

def tidy():
    say("tidying")
    time.sleep(1.0)
    say("tidied")

atexit.register(tidy)
run_process(lambda: [Slow()])
"""

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("interrupted", "argument"),
    [(["spinning", "closing", "tidying"], "run"), (["starting", "closing"], "start")],
)
def test_signals_that_come_again_disturb_no_end(
    interrupted: list[str], argument: str, number: signal.Signals, tmp_path: Path
) -> None:
    """A launch passes on the interrupt that its whole process group has got."""
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, argument],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
        )
    try:
        for word in interrupted:
            end = time.monotonic() + PATIENCE_S
            while word not in log.read_text():
                assert time.monotonic() < end, log.read_text()
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    said = log.read_text()
    assert "Traceback" not in said
    assert "closed" in said
    assert said.endswith("tidied\n")
