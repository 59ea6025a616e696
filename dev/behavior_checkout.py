# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A checkout that is run from outside, and how its output is made comparable."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VOLATILE_KEYS = re.compile(
    "created|seconds|.*_ms|.*_hz|.*speedup.*|rounds|(loaded|running|peak)_bytes"  # times and memory
    "|processed|dropped_.*|failed|pending|deadline_misses|not_inference_share"  # counts of a replay
)
"""Keys of reports and manifests whose values are recorded as types."""


VOLATILE_TEXT = re.compile(
    r"speed-up|times as fast|\bp50|\bp99|\d ms\b|memory|→"  # a row with an arrow gives a pass's seconds
    r"|written \d{4}-"
)
"""Lines with such words are recorded without their numbers."""


LOAD_NOTE = "Other programs kept"
"""A line that begins so is left out: it is there when the machine was busy."""


VOLATILE_FILES = re.compile(r".*\.(md|json|jsonl|yaml)|costs\.png|latency\.png|stages\.png")
"""Files of a report that are recorded by name: they show times, or are recorded in another way."""


MODELS = {task: f"models/road_{task}" for task in ("detection", "segmentation", "planning")}


FRAMES = 120  # 100 verify, the rest calibrates


PATIENCE_S = 120.0


NUMBER = re.compile(r"(?<![A-Za-z_\d])\d[\d.,]*")


READ_SETUP = """
import json, runpy, setuptools
found = {}
setuptools.setup = found.update
runpy.run_path("setup.py")
print(json.dumps({key: found[key] for key in ("name", "version", "packages", "entry_points")}))
"""


RUN_SCRIPT = "import sys; sys.argv[0] = {name!r}; from {module} import {function} as main; sys.exit(main())"


LOCATE = "import importlib, sys; print(*(importlib.import_module(name).__file__ for name in sys.argv[1:]))"


@dataclass(frozen=True)
class Checkout:
    """One checkout, ready to be run.

    Attributes:
        root: its folder.
        work: temporary folder for what the runs write.
        scripts: module and function of each console script.
        environment: variables of the child processes.
        recordings: drives recorded so far, by name.
    """

    root: Path
    work: Path
    scripts: dict[str, str]
    environment: dict[str, str]
    recordings: dict[str, Path] = field(default_factory=dict)

    def command(self, script: str) -> list[str]:
        """Return the command that runs a console script of this checkout."""
        module, _, function = self.scripts[script].partition(":")
        return [sys.executable, "-c", RUN_SCRIPT.format(name=script, module=module, function=function)]

    def run(self, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a console script to its end."""
        return run_child([*self.command(script), *map(str, arguments)], self.root, self.environment)

    def camera_bag(self) -> Path:
        """Return the small recording that all sections share; made when first asked for."""
        if "bag" not in self.recordings:
            folder = self.work / "camera_bag"
            done = self.run(
                "adcp", "camera", "--bag", "--frames", str(FRAMES), "--seed", "7", "--out", folder
            )
            if done.returncode:
                raise RuntimeError(f"adcp camera failed: {done.stderr}")
            self.recordings["bag"] = folder
        return self.recordings["bag"]


def run_child(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed."""
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )


def open_checkout(root: Path, work: Path) -> Checkout:
    """Prepare a checkout; end the program when Python would import another one in its place."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("ADCP_WORK", "AD_SHARED")},
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(work / "log"),
    }
    read = run_child([sys.executable, "-c", READ_SETUP], root, environment)
    if read.returncode:
        sys.exit(f"error: {root}/setup.py cannot be read: {read.stderr}")
    setup = json.loads(read.stdout)
    metadata = write_metadata(setup, work)
    environment["PYTHONPATH"] = f"{metadata}{os.pathsep}{root}"
    names = sorted({package.partition(".")[0] for package in setup["packages"]})
    located = run_child([sys.executable, "-c", LOCATE, *names], work, environment)
    files = located.stdout.split()
    if located.returncode or not all(Path(path).resolve().is_relative_to(root) for path in files):
        sys.exit(f"error: Python does not import {', '.join(names)} from {root}: {files} {located.stderr}")
    targets = dict(line.split(" = ", 1) for line in setup["entry_points"]["console_scripts"])
    return Checkout(root, work, targets, environment)


def write_metadata(setup: dict[str, Any], work: Path) -> Path:
    """Write the checkout's own entry points as installed metadata, which hides that of the environment."""
    folder = work / "metadata"
    info = folder / f"{setup['name']}-{setup['version']}.dist-info"
    info.mkdir(parents=True)
    heading = f"Metadata-Version: 2.1\nName: {setup['name']}\nVersion: {setup['version']}\n"
    (info / "METADATA").write_text(heading, encoding="utf-8")
    groups = [f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in setup["entry_points"].items()]
    (info / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    return folder


def type_tree(value: Any) -> Any:
    """Return a value's keys and types; of a list the first entry stands for all."""
    if isinstance(value, dict):
        return {key: type_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [type_tree(item) for item in value[:1]]
    if value is None or isinstance(value, bool):
        return value
    return "<number>" if isinstance(value, int | float) else "<text>"


def stable(value: Any) -> Any:
    """Return a report without what differs from run to run."""
    if isinstance(value, dict):
        return {
            key: type_tree(item) if VOLATILE_KEYS.fullmatch(str(key)) else stable(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [stable(item) for item in value if not str(item).startswith(LOAD_NOTE)]
    return "\n".join(stable_lines(value)) if isinstance(value, str) else value


def stable_lines(text: str, volatile: re.Pattern[str] = VOLATILE_TEXT) -> list[str]:
    """Return the lines of a text, without the numbers of those that are about times or memory."""
    return [
        NUMBER.sub("N", line) if volatile.search(line) else line
        for line in text.splitlines()
        if not line.lstrip("- ").startswith(LOAD_NOTE)
    ]


def sha256(content: bytes) -> str:
    """Return a hash as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def describe_folder(folder: Path, volatile: re.Pattern[str] | None = VOLATILE_FILES) -> dict[str, str]:
    """Return the files of a folder, each with its hash unless its content is volatile."""
    return {
        path.relative_to(folder).as_posix(): (
            "<volatile>" if volatile and volatile.fullmatch(path.name) else sha256(path.read_bytes())
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_json(path: Path) -> Any:
    """Return the stable part of a JSON file, or None where there is none."""
    return stable(json.loads(path.read_text("utf-8"))) if path.is_file() else None
