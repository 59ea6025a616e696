# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The targets that are processes: the package's nodes, composed too, the empty hop, the tutorial's node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import yaml

from ad_compressed_perception.core.errors import AdcpError
from benchmark.hot_path.block import Block
from benchmark.hot_path.cells import Cell, Model
from benchmark.hot_path.driver import Connection, Driver
from benchmark.hot_path.frames import CameraFrame

REPOSITORY = Path(__file__).resolve().parents[2]
_START_S = 90.0
_FIRST_ANSWER_S = 30.0
_WARMING = 8
_STOP_S = 10.0


class RosTarget:
    """Processes that answer the frames of one namespace.

    Attributes:
        name: of the target.
        problem: why it gives no figures; empty while it works.
        answers: its last answer of each task, serialized.
    """

    def __init__(
        self, name: str, commands: Sequence[Sequence[str]], connection: Connection, log: Path
    ) -> None:
        """Start the processes.

        Args:
            name: of the target.
            commands: modules with their arguments, one a process.
            connection: to the driver.
            log: file for what they print.
        """
        self.name, self.problem = name, ""
        self._connection, self._log = connection, log
        self._stream = log.open("w")
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", *command],
                stdout=self._stream, stderr=subprocess.STDOUT, env=environment, cwd=log.parent,
            )
            for command in commands
        ]  # fmt: skip
        self._watched = [psutil.Process(each.pid) for each in self._processes]

    @property
    def answers(self) -> dict[str, bytes]:
        """The last answer of each task."""
        return self._connection.last_answers

    def warm_up(self, frames: Sequence[CameraFrame], subscribers: int) -> None:
        """Wait until it answers; ``problem`` says what is wrong where it does not."""
        end = time.monotonic() + _START_S
        while not self._connection.is_connected(subscribers):
            if time.monotonic() > end or self._has_ended():
                self.problem = f"did not start: {self._last_line()}"
                return
            time.sleep(0.05)
        end = time.monotonic() + _FIRST_ANSWER_S
        while not self._connection.answer(frames[0], 1.0):
            if time.monotonic() > end or self._has_ended():
                self.problem = f"no answer: {self._last_line()}"
                return
        for frame in frames[1:_WARMING]:
            self._connection.answer(frame, 1.0)

    def run(self, frames: Sequence[CameraFrame], rate_hz: float) -> Block:
        """Give it frames at a rate."""
        block = self._connection.run(frames, rate_hz, self._watched)
        if self._has_ended():
            self.problem = f"ended: {self._last_line()}"
        return block

    def memory_mb(self) -> tuple[float, float] | None:
        """Return the sums of RSS and PSS; None where a process ended or PSS cannot be read."""
        try:
            every = [each.memory_full_info() for each in self._watched]
        except psutil.Error:
            return None
        return sum(each.rss for each in every) / 1e6, sum(getattr(each, "pss", 0) for each in every) / 1e6

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._stream.close()
        self._connection.close()

    def _has_ended(self) -> bool:
        return any(process.poll() is not None for process in self._processes)

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def start_nodes(name: str, driver: Driver, cell: Cell, models: Sequence[Model], folder: Path) -> RosTarget:
    """Start a target whose answers are results.

    Args:
        name: "node" (a process a task), "composed" (one process) or "tutorial" (a process a task).
        driver: drives it.
        cell: what it gets.
        models: one for each task.
        folder: for parameter files and logs.
    """
    transport = "raw" if cell.image_format == "raw" else "compressed"
    tasks = cell.task_names
    commands: list[list[str]] = []
    if name == "tutorial":
        for task, model in zip(tasks, models, strict=True):
            command = [
                "benchmark.hot_path.tutorial_node",
                str(model.manifest.folder),
                model.variant,
                transport,
            ]
            commands.append([*command, "--ros-args", "-r", f"__ns:=/{name}", "-r", f"__node:={task}"])
    else:
        parameters = {
            f"/{name}/{task}": {
                "ros__parameters": {
                    "model": str(model.manifest.folder), "variant": model.variant, "transport": transport
                }
            }
            for task, model in zip(tasks, models, strict=True)
        }  # fmt: skip
        entries = [f"{task}_node:/{name}/{task}" for task in tasks]
        parameters["/compose"] = {"ros__parameters": {"nodes": entries}}
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(parameters))
        given = ["--ros-args", "--params-file", str(file)]
        if name == "composed":
            commands = [["ad_compressed_perception.nodes.compose", *given]]
        else:
            commands = [
                [
                    f"ad_compressed_perception.nodes.{task}_node", *given,
                    "-r", f"__ns:=/{name}", "-r", f"__node:={task}",
                ]
                for task in tasks
            ]  # fmt: skip
    connection = Connection(driver, name, tasks, transport, has_timing=name != "tutorial")
    return RosTarget(name, commands, connection, folder / f"{name}.log")


def start_hop(name: str, driver: Driver, cell: Cell, answers: dict[str, bytes], folder: Path) -> RosTarget:
    """Start the empty hop: "hop" with messages, "hop_bytes" with serialized ones.

    Raises:
        AdcpError: there is no answer that it could send.
    """
    transport = "raw" if cell.image_format == "raw" else "compressed"
    commands = []
    for task in cell.task_names:
        if task not in answers:
            raise AdcpError(f"{cell.title}: the node gave no {task} answer, so there is none to prebuild")
        file = folder / f"{task}.cdr"
        file.write_bytes(answers[task])
        command = ["benchmark.hot_path.empty_hop", task, str(file), transport]
        command.append("bytes" if name == "hop_bytes" else "message")
        commands.append([*command, "--ros-args", "-r", f"__ns:=/{name}", "-r", f"__node:={task}"])
    connection = Connection(driver, name, cell.task_names, transport, has_timing=False)
    return RosTarget(name, commands, connection, folder / f"{name}.log")
