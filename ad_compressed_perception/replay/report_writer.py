# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the report of a replay: report.json, report.md, report.html and the images."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from ad_compressed_perception.analysis.plots.replay_plots import write_plots
from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.image.decode import to_bgr8
from ad_compressed_perception.replay.collector import Collector, FrameSnapshot
from ad_compressed_perception.replay.frame_panels import add_steering, agreement_texts
from ad_compressed_perception.replay.frames import BagSlice
from ad_compressed_perception.replay.plan import ReplayPlan
from ad_compressed_perception.replay.results_bag import FOLDER as RECORDING_FOLDER
from ad_compressed_perception.replay.results_recorder import FILES as RECORDING_FILES
from ad_compressed_perception.replay.results_recorder import ResultsRecorder
from ad_compressed_perception.report.comparison import rendered_comparison
from ad_compressed_perception.report.kit.page import HTML_NAME
from ad_compressed_perception.report.panels import Panel, side_by_side, write_png
from ad_compressed_perception.report.schemas.comparison import Report

REPORT_JSON = "report.json"
REPORT_MARKDOWN = "report.md"


def require_writable(folder: Path) -> None:
    """Raise DataError where a report cannot be written into a folder; leaves nothing there.

    To be called before a replay: what was measured would be lost at its end.
    """
    nearest = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as stream:
            stream.write(bytes(4096))
    except OSError as error:
        raise DataError(
            f"cannot write a report into {folder}: {nearest}: {error.strerror or error}"
        ) from error


def write_report_files(
    report: Report,
    plan: ReplayPlan,
    collector: Collector,
    frames: BagSlice,
    folder: Path,
    progress: Progress = no_progress,
    *,
    recorder: ResultsRecorder | None = None,
) -> None:
    """Write the report and its images into ``folder``; images of an earlier report there are removed.

    The figures are written first and again at the end, when the list of images is known: an image that
    cannot be drawn adds a note and does not affect the figures.

    Args:
        report: gets the names of the files written.
        plan: what ran.
        collector: data of the images.
        frames: the recording, to decode the frames drawn.
        folder: created where missing.
        progress: called with the current step.
        recorder: of the results, where they were recorded.

    Raises:
        DataError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_earlier(folder)
    report.write(folder / REPORT_JSON)
    progress("drawing", 0, 0)
    try:
        images = write_plots(collector.series, folder)
        images += [
            _draw(report, plan, snapshot, collector, frames, folder / _overlay_name(snapshot, number))
            for number, snapshot in _numbered(collector.snapshots())
        ]
        report.files = [path.name for path in images]
    except (AdcpError, ImportError, OSError) as error:
        report.notes = [*report.notes, f"Images are missing: {error}."]
    if recorder is not None:
        recorder.finish(report)
    rendered = rendered_comparison(report)
    rendered.write_markdown(folder / REPORT_MARKDOWN)
    rendered.write_page(folder / HTML_NAME)
    report.files = [REPORT_MARKDOWN, HTML_NAME, *report.files]
    report.write(folder / REPORT_JSON)


def _remove_earlier(folder: Path) -> None:
    """Remove the images of an earlier report, so that none of them is taken for this one's."""
    try:
        earlier = Report.read(folder / REPORT_JSON)
    except AdcpError:
        return
    for name in earlier.files:
        if name == Path(name).name or name in RECORDING_FILES:
            (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: files of others stay
        (folder / RECORDING_FOLDER).rmdir()


def _numbered(snapshots: list[FrameSnapshot]) -> list[tuple[int, FrameSnapshot]]:
    counts: dict[tuple[str, str], int] = {}
    numbered = []
    for snapshot in snapshots:
        key = (snapshot.task, snapshot.kind)
        counts[key] = counts.get(key, 0) + 1
        numbered.append((counts[key], snapshot))
    return numbered


def _overlay_name(snapshot: FrameSnapshot, number: int) -> str:
    which = "least_agreement" if snapshot.kind == "least_agreement" else str(number)
    return f"overlay_{snapshot.task}_{which}.png"


def _draw(
    report: Report,
    plan: ReplayPlan,
    snapshot: FrameSnapshot,
    collector: Collector,
    frames: BagSlice,
    path: Path,
) -> Path:
    bgr = to_bgr8(frames.decode(snapshot.frame))
    variants = report.tasks[snapshot.task].variants
    panels = []
    for name, result in snapshot.results.items():
        variant = variants[name]
        status = "" if variant.verdict is None else f" ({variant.verdict.status} by its gate)"
        named = f" = {variant.variant}" if variant.variant not in (None, name) else ""
        infer_ms = snapshot.timings[name].stages_ms.get("infer") if name in snapshot.timings else None
        details = [variant.backend or "", variant.precision or ""]
        details += [] if infer_ms is None else [f"infer {infer_ms:.1f} ms"]
        panels.append(
            Panel(
                add_steering(result, plan.manifest(snapshot.task, name)),
                f"{name}{named}{status}",
                " | ".join(details),
            )
        )
    series = collector.series[snapshot.task]
    parts = [f"{snapshot.task} at {(snapshot.frame.stamp_ns - series.first_stamp_ns) / 1e9:.2f} s"]
    parts += agreement_texts(series.axis, snapshot.agreement)
    if snapshot.kind == "least_agreement":
        parts.append("frame with the least agreement")
    return write_png(path, side_by_side(bgr, panels, headline=" | ".join(parts)))
