# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is odd about a device's outputs although they may be accepted: copies, and another precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

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
"""Largest factor that is reported; beyond it, numbers of float32 themselves have errors."""
_NUMBERS = 2000
"""Of an output, evenly spaced, by which frames are distinguished."""
_EQUAL = "warning: the device's outputs are the float baseline's, bit for bit: did the device compute them?"


def remarks(folder: Path, run: DeviceRun) -> list[str]:
    """Return sentences about outputs that are copies or of another precision, and about nodes elsewhere."""
    found = []
    placement = run.index.placement or {}
    if len(placement) > 1:
        parts = ", ".join(f"{count} on {provider}" for provider, count in placement.items())
        found.append(f"of {sum(placement.values())} nodes ran {parts}")
    moved = _of_another_frame(run)
    if len(moved) > 1:  # two frames in each other's place are two
        found.append(
            f"warning: the outputs of {len(moved)} of {len(run.outputs)} frames are nearer to those expected "
            f"of another frame, {moved[0][0]} to {moved[0][1]}: are they late, or in another order?"
        )
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


def _of_another_frame(run: DeviceRun) -> list[tuple[str, str]]:
    """Return frames whose outputs are less than half as far from those of another frame, with that one."""
    given, expected = _samples(run.outputs, run), _samples(run.expected, run)
    if given.size == 0 or not np.isfinite(given).all():
        return []
    names = [one.name for one in run.export.frames]
    found = []
    for place, sample in enumerate(given):
        far = np.abs(expected - sample).mean(axis=1)
        nearest = int(np.argmin(far))
        if far[nearest] < 0.5 * far[place]:
            found.append((names[place], names[nearest]))
    return found


def _samples(outputs: list[Arrays], run: DeviceRun) -> NDArray[np.float64]:
    """Return a row of each frame with numbers of the float outputs, by their spread in what is expected."""
    columns = []
    for name, value in run.expected[0].items():
        rows = [one.get(name) for one in (*run.outputs, *run.expected)]
        if value.dtype.kind != "f" or any(row is None or row.shape != value.shape for row in rows):
            continue
        step = max(1, value.size // _NUMBERS)
        spread = np.std([one[name].reshape(-1)[::step] for one in run.expected]) or 1.0
        columns.append(np.array([one[name].reshape(-1)[::step] for one in outputs], np.float64) / spread)
    return np.concatenate(columns, axis=1) if columns else np.zeros((0, 0))


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
