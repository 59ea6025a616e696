# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is odd about a device's outputs although they may be accepted: copies, and another precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ad_compressed_perception.onnx_graph.io import input_name, read_model
from ad_compressed_perception.onnx_graph.session import open_session
from ad_compressed_perception.targets.export import MODEL
from ad_compressed_perception.targets.facts import QUANTIZE
from ad_compressed_perception.targets.outputs import Arrays, DeviceRun

if TYPE_CHECKING:
    from onnx import ModelProto

FRAMES: Final = 3
"""Reference frames on which the exported form is run here."""
NEARER: Final = 30.0
"""By which factor errors must be smaller than those of the exported form to say that it was not computed.

Half precision leaves errors of about a tenth of those of 8 bits, float of less than a thousandth.
"""
MOST: Final = 1000.0
"""Largest factor that is told; beyond it, numbers of float32 themselves have errors."""
_EQUAL = "warning: the device's outputs are the float baseline's, bit for bit: did the device compute them?"


def remarks(folder: Path, run: DeviceRun) -> list[str]:
    """Return sentences about outputs that are copies or of another precision, and about nodes elsewhere."""
    found = []
    placement = run.index.placement or {}
    if len(placement) > 1:
        parts = ", ".join(f"{count} on {provider}" for provider, count in placement.items())
        found.append(f"of {sum(placement.values())} nodes ran {parts}")
    if _all_equal(run):
        found.append(_EQUAL)
        return found
    for name, factor in _nearer(folder, run).items():
        if factor > NEARER:
            found.append(
                f"warning: output {name!r} of the device is {min(factor, MOST):.0f} times nearer to the "
                f"float baseline's than that of {MODEL} on ONNX Runtime is: it is not computed in 8 bits"
            )
    return found


def _all_equal(run: DeviceRun) -> bool:
    """Whether every output of the device is the float baseline's, to the last bit."""
    return bool(run.outputs) and all(
        len(one) == len(other)
        and all(name in one and np.array_equal(one[name], value) for name, value in other.items())
        for one, other in zip(run.outputs, run.expected, strict=True)
    )


def _nearer(folder: Path, run: DeviceRun) -> dict[str, float]:
    """Return by output the error of the exported integer form on ONNX Runtime by that of the device."""
    model = read_model(folder / MODEL)
    if not any(node.op_type == QUANTIZE for node in model.graph.node):
        return {}
    made = _run(folder, model, run)
    found = {}
    for name, value in made[0].items():
        expected = [one.get(name) for one in run.expected[:FRAMES]]
        if value.dtype.kind != "f" or any(one is None or one.shape != value.shape for one in expected):
            continue
        here, there = (_error(name, outputs, run.expected) for outputs in (made, run.outputs))
        if here > 0.0:
            found[name] = here / max(there, here / MOST)
    return found


def _run(folder: Path, model: ModelProto, run: DeviceRun) -> list[Arrays]:
    """Return the outputs of the exported model on ONNX Runtime, of the first frames."""
    session, given = open_session(model), input_name(model)
    names = [value.name for value in session.get_outputs()]
    found = []
    for frame in run.export.frames[:FRAMES]:
        tensor = np.load(folder / "inputs" / f"{frame.name}.npy", allow_pickle=False)
        found.append(dict(zip(names, session.run(names, {given: tensor}), strict=True)))
    return found


def _error(name: str, outputs: list[Arrays], expected: list[Arrays]) -> float:
    """Return the mean difference of an output on the first frames."""
    pairs = list(zip(outputs, expected, strict=False))[:FRAMES]
    return float(np.mean([np.mean(np.abs(one[name] - np.float64(other[name]))) for one, other in pairs]))
