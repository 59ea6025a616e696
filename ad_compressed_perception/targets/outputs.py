# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads what a device wrote back, and refuses what does not belong to the exported model and frames.

Nothing is judged in part: one frame that is missing, altered, of another model or of another input ends it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import file_sha256
from ad_compressed_perception.core.one_line import one_line, shorten_list
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.report.schemas.device_export import DeviceExport, DeviceOutputs, export_id
from ad_compressed_perception.targets.export import EXPORT, MODEL, RECIPE, TAIL

INDEX = "index.json"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class DeviceRun:
    """What a device gave for all reference frames.

    Attributes:
        export: what was handed over.
        index: what the device wrote of itself.
        expected: outputs of the float baseline, frame by frame.
        outputs: those of the device, likewise.
        times_ms: of each inference on the device; NaN where it measured none.
    """

    export: DeviceExport
    index: DeviceOutputs
    expected: list[Arrays]
    outputs: list[Arrays]
    times_ms: list[float]


def read_device_run(folder: Path) -> DeviceRun:
    """Read an exported folder with the device's outputs/ in it.

    Raises:
        DataError: a file is missing, altered, or belongs to another model or frame; the line names it.
    """
    if not (folder / EXPORT).is_file():
        raise DataError(
            f"{folder} has no {EXPORT}: name the folder that adcp export wrote, with outputs/ in it"
        )
    export = DeviceExport.read(folder / EXPORT)
    _check_export(folder, export)
    if not (folder / "outputs" / INDEX).is_file():
        raise DataError(
            f"{folder}/outputs/{INDEX} is missing: run run_on_device.py on the device to its end, then copy "
            "its outputs/ into this folder"
        )
    index = DeviceOutputs.read(folder / "outputs" / INDEX)
    _check_index(folder, export, index)
    given = {one.name: one for one in index.frames}
    expected, outputs, times = [], [], []
    for frame in export.frames:
        one = given[frame.name]
        if one.input_sha256 != frame.input_sha256:
            raise DataError(
                f"the device ran another input for frame {frame.name} than inputs/{frame.name}.npy"
            )
        path = folder / "outputs" / one.file
        if not path.is_file():
            raise DataError(f"outputs of frame {frame.name} are missing: {path}")
        if file_sha256(path) != one.sha256:
            raise DataError(f"{path} is not the file that {INDEX} names (sha256): copy outputs/ again, whole")
        outputs.append(_arrays(path, export.device_outputs))
        expected.append(_arrays(folder / "expected" / f"{frame.name}.npz", export.baseline_outputs))
        times.append(one.ms if one.ms is not None and one.ms > 0.0 else float("nan"))
    return DeviceRun(export, index, expected, outputs, times)


def _check_export(folder: Path, export: DeviceExport) -> None:
    """Refuse an exported folder of which a file was changed since."""
    files = {folder / MODEL: export.model_sha256, folder / RECIPE: export.recipe_sha256}
    if export.model_file_sha256 is not None:
        files[folder / export.model_file] = export.model_file_sha256
    if export.tail_sha256 is not None:
        files[folder / TAIL] = export.tail_sha256
    for frame in export.frames:
        files[folder / "frames" / f"{frame.name}.png"] = frame.image_sha256
        files[folder / "inputs" / f"{frame.name}.npy"] = frame.input_sha256
        files[folder / "expected" / f"{frame.name}.npz"] = frame.expected_sha256
    for path, expected in files.items():
        if not path.is_file():
            raise DataError(f"{path} is missing: the verdict needs the whole folder of adcp export")
        if file_sha256(path) != expected:
            raise DataError(f"{path} was changed since it was exported (sha256): export again")
    if export_id(export) != export.export_id:
        raise DataError(f"{folder / EXPORT} was changed since it was exported (export_id): export again")


def _check_index(folder: Path, export: DeviceExport, index: DeviceOutputs) -> None:
    """Refuse outputs of another export, and frames that are missing, given twice or unknown."""
    if index.model_sha256 != export.model_sha256:
        raise DataError(
            f"{folder}/outputs is of another model (sha256 {index.model_sha256[:12]}..., {MODEL} here has "
            f"{export.model_sha256[:12]}...): run this folder's run_on_device.py"
        )
    if index.export_id != export.export_id:
        raise DataError(
            f"{folder}/outputs is of an earlier export of this model: run this folder's run_on_device.py"
        )
    if export.model_file_sha256 not in (None, index.model_file_sha256):
        raise DataError(
            f"{folder}/outputs is of another {export.model_file} (sha256 {index.model_file_sha256[:12]}...) "
            "than was exported: run this folder's run_on_device.py with the file that is in it"
        )
    asked = [one.name for one in export.frames]
    given = Counter(one.name for one in index.frames)
    missing = [name for name in asked if name not in given]
    if missing:
        raise DataError(
            f"{folder}/outputs has {len(asked) - len(missing)} of {len(asked)} frames, missing: "
            f"{shorten_list(missing)}: run all of them on the device"
        )
    wrong = [name for name, count in given.items() if count > 1 or name not in asked]
    if wrong:
        raise DataError(f"{folder}/outputs has frames that are unknown or given twice: {shorten_list(wrong)}")
    files = Counter(one.file for one in index.frames)
    shared = [one.name for one in index.frames if files[one.file] > 1]
    if shared:
        raise DataError(f"{folder}/outputs has one file for several frames: {shorten_list(shared)}")


def _arrays(path: Path, specs: list[TensorSpec]) -> Arrays:
    """Return the arrays of a file under the names of the outputs, in their order."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = [stored[f"arr_{place}"] for place in range(len(stored.files))]
    except Exception as error:  # numpy's and zipfile's own
        raise DataError(f"{path} is no file of arrays, or damaged: {one_line(error)}") from error
    if len(arrays) != len(specs):
        raise DataError(f"{path} has {len(arrays)} outputs, the model has {len(specs)}")
    found = {}
    for spec, array in zip(specs, arrays, strict=True):
        fits = len(array.shape) == len(spec.shape) and all(
            size in (None, actual) for size, actual in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            shown = [size if size is not None else "?" for size in spec.shape]
            raise DataError(f"{path}: output {spec.name!r} is {list(array.shape)}, the model gives {shown}")
        if array.dtype.name != spec.dtype and not (
            array.dtype.kind == "f" and spec.dtype.startswith("float")
        ):
            raise DataError(
                f"{path}: output {spec.name!r} is {array.dtype.name}, the model gives {spec.dtype}"
            )
        found[spec.name] = array.astype(spec.dtype, copy=False)
    return found
