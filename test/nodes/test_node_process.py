# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node's process shuts down in order and with status 0, however often it is signaled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from support.ros import PATIENCE_S, wait_for_output

REPOSITORY = Path(__file__).resolve().parents[2]
# Prints its state and stays in it long enough for a signal to arrive.
SCRIPT = """
import atexit, sys, time
from rclpy.node import Node
from ad_compressed_perception.nodes.run import run_process

def report(word):
    print(word, flush=True)

class Slow(Node):
    def __init__(self):
        super().__init__("slow")
        self.create_timer(0.05, lambda: report("spinning"))

    def autostart(self):
        report("starting")
        time.sleep(1.0 if "start" in sys.argv else 0.0)
        return True

    def close(self):
        report("closing")
        time.sleep(1.0)
        report("closed")

def exit_handler():
    report("exiting")
    time.sleep(1.0)
    report("exited")

atexit.register(exit_handler)
run_process(lambda: [Slow()])
"""

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("interrupted", "argument"),
    [(["spinning", "closing", "exiting"], "run"), (["starting", "closing"], "start")],
)
def test_repeated_signals_do_not_interrupt_the_shutdown(
    interrupted: list[str], argument: str, number: signal.Signals, tmp_path: Path
) -> None:
    """A launch forwards the interrupt that its whole process group received."""
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
            wait_for_output(process, log, lambda text, word=word: word in text)
            process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    output = log.read_text()
    assert "Traceback" not in output
    assert "closed" in output
    assert output.endswith("exited\n")


# The context ends as a signal ends it, once the executor waits: nobody wakes it any more.
UNWOKEN = """
import time
import rclpy
from rclpy.node import Node
from ad_compressed_perception.nodes.run import NodeThread

rclpy.init()
node = Node("quiet")
thread = NodeThread(node)
time.sleep(1.0)
context = rclpy.get_default_context()
with context.handle:
    context.handle.shutdown()
thread.join(1.0)
print("waits" if thread.is_alive() else "woken")
thread.end(30.0)
print("hangs" if thread.is_alive() else "ended", flush=True)
"""


def test_an_executor_that_missed_the_end_of_the_context_is_woken() -> None:
    """Failed before: without a timer or message it waited until the limit of 8 s."""
    done = subprocess.run(
        [sys.executable, "-c", UNWOKEN], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.stdout.split()[-1:] == ["ended"], done.stdout + done.stderr
