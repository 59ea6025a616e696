# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the nodes of a replay in a child process, monitors it and always ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.replay.plan import PACKAGE, remapping_arguments

_LOG_PREFIX = re.compile(r"^\[(?:ERROR|FATAL)\] \[[\d.]+\] \[(?P<node>[^\]]+)\]: ")
_STOP_TIMEOUT_S = 5.0


class ReplayError(AdcpError):
    """The replay cannot go on: a node refused its model, ended unexpectedly or stopped responding."""


class NodeProcess:
    """``compose`` with all nodes of a replay, in a process group of its own.

    Ctrl-C in a terminal reaches only the replay, which then ends this process in order.
    """

    def __init__(self, parameters: Path, log: Path, namespace: str) -> None:
        """Store the parameter file, where the process's output goes, and the namespace of its nodes."""
        self._parameters = parameters
        self._namespace = namespace
        self._log = log
        self._stream: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> NodeProcess:
        """Start the process."""
        command = [sys.executable, "-m", f"{PACKAGE}.replay.node_main", str(os.getpid()), "--ros-args"]
        command += ["--params-file", str(self._parameters), *remapping_arguments(self._namespace)]
        self._stream = self._log.open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End the process: SIGINT, which lets the nodes close, then SIGTERM, then SIGKILL to its group."""
        process = self._process
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                if process is None or process.poll() is not None:
                    break
                process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_TIMEOUT_S)
        finally:
            self.kill()
            if process is not None:
                process.wait()
            if self._stream is not None:
                self._stream.close()

    def kill(self) -> None:
        """End the process and what it started at once; may be called from a signal handler."""
        if self._process is not None:
            # The group outlives its leader where the nodes started processes of their own.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """Process id."""
        return 0 if self._process is None else self._process.pid

    def check(self) -> None:
        """Raise ReplayError, with the last error the process wrote, when it has ended."""
        process = self._process
        if process is None or process.poll() is None:
            return
        code = process.returncode
        end = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
        last_error = self.last_error()
        raise ReplayError(f"the process that runs the nodes {end}{f': {last_error}' if last_error else ''}")

    def last_error(self, node: str | None = None) -> str:
        """Return the last error line the process, or one node of it, wrote; empty without one."""
        logger = None if node is None else node.strip("/").replace("/", ".")
        own = self._namespace.strip("/") + "."
        found = ""
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            match = _LOG_PREFIX.match(line)
            # A child logger, such as NODE.worker, is the node's too.
            if match and (logger is None or f"{match['node']}.".startswith(f"{logger}.")):
                found = line[match.end() :]
            elif logger is None and re.match(r"^(error: |\w*(Error|Exception)\b)", line):
                found = line.removeprefix("error: ")
        return found.strip().replace(self._namespace, "").replace(own, "")
