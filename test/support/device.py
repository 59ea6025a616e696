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


TRTEXEC = """#!{python}
import json, pathlib, shutil, sys
import numpy as np, onnxruntime
given = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:] if "=" in word)
with open("calls.txt", "a") as calls:
    calls.write(("build" if "onnx" in given else "run") + "\\n")
if "onnx" in given:
    shutil.copy(given["onnx"], given["saveEngine"])
else:
    session = onnxruntime.InferenceSession(given["loadEngine"])
    name, _, file = given["loadInputs"].partition(":")
    shape = session.get_inputs()[0].shape
    feed = np.fromfile(file, np.float32).reshape(shape)
    rows = [
        {{"name": one.name, "dimensions": "x".join(map(str, value.shape)), "values": value.ravel().tolist()}}
        for one, value in zip(session.get_outputs(), session.run(None, {{name: feed}}))
    ]
    pathlib.Path(given["exportOutput"]).write_text(json.dumps(rows))
"""


def write_trtexec(folder: Path) -> Path:
    """Write a stand-in of TensorRT's trtexec: its plan is the model, which ONNX Runtime runs."""
    folder.mkdir()
    tool = folder / "trtexec"
    tool.write_text(TRTEXEC.format(python=sys.executable))
    tool.chmod(0o755)
    return tool
