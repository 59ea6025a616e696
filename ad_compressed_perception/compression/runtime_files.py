# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The baseline as a file of every runtime that reads another format, for ``adcp parity``.

The frames of a source are split as for a compression: integers are calibrated on other frames than compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ad_compressed_perception.analysis.benchmark import noise_frames
from ad_compressed_perception.analysis.parity_cells import Cell, with_threads
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.choose_variant import missing_runtime
from ad_compressed_perception.compression.frame_split import split_frames
from ad_compressed_perception.core.errors import AdcpError, DataError, RecipeError
from ad_compressed_perception.core.host import read_host
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.core.registry import PASSES, find, names
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.float16 import raise_to_float32
from ad_compressed_perception.onnx_graph.io import input_name, read_model
from ad_compressed_perception.pass_api.passes import Feeds, PassContext
from ad_compressed_perception.report.schemas.parity import MissingCell
from ad_compressed_perception.tasks.prepare import Preparer

CONVERSIONS = {"executorch": "export_executorch", "litert": "export_litert", "torch": "export_torch"}
"""Backend to the pass that writes its files."""
PRECISIONS = ("fp32", "fp16", "int8")
CALIBRATION_FRAMES = 32
_ONNX = (".onnx", ".adcpz")


def converter_install(backend: str) -> str:
    """Return what installs the converter that writes a backend's files; empty where nothing is missing."""
    if backend not in CONVERSIONS:
        return ""
    try:
        find(PASSES, CONVERSIONS[backend], RecipeError)({}).require_packages()
    except RecipeError as error:
        return install_line(str(error))
    return ""


def install_line(why: str) -> str:
    """Return the pip command that an error names; empty where it names none."""
    found = re.search(r"pip install [^;,)]+", why)
    return found[0].strip() if found else ""


@dataclass(frozen=True)
class ParityFrames:
    """Frames to calibrate integers on, and other ones to compare on; neither of a run on noise."""

    calibration: Sequence[Frame] = ()
    compared: Sequence[Frame] | None = None
    source: str = ""
    warnings: tuple[str, ...] = ()


def open_parity_frames(spec: str | None, most: int, max_bad: BadFrameLimit | None) -> ParityFrames:
    """Read the frames of a source, evenly over it.

    Args:
        spec: BAG, BAG:TOPIC or a folder of images; None for noise.
        most: frames to compare at most.
        max_bad: how many may be left out because they cannot be read.

    Raises:
        DataError: there are too few frames, or too many bad ones.
    """
    if spec is None:
        return ParityFrames()
    opened = open_frames(spec, max_bad=max_bad)
    calibration = min(CALIBRATION_FRAMES, len(opened) // 4)
    compared = min(most, len(opened) - calibration)
    if not compared:
        raise DataError(f"no frames to compare in {opened.describe}")
    chosen = split_frames(len(opened), calibration, compared) if calibration else ([], [*range(compared)])
    readable = set(opened.readable(sorted([*chosen[0], *chosen[1]])))
    frames = [list(opened.frames([index for index in part if index in readable])) for part in chosen]
    if not frames[1]:
        raise DataError(f"{opened.describe}: no frame that can be read is left to compare")
    return ParityFrames(frames[0], frames[1], opened.describe, tuple(opened.account().sentences()))


def make_cells(
    manifest: Manifest,
    frames: ParityFrames,
    folder: Path,
    threads: int,
    asked: tuple[Sequence[str] | None, Sequence[str] | None],
    progress: Progress,
) -> tuple[list[Cell], list[MissingCell]]:
    """Convert the baseline for each installed backend that reads another format, in each precision.

    Args:
        manifest: the model; nothing is made of a baseline that is no ONNX file.
        frames: for integers and, where a pass looks at activations, for floats.
        folder: for the files, empty.
        threads: of the cells.
        asked: backends and precisions; None: all.
        progress: called with the step, see core.progress.

    Returns:
        The cells, and what could not be made with the reason.
    """
    cells: list[Cell] = []
    missing: list[MissingCell] = []
    if manifest.variant_path(manifest.baseline).suffix not in _ONNX:
        return cells, missing
    backends, precisions = asked
    requested = [
        (backend, name, precision)
        for backend, name in CONVERSIONS.items()
        if (backends is None or backend in backends)
        and name in names(PASSES)
        and not missing_runtime(backend)
        for precision, _ in _conversions(backend)
    ]
    for number, (backend, name, precision) in enumerate(requested):
        progress(f"convert, {backend} {precision}", number, len(requested))
        if precisions is not None and not {*dict(_conversions(backend))[precision]} & {*precisions}:
            continue
        if precision == "int8" and not frames.calibration:
            why = "needs frames to calibrate on"
            missing.append(MissingCell(backend=backend, precision=precision, why=why, install=""))
            continue
        own = folder / f"{backend}_{precision}"
        own.mkdir(parents=True)
        try:
            made = _convert(manifest, frames.calibration, own, (backend, name, precision), threads)
        except AdcpError as error:
            why = str(error)
            missing.append(
                MissingCell(backend=backend, precision=precision, why=why, install=install_line(why))
            )
        else:
            cells += [
                replace(made, precision=executed, options={**made.options, **options})
                for executed, options in dict(_conversions(backend))[precision].items()
                if precisions is None or executed in precisions
            ]
    return cells, missing


def _conversions(backend: str) -> Iterator[tuple[str, Mapping[str, Mapping[str, Any]]]]:
    """Yield the precision of each file to make, with the precisions it is then run in and their options."""
    offered = create_backend(backend).precisions
    for precision in PRECISIONS:
        if precision == "fp32":
            yield precision, offered
        elif precision not in offered:
            yield precision, {precision: {}}


def _convert(
    manifest: Manifest, frames: Sequence[Frame], folder: Path, requested: tuple[str, str, str], threads: int
) -> Cell:
    backend, name, precision = requested
    path = manifest.checked_path(manifest.baseline, allow_rejected=True)
    model = read_model(path)
    raise_to_float32(model)
    used = frames or noise_frames(manifest)

    def feeds() -> Iterator[Feeds]:
        prepare = Preparer(manifest.input)
        for frame in used:
            yield {input_name(model): prepare(frame)[0].copy()}

    context = PassContext(
        manifest=manifest,
        input=manifest.input,
        output=manifest.output,
        feeds=feeds,
        images=lambda: iter(used),
        frames=len(used),
        baseline=path,
        host=read_host(),
        scratch=folder,
        checkpoints=folder / "checkpoints",
        runtime=(backend, {}),
    )
    # As the recipes do: what an exporter computes of fixed sizes has no equivalent in a torch program.
    model = find(PASSES, "optimize", RecipeError)({}).apply(model, context)
    find(PASSES, name, RecipeError)({"precision": precision}).apply(model, context)
    written = context.exported
    if written is None:
        raise DataError(f"pass {name} wrote no file")
    runtime = create_backend(backend)
    changed = manifest.model_copy(update={"input": context.input, "output": context.output})
    return Cell(
        backend,
        precision,
        name,
        changed,
        written,
        options=with_threads(runtime, {}, threads),
        is_lossy=precision == "int8",
    )
