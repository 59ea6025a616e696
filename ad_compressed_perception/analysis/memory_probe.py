# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Memory use of a model, measured in a process of its own that sizes.py starts.

The peak is the system's own high-water mark (VmHWM in Linux's /proc/self/status), reset to the present
value before the model is loaded. Where it cannot be reset it is the peak of the whole process.

Usage: ``python -m ad_compressed_perception.analysis.memory_probe FILE BACKEND OPTIONS_JSON [SHAPE_JSON]``;
prints one JSON object. A model of one operator loads the runtime's libraries and pools before the first
reading, and freed memory is returned to the system before each reading. With the shape of an image input the
runtime is counted too, as one must to compare runtimes, and dynamic sizes take those of the shape.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from ad_compressed_perception.backends import Session, create_backend
from ad_compressed_perception.backends.base import zero_feeds
from ad_compressed_perception.backends.stage_file import read_stage_file
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.model_files import STAGES_NAME
from ad_compressed_perception.core.tensors import TensorSpec


def main(arguments: list[str]) -> int:
    """Print loaded_bytes, running_bytes, peak_bytes and load_ms of a model, or the error in one line."""
    path, name, options = Path(arguments[0]), arguments[1], json.loads(arguments[2])
    shape = json.loads(arguments[3]) if len(arguments) > 3 else None
    backend = create_backend(name)
    if "warmup_runs" in backend.options_type.model_fields:
        options["warmup_runs"] = 0
    loaded_runtime = _load_runtimes(backend, path, options) if shape is None else None
    before = _resident_bytes()
    _reset_peak()
    try:
        session = backend.load(path, options)
        loaded = _resident_bytes()
        session.infer(zero_feeds(_of_shape(session.info.inputs, shape)))
    except AdcpError as error:
        print(json.dumps({"error": str(error)}))
        return 1
    running = _resident_bytes()
    peak = max(_peak_bytes(), running)
    del loaded_runtime
    readings = {"loaded_bytes": loaded, "running_bytes": running, "peak_bytes": peak}
    grown = {name: max(0, reading - before) for name, reading in readings.items()}
    print(json.dumps({**grown, "load_ms": session.info.load_ms}))
    return 0


def _of_shape(inputs: tuple[TensorSpec, ...], shape: list[int] | None) -> tuple[TensorSpec, ...]:
    """Return inputs with the sizes of an image in place of dynamic ones."""
    if shape is None:
        return inputs
    return tuple(
        replace(spec, shape=tuple(size or given for size, given in zip(spec.shape, shape, strict=True)))
        if len(spec.shape) == len(shape)
        else spec
        for spec in inputs
    )


def _load_runtimes(backend: Any, path: Path, options: dict[str, Any]) -> list[Session]:
    """Load and run a model of one operator, so that memory of the runtime itself is not counted."""
    if path.name == STAGES_NAME:
        stages = [] if options.get("run_in") == "processes" else read_stage_file(path).stages
        return [_load_one(create_backend(name), {}) for name in dict.fromkeys(one.backend for one in stages)]
    return [_load_one(backend, options)] if path.suffix == ".onnx" else []


def _load_one(backend: Any, options: dict[str, Any]) -> Session:
    from onnx import TensorProto, helper, save

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "one.onnx"
        save(model, str(tiny))
        session: Session = backend.load(tiny, options)
        session.infer(zero_feeds(session.info.inputs))
    return session


def _resident_bytes() -> int:
    """Return the memory of this process and of those that it started for stages."""
    gc.collect()
    # Exists in glibc only; elsewhere the reading is slightly high.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    own = psutil.Process()
    return sum(int(one.memory_info().rss) for one in (own, *own.children(recursive=True)))


def _reset_peak() -> None:
    """Reset the high-water mark (Linux; proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return _process_peak_bytes()


def _process_peak_bytes() -> int:
    """Return the peak of the whole process where there is no /proc."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
