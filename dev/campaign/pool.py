# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of a section in processes of their own: a hang or a crash is counted and ends nothing else.

A case is a number: section, seed and number make the same input every time.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_START_LIMIT_S = 300.0
FAULTS = ("traceback", "hang", "crash", "bad line")
"""What no input may cause: an unexpected error, no end, the end of the process, an error of several lines."""


@dataclass
class Failure:
    """One input that caused a fault, and what is needed to run it again."""

    section: str
    seed: int
    number: int
    fault: str
    detail: str
    folder: str

    @property
    def command(self) -> str:
        """The command that runs this case alone."""
        return f"python -m dev.campaign --section {self.section} --seed {self.seed} --case {self.number}"


@dataclass
class Result:
    """What a section tried and what happened.

    Attributes:
        outcomes: number of cases by outcome, such as "refused" or "traceback".
        failures: the cases that caused a fault.
        seconds: wall time.
    """

    section: str
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def tried(self) -> int:
        """How many cases ran."""
        return sum(self.outcomes.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        failures = [{**vars(failure), "command": failure.command} for failure in self.failures]
        return {**vars(self), "outcomes": dict(self.outcomes), "failures": failures}


class Worker:
    """A process that runs cases of one section one after the other."""

    def __init__(self, section: str, seed: int, folder: Path) -> None:
        """Start it; ``folder`` keeps its inputs and its log."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log = (folder / "log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dev.campaign.worker", section, str(seed), str(folder)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": _python_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self._answer(_START_LIMIT_S)

    def run(self, number: int, limit_s: float) -> tuple[str, str]:
        """Return outcome and detail of a case; ("hang", ...) and ("crash", ...) end this worker."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{number}\n".encode())
            self._process.stdin.flush()
        except OSError:
            return "crash", self._ended()
        return self._answer(limit_s)

    def close(self) -> None:
        """End the process and all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()

    def _answer(self, limit_s: float) -> tuple[str, str]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], limit_s)
        if not ready:
            return "hang", f"no answer within {limit_s:.0f} s"
        line = self._process.stdout.readline()
        if not line:
            return "crash", self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer["outcome"], answer["detail"]

    def _ended(self) -> str:
        status = self._process.wait()
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"the process ended ({how}): {(self.folder / 'log').read_text(errors='replace')[-300:]}"


def run_section(
    section: str,
    seed: int,
    *,
    limit_s: float,
    numbers: Iterable[int],
    seconds: float,
    workers: int,
    out: Path,
) -> Result:
    """Run cases until all of them are done or ``seconds`` are over; inputs that failed are kept."""
    result = Result(section, seed)
    left = iter(numbers)
    lock = threading.Lock()
    start = time.monotonic()

    def work(place: int) -> None:
        folder = out / "work" / f"{section}-{place}"
        worker: Worker | None = None
        while time.monotonic() - start < seconds:
            with lock:
                number = next(left, None)
            if number is None:
                break
            worker = worker or Worker(section, seed, folder)
            outcome, detail = worker.run(number, limit_s)
            if outcome in ("hang", "crash"):
                worker.close()
                worker = None
            with lock:
                result.outcomes[outcome] += 1
                if outcome in FAULTS:
                    kept = _keep(folder / "case", out / "failures" / f"{section}-{number}")
                    result.failures.append(Failure(section, seed, number, outcome, detail, str(kept)))
        if worker is not None:
            worker.close()
        shutil.rmtree(folder, ignore_errors=True)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.seconds = time.monotonic() - start
    return result


def _keep(case: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    if case.is_dir():
        shutil.copytree(case, target, symlinks=True)
    return target


def _python_path() -> str:
    """Return the search path of a worker: this repository, its tests' helpers and what was there."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "test"), *([given] if given else [])])
