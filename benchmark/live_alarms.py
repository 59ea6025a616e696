# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How soon the monitor's alarm about agreement comes, and how often it is wrong, on a recorded drive.

``python benchmark/live_alarms.py MODEL DRIVE [--variants NAME ...] [--round-bits B] [--stride N] ...``

Baseline and variants run on the drive's frames; their results go through the monitor's core as if they came
live, one pair every ``period-s`` seconds of its own time, so that the load of this machine has no influence.
``--round-bits`` adds a variant that must raise an alarm: the baseline with weights rounded to so many bits,
one scale a tensor, judged by the terms of the first accepted variant.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming, NodeReport
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskComparison
from ad_compressed_perception.monitor.frame_health import Level
from ad_compressed_perception.monitor.gate import ModelInfo, model_info
from ad_compressed_perception.monitor.watch import Watch
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline

_NODES = {"baseline": "/baseline/node", "variant": "/compressed/node"}


def round_weights(source: Path, target: Path, bits: int) -> None:
    """Write a model whose weights are rounded to ``bits`` bits, one scale a tensor."""
    model = onnx.load(str(source))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim >= 2:
            scale = float(np.abs(values).max()) / (2 ** (bits - 1) - 1) or 1.0
            rounded = (np.round(values / scale) * scale).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    onnx.save(model, str(target))


def rounded(manifest: Manifest, bits: int, folder: Path) -> Pipeline:
    """Return the baseline with rounded weights, ready for frames."""
    round_weights(manifest.checked_path(manifest.baseline), folder / "rounded.onnx", bits)
    session = create_backend("onnxruntime").load(folder / "rounded.onnx", {})
    return Pipeline(create_task(manifest), session, "rounded")


class LiveDrive:
    """One variant against its baseline in the monitor's core, in a time of its own."""

    def __init__(self, task: str, info: ModelInfo, period_s: float) -> None:
        """Watch with the default limits, by the gate in ``info``."""
        self._task, self._period_s, self._now_s, self._next_s = task, period_s, 0.0, 1.0
        self._monitor = ComparisonMonitor({task: TaskComparison(_NODES, "baseline")}, now_s=0.0)
        self._monitor.add_model_info(task, "variant", info)
        self._watch = Watch(self._monitor, raise_after_s=2.0, clear_after_s=5.0)
        self._counters = {name: FrameCounters() for name in _NODES}
        self.seconds = dict.fromkeys(Level, 0)
        self.first_error_s: float | None = None
        self.scores: list[float] = []

    def add(self, stamp_ns: int, results: dict[str, Result | None]) -> None:
        """Add a frame's results; None where a side failed."""
        self._now_s += self._period_s
        for name, result in results.items():
            counters = self._counters[name]
            counters.received += 1
            counters.complete("failed" if result is None else "processed")
            if result is not None:
                self._monitor.add_result(self._task, name, stamp_ns, result, self._now_s)
            timing = FrameTiming(stamp_ns, "failed" if result is None else "processed", {}, 1.0)
            report = NodeReport(
                *(_NODES[name], self._task, "", name, "", "", "", ""),
                timing,
                counters.received,
                dict(counters.counts),
            )
            self._monitor.add_report(self._task, name, report, self._now_s)
        while self._now_s >= self._next_s:
            self._next_s += 1.0
            self._look()

    def _look(self) -> None:
        tasks = self._monitor.summary(self._now_s)
        self._watch.update(tasks, self._now_s, datetime.now(timezone.utc))
        score = tasks[self._task].comparison["variant"].windows["10s"].score
        if score is not None:
            self.scores.append(score)
        active = [one.level for one in self._watch.alarms.active if one.key[2] == "agreement"]
        level = max(active, default=Level.OK)
        self.seconds[level] += 1
        if level is Level.ERROR and self.first_error_s is None:
            self.first_error_s = self._now_s


def run(pipeline: Pipeline, frame: Frame) -> Result | None:
    """Return a frame's result; None where the model gives none."""
    try:
        return pipeline.run(frame)[0]
    except AdcpError:
        return None


def rows(arguments: argparse.Namespace) -> Iterator[tuple[str, LiveDrive]]:
    """Run the drive; yield each variant's name and what the monitor saw."""
    manifest = load_manifest(arguments.model)
    accepted = [k for k, v in manifest.variants.items() if v.verdict and v.verdict.status == "accepted"]
    names = arguments.variants or accepted
    with tempfile.TemporaryDirectory() as folder:
        pipelines = {name: open_pipeline(manifest, name, allow_rejected=True) for name in names}
        infos = {name: model_info(manifest, name) for name in names}
        if arguments.round_bits:
            name = f"rounded to {arguments.round_bits} bits"
            pipelines[name] = rounded(manifest, arguments.round_bits, Path(folder))
            infos[name] = model_info(manifest, accepted[0])
        drives = {name: LiveDrive(manifest.task, infos[name], arguments.period_s) for name in pipelines}
        baseline = open_pipeline(manifest)
        for number, frame in enumerate(open_frames(arguments.drive, stride=arguments.stride)):
            reference = run(baseline, frame)
            for name, drive in drives.items():
                drive.add(number + 1, {"baseline": reference, "variant": run(pipelines[name], frame)})
    yield from drives.items()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("drive")
    parser.add_argument("--variants", nargs="*")
    parser.add_argument("--round-bits", type=int, default=0)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--period-s", type=float, default=0.05)
    print("| variant | lowest, median score of 10 s | OK, WARN, ERROR, s | first ERROR after, s |")
    print("|---|---|---|---|")
    for name, drive in rows(parser.parse_args(arguments)):
        figures = f"{min(drive.scores):.3f}, {np.median(drive.scores):.3f}" if drive.scores else "none"
        seconds = ", ".join(str(drive.seconds[level]) for level in Level)
        first = "" if drive.first_error_s is None else f"{drive.first_error_s:.1f}"
        print(f"| {name} | {figures} | {seconds} | {first} |")


if __name__ == "__main__":
    main()
