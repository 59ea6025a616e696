# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The accept gate's verdict on what a device gave, with the comparison and report of ``adcp compress``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.sizes import Sizes
from ad_compressed_perception.backends.base import Session, SessionInfo, Tensors
from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.pass_runner import Samples
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.build_report import Findings, write_report_folder
from ad_compressed_perception.compression.verification.coverage import IntegerCoverage
from ad_compressed_perception.compression.verification.difference_images import Snapshots
from ad_compressed_perception.compression.verification.frame_log import FrameLog
from ad_compressed_perception.compression.verification.gate import decide
from ad_compressed_perception.compression.verification.outcome import figures_of_heads, gate_figures
from ad_compressed_perception.compression.verification.task_scores import check_terms, create_score
from ad_compressed_perception.compression.verification.verify import (
    FrameTimes,
    LatencyFigures,
    Verification,
    verify,
)
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec
from ad_compressed_perception.data.frames import FolderFrames
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.onnx_graph.session import open_session
from ad_compressed_perception.report.schemas.compression import CompressionReport
from ad_compressed_perception.targets.export import MODEL, RECIPE, TAIL
from ad_compressed_perception.targets.outputs import Arrays, DeviceRun, read_device_run
from ad_compressed_perception.targets.remarks import remarks
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_compressed_perception.workspace.file_transaction import FileTransaction
from ad_compressed_perception.workspace.temporary import scratch_folder

REPORT = "verdict"
"""Folder of the report, in the exported one."""
_NOT_KNOWN = "unknown"
"""Precision of what ran on a device: it may have fallen back from that of the file."""
_NOT_MEASURED = "times of the baseline and speed-ups are not given: the two did not run on one machine"


class _RecordedSession(Session):
    """Outputs recorded elsewhere, frame by frame in the order they are asked for."""

    def __init__(self, info: SessionInfo, outputs: list[Arrays]) -> None:
        self.info = info
        self._outputs: Iterator[Arrays] = iter(outputs)

    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Return the next frame's outputs."""
        return next(self._outputs)

    def layers(self) -> list[LayerRecord]:
        """Return nothing: what ran elsewhere is not known here."""
        return []


@dataclass(frozen=True)
class DeviceVerdict:
    """The verdict on a device's outputs, with its report and where that is."""

    report: CompressionReport
    folder: Path


def judge_outputs(folder: Path, progress: Progress = no_progress) -> DeviceVerdict:
    """Compare a device's outputs with the float baseline's, and write the report into ``folder/verdict``.

    Raises:
        DataError: outputs or files of the export are missing, altered or of something else.
        AdcpError: the recipe or the manifest in the folder is wrong.
    """
    run = read_device_run(folder)
    manifest = Manifest.model_validate(run.export.manifest)
    changed = Manifest.model_validate(run.export.changed_manifest)
    recipe = LoadedRecipe(folder / RECIPE)
    check_terms(manifest, recipe.recipe.verify, recipe.recipe.accept)
    score = create_score(manifest, recipe.recipe.verify)
    source = FolderFrames(folder / "frames")
    frames = FrameSample(source, range(len(source)))
    if [path.stem for path in source.paths] != [one.name for one in run.export.frames]:
        raise DataError(f"{folder}/frames has other images than were exported: export again")
    infos = (_info(run, manifest, baseline=True), _info(run, changed, baseline=False))
    pipelines = (
        Pipeline(create_task(manifest), _RecordedSession(infos[0], run.expected), manifest.baseline),
        Pipeline(
            create_task(changed), _RecordedSession(infos[1], behind_tail(folder, run)), run.export.variant
        ),
    )
    log = FrameLog()
    found = verify(*pipelines, frames, score, lambda done, total: progress("verify", done, total), log)
    found = _with_device_times(found, run.times_ms)
    coverage = IntegerCoverage(0, 0, (), {})
    sizes = (_size(run.export.baseline_bytes), _size(_read_by_runtime(folder, run).stat().st_size))
    verdict = decide(
        recipe.recipe.accept,
        gate_figures(found, coverage, sizes, heads=figures_of_heads(recipe.recipe.accept, manifest)),
    )
    entry = Variant(
        file=MODEL,
        sha256=run.export.model_sha256,
        backend=run.index.runtime,
        precision=run.export.precision,
        derived_from=manifest.baseline,
        recipe=recipe.recipe.name,
        calibration=run.export.calibration,
        verdict=verdict,
        provenance={"source_sha256": run.export.baseline_sha256},
    )
    notes = [
        f"{run.export.target}: outputs of {run.index.runtime} {run.index.version} on {run.index.device}",
        _NOT_MEASURED,
        *remarks(folder, run),
    ]
    findings = Findings(
        manifest=manifest,
        changed=changed,
        name=run.export.variant,
        recipe=recipe,
        samples=Samples(frames, frames, run.export.calibration.sha256),
        verification=found,
        score=score,
        log=log,
        labeled=None,
        coverage=coverage,
        sizes=sizes,
        files=(folder / "baseline is elsewhere", folder / MODEL),
        infos=infos,
        layers=[],
        passes=[],
        snapshots=Snapshots(),
        graph_optimization=None,
        notes=notes,
    )
    return DeviceVerdict(_write(findings, entry, folder), folder / REPORT)


def _write(findings: Findings, entry: Variant, folder: Path) -> CompressionReport:
    """Write the report into a new folder, which then takes the place of an earlier one."""
    with scratch_folder(folder, ".adcp-verdict-") as scratch:
        report = write_report_folder(findings, entry, scratch / REPORT)
        moves = FileTransaction(scratch / "replaced")
        with moves.all_or_none():
            moves.replace(scratch / REPORT, folder / REPORT)
    return report


def _info(run: DeviceRun, manifest: Manifest, *, baseline: bool) -> SessionInfo:
    spec = manifest.input
    return SessionInfo(
        backend="onnxruntime" if baseline else run.index.runtime,
        version="" if baseline else run.index.version,
        requested_provider=run.export.target,
        provider="the exporting PC" if baseline else run.index.device,
        precision="fp32" if baseline else _NOT_KNOWN,
        threads=0,
        integer_coverage=None,
        load_ms=math.nan,
        warmup_ms=math.nan,
        inputs=(TensorSpec(spec.name or "input", spec.shape, spec.dtype),),
        outputs=tuple(run.export.baseline_outputs if baseline else run.export.outputs),
    )


def behind_tail(folder: Path, run: DeviceRun) -> list[Arrays]:
    """Return the device's outputs after what the PC computes behind them."""
    if run.export.tail_sha256 is None:
        return run.outputs
    session = open_session(read_model(folder / TAIL))
    read = [value.name for value in session.get_inputs()]
    made = [value.name for value in session.get_outputs()]
    images = {} if all(name in run.outputs[0] for name in read) else _inputs(folder, run)
    finished = []
    for place, outputs in enumerate(run.outputs):
        feeds = {name: outputs[name] if name in outputs else images[place] for name in read}
        finished.append({**outputs, **dict(zip(made, session.run(made, feeds), strict=True))})
    return finished


def _inputs(folder: Path, run: DeviceRun) -> dict[int, NDArray[Any]]:
    """Return the input of each frame, for a tail that reads it too."""
    return {
        place: np.load(folder / "inputs" / f"{frame.name}.npy", allow_pickle=False)
        for place, frame in enumerate(run.export.frames)
    }


def _with_device_times(found: Verification, times_ms: list[float]) -> Verification:
    """Return the comparison with the device's times, if it measured all, and none of those measured here."""
    nan = math.nan
    is_known = all(math.isfinite(value) for value in times_ms)
    p50, p99 = (float(value) for value in np.percentile(times_ms, (50, 99))) if is_known else (nan, nan)
    latency = LatencyFigures(nan, nan, p50, p99, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan)
    unknown = [nan] * len(times_ms)
    return replace(found, latency=latency, times=FrameTimes(unknown, times_ms, unknown, unknown))


def _read_by_runtime(folder: Path, run: DeviceRun) -> Path:
    """Return the exported file that the runtime reads, or what the vendor's commands make it of."""
    return folder / (MODEL if run.export.model_file_sha256 is None else run.export.model_file)


def _size(count: int) -> Sizes:
    return Sizes(count, count, None, None)
