# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One model on every backend in every precision, interleaved: agreement, speed, load time and memory.

Each cell is first loaded and run in a process of its own, which gives its memory and shows whether it ends a
process; what that refuses is not loaded here. Then every round runs all cells on the same frame in changing
order, and compares each result with the reference's of that frame: what is timed is what is judged. A cell
whose results are wrong has no speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from ad_compressed_perception.analysis.benchmark import (
    interleaved_order,
    noise_frames,
    paired_ratio,
    spread,
)
from ad_compressed_perception.analysis.parity_agreement import AgreementOfCell
from ad_compressed_perception.analysis.parity_cells import FLOATS, Cell
from ad_compressed_perception.analysis.sizes import Probe, disk_bytes, probe_process
from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.report.host import describe_host
from ad_compressed_perception.report.schemas.parity import (
    CellMemory,
    CellStatus,
    MissingCell,
    Parity,
    ParityCell,
)
from ad_compressed_perception.tasks.pipeline import Pipeline

MAX_DROP = 0.05
_UNKNOWN = "unknown"
_MEASURED: tuple[CellStatus, ...] = ("reference", "ok")


@dataclass
class _Run:
    """A cell while it is measured."""

    cell: Cell
    probe: Probe | None = None
    pipeline: Pipeline | None = None
    failure: str = ""
    times_ms: list[float] = field(default_factory=list)
    agreement: AgreementOfCell = field(default_factory=AgreementOfCell)
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    result: Result | None = None

    def infer(self, frame: Frame, *, counted: bool) -> None:
        """Run one frame; what fails becomes a failed frame."""
        assert self.pipeline is not None
        task = self.pipeline.task
        self.result = None
        try:
            feeds, geometry = task.prepare(frame)
            start = perf_counter()
            self.outputs = self.pipeline.session.infer(feeds)
            duration_ms = (perf_counter() - start) * 1e3
            self.result = task.decode(self.outputs, geometry)
        except AdcpError as error:
            duration_ms = float("nan")
            if counted:
                self.agreement.fail(str(error))
        if counted:
            self.times_ms.append(duration_ms)


def run_parity(
    cells: Sequence[Cell],
    missing: Sequence[MissingCell],
    *,
    frames: Sequence[Frame] | None = None,
    source: str = "",
    rounds: int = 50,
    max_drop: float = MAX_DROP,
    progress: Progress = no_progress,
) -> Parity:
    """Run all cells and judge each against the first.

    Args:
        cells: the reference first, see parity_cells.find_cells; labels must differ.
        missing: what could not take part.
        frames: camera frames, used cyclically; None for noise of the model's input size.
        source: where they come from.
        rounds: how often each cell runs, at least 1.
        max_drop: largest loss of agreement of a variant or an integer cell.
        progress: called with the step, see core.progress.

    Raises:
        AdcpError: the reference itself fails.
    """
    labels = [cell.label for cell in cells]
    if len(set(labels)) != len(labels):
        raise BackendError(
            f"cells must differ: {', '.join(sorted({one for one in labels if labels.count(one) > 1}))}"
        )
    manifest = cells[0].manifest
    images = noise_frames(manifest) if frames is None else list(frames)
    runs = [_Run(cell) for cell in cells]
    for number, run in enumerate(runs):
        progress("memory", number, len(runs))
        shape = run.cell.manifest.input.shape
        found = probe_process(run.cell.path, run.cell.backend, run.cell.options, shape)
        if isinstance(found, str):
            run.failure = found
        else:
            run.probe = found
    with ExitStack() as stack:
        for number, run in enumerate(runs):
            progress("load", number, len(runs))
            if not run.failure:
                _open(run, stack)
        if runs[0].failure:
            raise BackendError(f"the reference {cells[0].label} does not run: {runs[0].failure}")
        _run_rounds([run for run in runs if not run.failure], images, rounds, progress)
        entries = {run.cell.label: _entry(run, runs[0], max_drop) for run in runs}
    return Parity(
        model=manifest.name,
        task=manifest.task,
        reference=cells[0].label,
        best=_best(entries),
        best_float=_best(
            {run.cell.label: entries[run.cell.label] for run in runs if not _is_lossy(run.cell)}
        ),
        rounds=rounds,
        source=source or "noise",
        frames=len(images),
        cells=entries,
        missing=list(missing),
        host=describe_host(),
    )


def _open(run: _Run, stack: ExitStack) -> None:
    try:
        run.pipeline = run.cell.open()
    except AdcpError as error:
        run.failure = str(error)
    else:
        stack.callback(run.pipeline.close)


def _run_rounds(runs: Sequence[_Run], frames: Sequence[Frame], rounds: int, progress: Progress) -> None:
    warmup_rounds = min(2, rounds)
    for number in range(-warmup_rounds, rounds):
        frame = frames[max(number, 0) % len(frames)]
        for index in interleaved_order(len(runs), number % (2 * len(runs))):
            runs[index].infer(frame, counted=number >= 0)
        reference = runs[0].result
        if reference is None and number >= 0:
            raise BackendError(
                f"the reference {runs[0].cell.label} gives no result on frame {number % len(frames) + 1}"
            )
        for run in runs[1:] if number >= 0 else ():
            if run.result is not None and reference is not None:
                run.agreement.add(reference, run.result, runs[0].outputs, run.outputs)
        progress("rounds", max(number + 1, 0), rounds)


def _entry(run: _Run, reference: _Run, max_drop: float) -> ParityCell:
    cell = run.cell
    memory = None
    if run.probe is not None:
        memory = CellMemory(running_bytes=run.probe.running_bytes, peak_bytes=run.probe.peak_bytes)
    if run.pipeline is None:
        return ParityCell(
            status="failed", reasons=[run.failure], remarks=[], backend=cell.backend, backend_version="",
            requested_provider="", provider="", variant=cell.variant, precision=cell.precision,
            executed_precision="", integer_coverage=None, threads=0, size_bytes=disk_bytes(cell.path),
            agreement=None, infer_ms=None, speedup=None, load_ms=None, memory=memory,
        )  # fmt: skip
    info = run.pipeline.session.info
    agreement, status, reasons = None, _MEASURED[0], list[str]()
    if run is not reference:
        agreement, status, reasons = run.agreement.judge(cell.precision, _is_lossy(cell), max_drop)
        if cell.verdict == "rejected":
            status, reasons = "wrong", ["its accept gate rejected it", *reasons]
        other = _not_as_asked(cell, info)
        if other and status != "wrong":
            status = "failed"
        reasons = [*other, *reasons]
    assert reference.pipeline is not None
    is_measured = status in _MEASURED
    return ParityCell(
        status=status,
        reasons=reasons,
        remarks=_remarks(run, reference.pipeline),
        backend=cell.backend,
        backend_version=info.version,
        requested_provider=info.requested_provider,
        provider=info.provider,
        variant=cell.variant,
        precision=cell.precision,
        executed_precision=info.precision,
        integer_coverage=info.integer_coverage,
        threads=info.threads,
        size_bytes=disk_bytes(cell.path),
        agreement=agreement,
        infer_ms=spread(run.times_ms) if is_measured else None,
        speedup=paired_ratio(reference.times_ms, run.times_ms) if status == "ok" else None,
        load_ms=None if run.probe is None else run.probe.load_ms,
        memory=memory,
    )


def _is_lossy(cell: Cell) -> bool:
    return cell.is_lossy or cell.precision not in FLOATS


def _not_as_asked(cell: Cell, info: SessionInfo) -> list[str]:
    """Return why a cell is not what its name says: a runtime may take another precision or device."""
    reasons = []
    is_float = cell.precision in FLOATS and info.precision not in (cell.precision, _UNKNOWN)
    if is_float or (cell.precision == "int8" and info.integer_coverage == 0.0):
        reasons.append(f"{cell.precision} was asked for, {info.precision} is executed here")
    if info.requested_provider.casefold() not in info.provider.casefold():
        reasons.append(f"{info.requested_provider} was asked for, {info.provider} runs it")
    return reasons


def _remarks(run: _Run, reference: Pipeline) -> list[str]:
    assert run.pipeline is not None
    info, base = run.pipeline.session.info, reference.session.info
    remarks = []
    if info.precision == _UNKNOWN:
        remarks.append("the runtime does not say in which precision it computes")
    if info.threads != base.threads:
        remarks.append(f"{info.threads or 'auto'} threads, the reference has {base.threads or 'auto'}")
    if run.cell.verdict and run.cell.verdict != "accepted":
        remarks.append(f"its accept gate: {run.cell.verdict}")
    return remarks


def _best(entries: Mapping[str, ParityCell]) -> str | None:
    faster = {
        name: cell.speedup.value
        for name, cell in entries.items()
        if cell.speedup is not None and cell.speedup.low > 1.0
    }
    return max(faster, key=lambda name: faster[name]) if faster else None
