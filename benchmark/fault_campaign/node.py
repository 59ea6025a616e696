# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node in a process of its own, with the fault-injecting backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ad_road_simulation.faults.kinds import BACKEND, SWITCH

_STOP_S = 20.0


@contextmanager
def faulty_node(
    task: str, parameters: Mapping[str, Any], faults: Mapping[str, Any], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a task's node with faults injected into its variant; whatever happens, it does not survive.

    Args:
        task: planning, detection or segmentation.
        parameters: of the node; model and variant among them.
        faults: options of the backend.
        folder: for its parameter file and its output, node.log.
    """
    options = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).splitlines()[0]}"
        for key, value in faults.items()
    ]
    document = {
        "/**": {
            "ros__parameters": {
                "backend": BACKEND,
                "backend_options": options,
                "transport": "compressed",
                "qos_reliability": "reliable",
                "timing_period_s": 0.0,
                **parameters,
            }
        }
    }
    file = folder / "parameters.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [sys.executable, "-m", f"ad_compressed_perception.nodes.{task}_node", "--ros-args"]
    with (folder / "node.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--params-file", str(file)],
            env={**os.environ, SWITCH: "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_S)
