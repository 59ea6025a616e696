# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads ONNX Runtime's profile file: the duration of each operator in each run."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from ad_compressed_perception.backends.base import LayerTime
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.tensors import LayerRecord

_SUFFIX = "_kernel_time"


def read_profile(path: Path, skip_runs: int, records: list[LayerRecord]) -> list[LayerTime]:
    """Return the median time of each executed operator over the runs of a profile, in the records' order.

    Args:
        path: the file that ONNX Runtime wrote, a JSON list of trace events.
        skip_runs: first runs that only warmed up.
        records: the executed graph's layers; operators are joined to them by name.

    Raises:
        BackendError: the file holds no complete run, or is cut off, as on a full disk.
    """
    try:
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackendError(
            f"onnxruntime's profile {path} is incomplete: make room on that disk, or set TMPDIR to another"
        ) from error
    runs = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in events
        if event.get("cat") == "Session" and event.get("name") == "model_run"
    )[skip_runs:]
    if not runs:
        raise BackendError("onnxruntime wrote a profile without a complete run")
    times_us: dict[str, list[float]] = {}
    operators: dict[str, tuple[str, str]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(_SUFFIX):
            continue
        run = next((i for i, (start, end) in enumerate(runs) if start <= event["ts"] < end), None)
        if run is None:
            continue
        key = name.removesuffix(_SUFFIX) or f"operator {event['args'].get('node_index', '?')}"
        # A loop's body runs several times in one run.
        times_us.setdefault(key, [0.0] * len(runs))[run] += event["dur"]
        operators[key] = (event["args"].get("op_name", "?"), event["args"].get("provider", "?"))
    layers = []
    for record in records:
        found = times_us.pop(record.name, None)
        if found is not None:
            layers.append(LayerTime(record, median(found) / 1e3))
    for key, durations in times_us.items():
        operator, provider = operators[key]
        unlisted = LayerRecord(key, operator, "unknown", f"{provider}:{operator}")
        layers.append(LayerTime(unlisted, median(durations) / 1e3))
    return layers
