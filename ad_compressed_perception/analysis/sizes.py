# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Three sizes of a variant: as stored, as read by the runtime, and in memory.

| size       | definition                                                                         |
|------------|------------------------------------------------------------------------------------|
| stored     | bytes on disk and over the air: the packed file where there is one                 |
| file       | bytes of the file the runtime reads: the expanded ONNX                             |
| RAM        | growth of a fresh process after loading the model, after running it once, and its  |
|            | peak during both                                                                   |

Codebooks and zeros reduce only the stored size: the runtime computes with expanded weights.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ad_compressed_perception.core.model_files import STAGES_NAME, further_files
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.onnx_graph.io import stored_bytes
from ad_compressed_perception.packing.decompress import decompress
from ad_compressed_perception.packing.packed_file import is_packed

_PROBE = "ad_compressed_perception.analysis.memory_probe"
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Sizes:
    """Bytes.

    Attributes:
        stored_bytes: of the file as stored, with its external weights.
        file_bytes: of the file the runtime reads; the same unless the stored one is packed.
        loaded_bytes: resident memory that loading takes in a fresh process, measured; None where it
            could not be measured. Weights are in it in the runtime's own form, often next to a copy
            reordered for the processor.
        running_bytes: the same after a first inference, with the room for activations.
        peak_bytes: peak while loading and running: memory that must be available.
    """

    stored_bytes: int
    file_bytes: int
    loaded_bytes: int | None
    running_bytes: int | None
    peak_bytes: int | None = None

    def as_dict(self) -> dict[str, int | None]:
        """Return the fields for YAML and JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Probe:
    """What loading and running a model once takes in a process of its own; bytes and milliseconds."""

    loaded_bytes: int
    running_bytes: int
    peak_bytes: int
    load_ms: float


def measure_sizes(path: Path, backend: str, options: Mapping[str, Any]) -> Sizes:
    """Return the sizes of a model file as one backend loads it.

    Raises:
        ModelFileError: a packed file that is damaged.
    """
    expanded = decompress(path)
    stored = path.stat().st_size if is_packed(path) else disk_bytes(path)
    return Sizes(stored, disk_bytes(expanded), *_resident(expanded, backend, options))


def measure_both(
    baseline: tuple[Path, str, Mapping[str, Any]], variant: tuple[Path, str, Mapping[str, Any]]
) -> tuple[Sizes, Sizes]:
    """Return the sizes of a baseline and a variant, each given as file, backend and its options.

    Both processes run at the same time: nothing is timed, and memory is measured for each process.
    """
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(measure_sizes, *given) for given in (baseline, variant))
        return first.result(), second.result()


def disk_bytes(path: Path) -> int:
    """Return the size of a model file of any format, with its external weights and its stages."""
    if path.name == STAGES_NAME:
        return path.stat().st_size + sum(disk_bytes(path.parent / name) for name in further_files(path))
    return stored_bytes(path) if path.suffix == ".onnx" else path.stat().st_size


def probe_process(
    path: Path, backend: str, options: Mapping[str, Any], shape: Sequence[int] | None = None
) -> Probe | str:
    """Load and run a model in a process of its own; return what that took, or why it failed in one line.

    Args:
        path: the file, packed or not.
        backend: the runtime's name.
        options: of the backend.
        shape: of the image input; then the memory of the runtime is counted too, else only the model's.
    """
    command = [sys.executable, "-m", _PROBE, str(path), backend, json.dumps(dict(options))]
    command += [] if shape is None else [json.dumps(list(shape))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"the process that ran it did not end within {_TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"no process could be started for it: {one_line(error)}"
    if done.returncode < 0:
        return f"the process that ran it ended by {signal.Signals(-done.returncode).name}"
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        return str(found["error"]) if "error" in found else Probe(**found)
    except (ValueError, LookupError, TypeError):
        lines = done.stderr.strip().splitlines()
        return f"the process that ran it failed: {lines[-1] if lines else f'status {done.returncode}'}"


def _resident(path: Path, backend: str, options: Mapping[str, Any]) -> tuple[int | None, ...]:
    # The figure is optional: a second process that cannot run must not discard the variant.
    found = probe_process(path, backend, options)
    if isinstance(found, str):
        return None, None, None
    return found.loaded_bytes, found.running_bytes, found.peak_bytes
