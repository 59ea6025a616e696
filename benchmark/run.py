# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the figures of docs/measurements/index.md on this machine: ``make benchmark``.

Baseline and int8 of the three reference models: latency and agreement from one replay of the drive, in
which they are interleaved; accuracy with 95 % intervals on labeled data that chose nothing; size and
integer coverage. Writes measurements.json and measurements.md and prints the latter. Needs the reference
data (AD_SHARED).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from data_use import load_data_use
from labeled_parts import evaluation_arguments
from measurements_document import Measurements, ModelFiles

from ad_compressed_perception.cli.progress_bar import ProgressBar
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.recipe import load_recipe
from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.replay.plan import BASELINE, reference_models
from ad_compressed_perception.report.agreement_markdown import agreement_text
from ad_compressed_perception.report.frame_counters import frame_counts_text
from ad_compressed_perception.report.kit.figures import speedup_text
from ad_compressed_perception.report.schemas.evaluation import Evaluation
from ad_compressed_perception.workspace.find import find_all
from ad_road_simulation.demo.demo_models import RECIPE
from ad_road_simulation.demo.reference_data import CALIBRATION, DRIVE, use_shared

ACCURACY = {
    "detection": ("map", "mAP", "kitti_tiny"),
    "segmentation": ("iou_road", "road IoU", "rural_road_seg"),
    "planning": ("rmse_rad", "steering RMSE, rad", "sully_steering"),
}
"""Task to the figure shown, its title, and the part of data_use.yaml that quotes it."""

Rows = list[tuple[str, ...]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return 0, or 1 after a line with the error."""
    parser = argparse.ArgumentParser(description="Measure the figures of docs/measurements/index.md.")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/benchmark"), help="folder to write to")
    parser.add_argument("--work", type=Path, help="where compressed variants go; ./adcp_work by default")
    parser.add_argument("--limit", type=int, help="frames of the drive at most")
    options = parser.parse_args(arguments)
    try:
        measured = measure(options.out, options.work, options.limit)
    except AdcpError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        return 1
    text = render(measured)
    measured.write(options.out / "measurements.json")
    (options.out / "measurements.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {options.out}", file=sys.stderr)
    return 0


def measure(out: Path, work: Path | None, limit: int | None) -> Measurements:
    """Return everything measured.

    Raises:
        AdcpError: the reference data is missing, or a step failed.
    """
    from rich.console import Console

    from ad_compressed_perception.replay.session import ReplayOptions, require_no_problems, run_replay

    shared = use_shared()
    if shared is None:
        raise DataError("no reference data to measure with: set AD_SHARED to its folder")
    console = Console(stderr=True)
    models = reference_models()
    with ProgressBar(logs_steps=True) as bar:
        for model in models:
            manifest, frames = load_manifest(model), str(shared / CALIBRATION)
            compressed = find_all(manifest, work).get(RECIPE)
            if compressed is None:
                recipe = load_recipe(RECIPE)
                compressed = compress_model(manifest, recipe, frames, work=work, progress=bar).manifest
            verdict = compressed.variant(RECIPE).verdict
            status = "no verdict" if verdict is None else verdict.status
            console.print(f"{model.name}/{RECIPE}: {status}", highlight=False, soft_wrap=True)
        report = run_replay(
            ReplayOptions(
                bag=shared / DRIVE,
                out=out,
                work=work,
                variants=(RECIPE,),
                allow_rejected=True,
                limit=limit,
            ),
            bar,
        )
        require_no_problems(report, out)
    manifests = {str(manifest.task): manifest for manifest in map(load_manifest, models)}
    accuracy, files = {}, {}
    for task in report.tasks:
        console.print(f"evaluating {task}", highlight=False)
        accuracy[task] = evaluate(manifests[task], shared, ACCURACY[task][2], work, out)
        files[task] = describe_files(manifests[task], work)
    return Measurements(replay=report, accuracy=accuracy, files=files)


def evaluate(manifest: Manifest, shared: Path, part: str, work: Path | None, out: Path) -> Evaluation:
    """Return what ``adcp evaluate --json`` says of baseline and int8; raise DataError when it fails."""
    data = (shared / str(load_data_use().parts[part].images)).parent
    command = [sys.executable, "-m", "ad_compressed_perception.cli.main", "evaluate"]
    command += [str(manifest.folder), "--variant", f"{manifest.baseline},{RECIPE}"]
    command += [*evaluation_arguments(part, data, out.resolve() / part), "--json"]
    command += [] if work is None else ["--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(done.stderr.strip().removeprefix("error: ") or "adcp evaluate failed")
    return Evaluation.parse(done.stdout)


def describe_files(manifest: Manifest, work: Path | None) -> ModelFiles:
    """Return sizes in bytes and the integer coverage of the compressed variant."""
    compressed = find_all(manifest, work)[RECIPE]
    return ModelFiles(
        baseline_bytes=manifest.variant_path(manifest.baseline).stat().st_size,
        variant_bytes=compressed.variant_path(RECIPE).stat().st_size,
        integer_coverage=compressed.variant(RECIPE).figures.get("integer_coverage"),
    )


def render(measured: Measurements) -> str:
    """Return the measurements as Markdown tables, ratios first."""
    report = measured.replay
    ratios: Rows = []
    latencies: Rows = []
    accuracies: Rows = []
    frame_counts: Rows = []
    for task, one in report.tasks.items():
        comparison, files = one.comparison[RECIPE], measured.files[task]
        verdict = one.variants[RECIPE].verdict
        ratios.append(
            (
                task,
                speedup_text(comparison.speedup_infer_p50),
                speedup_text(comparison.speedup_end_to_end_p50),
                _size_text(files.variant_bytes, files.baseline_bytes),
                _share(files.integer_coverage),
                agreement_text(comparison),
                "" if verdict is None else verdict.status,
            )
        )
        for name in (BASELINE, RECIPE):
            variant = one.variants[name]
            total = variant.end_to_end_ms
            latencies.append(
                (
                    task,
                    name,
                    *(_number(value, 2) for value in (total.p50, total.p95, total.p99)),
                    _share(variant.not_inference_share),
                )
            )
            frame_counts.append((task, name, frame_counts_text(variant)))
        accuracies.append((task, *_accuracy(task, measured.accuracy[task])))
    sections = [
        f"{report.source.frames} frames of {Path(str(report.source.bag)).name}. {report.measurement}",
        _table(
            (
                "task",
                "inference p50 ratio",
                "end-to-end p50 ratio",
                "size",
                "integer coverage",
                "agreement on the drive",
                "gate",
            ),
            ratios,
        ),
        "A ratio of times is baseline / int8: above 1 int8 is faster.",
        _table(("task", "figure", "baseline", "int8", "int8 - baseline, same frames"), accuracies),
        "Brackets hold 95 % bootstrap intervals.",
        _table(
            ("task", "variant", "end to end p50, ms", "p95", "p99", "share that is not inference"), latencies
        ),
        _table(("task", "variant", "frames"), frame_counts),
        "\n".join(f"- {note}" for note in report.notes),
        f"{report.host.cpu}, {report.host.logical_cores} logical cores, {report.created}",
    ]
    return "\n\n".join(sections) + "\n"


def _accuracy(task: str, evaluated: Evaluation) -> tuple[str, str, str, str]:
    key, title, _ = ACCURACY[task]
    shown = [_interval(variant.figures[key]) for variant in evaluated.variants.values()]
    difference = _interval(evaluated.comparison[RECIPE].difference[key], signed=True)
    return title, shown[0], shown[1], difference


def _interval(figure: Interval, signed: bool = False) -> str:
    value, low, high = (_number(one, 4, signed=signed) for one in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def _number(value: float | None, digits: int, signed: bool = False) -> str:
    if value is None:
        return "none"
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _size_text(variant_bytes: int, baseline_bytes: int) -> str:
    return f"{variant_bytes / baseline_bytes:.2f}x of {baseline_bytes / 1e6:.2f} MB"


def _table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
