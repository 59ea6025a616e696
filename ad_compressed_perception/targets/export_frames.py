# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of an exported folder: those that calibrate, and those that the device runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.pass_runner import Samples
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest, file_sha256
from ad_compressed_perception.data.frames import read_image_file
from ad_compressed_perception.image.decode import Frame, to_bgr8
from ad_compressed_perception.report.schemas.device_export import ReferenceFrame
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_compressed_perception.tasks.prepare import Preparer


def write_calibration(folder: Path, samples: Samples, changed: Manifest) -> None:
    """Write the calibration frames as images and as the tensors that the model gets."""
    images, tensors = folder / "calibration" / "images", folder / "calibration" / "tensors"
    tensors.mkdir(parents=True)
    prepare = Preparer(changed.input)
    images.mkdir()
    for place, frame in enumerate(samples.calibration):
        _write_png(images / f"{place:06d}.png", frame)
        np.save(tensors / f"{place:06d}.npy", prepare(frame)[0])


def write_images(folder: Path, samples: Samples) -> list[str]:
    """Write the reference frames without loss; return their names, in the order of time."""
    folder.mkdir()
    frames, stamps = samples.verification, samples.verification.source.stamps_ns()
    chosen = [stamps[index] for index in frames.indices]
    by_stamp = len(set(chosen)) == len(chosen) and min(chosen) >= 0 and sorted(chosen) == chosen
    names = []
    for place, frame in enumerate(frames):
        names.append(f"{chosen[place]}" if by_stamp else f"{place}")
        _write_png(folder / f"{names[-1]}.png", frame)
    return names


def _write_png(path: Path, frame: Frame) -> None:
    pixels: NDArray[Any] = frame.pixels if frame.color == "GRAY" else to_bgr8(frame)
    if not cv2.imwrite(str(path), pixels):
        raise DataError(f"cannot write {path}: is the disk full?")


def write_reference(folder: Path, name: str, baseline: Pipeline, changed: Manifest) -> ReferenceFrame:
    """Write the tensor that the device gets of a frame, and what the float baseline gives."""
    image = folder / "frames" / f"{name}.png"
    frame = read_image_file(image)  # as the verdict will read it
    given, expected = folder / "inputs" / f"{name}.npy", folder / "expected" / f"{name}.npz"
    for path in (given, expected):
        path.parent.mkdir(exist_ok=True)
    np.save(given, Preparer(changed.input)(frame)[0])
    feeds, _ = baseline.task.prepare(frame)
    outputs = baseline.session.infer(feeds)
    np.savez(expected, *(outputs[spec.name] for spec in baseline.session.info.outputs))
    return ReferenceFrame(
        name=name,
        image_sha256=file_sha256(image),
        input_sha256=file_sha256(given),
        expected_sha256=file_sha256(expected),
    )
