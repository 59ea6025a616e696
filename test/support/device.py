# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""This machine as the device of an exported folder, and outputs spoiled as by a wrong device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ad_compressed_perception.core.manifest import file_sha256


def run_on_device(folder: Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    """Run the folder's script where this package cannot be imported: isolated, from another folder."""
    blocked = folder / "ad_compressed_perception.py"
    blocked.write_text("raise ImportError('not on a device')\n")
    try:  # a script's own folder is the first that Python imports from
        return subprocess.run(
            [sys.executable, str(folder / "run_on_device.py")], cwd="/", capture_output=True, text=True,
            timeout=300, env={"PATH": path, "HOME": str(folder)},
        )  # fmt: skip
    finally:
        blocked.unlink()


def copy_of(folder: Path, place: Path) -> Path:
    """Copy an exported folder to a place where it may be changed."""
    return Path(shutil.copytree(folder, place))


def spoil(folder: Path, change: Callable[[np.ndarray], np.ndarray], place: int = 0) -> None:
    """Change one output of every frame, with a consistent index, as a wrong device would."""
    path = folder / "outputs" / "index.json"
    index = json.loads(path.read_text())
    for frame in index["frames"]:
        file = folder / "outputs" / frame["file"]
        with np.load(file) as stored:
            arrays = [stored[name] for name in stored.files]
        arrays[place] = change(arrays[place])
        np.savez(file, *arrays)
        frame["sha256"] = file_sha256(file)
    path.write_text(json.dumps(index))
