# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""make demo: record the road camera, replay, evaluate against the ground truth, drive, write a report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.replay.session import ReplayOptions, require_no_problems, run_replay
from ad_compressed_perception.report.findings import report_findings, sort_findings
from ad_compressed_perception.report.html_page import write_page
from ad_compressed_perception.report.schema import Report
from ad_road_simulation.closed_loop.drive import DriveOptions, run_drive
from ad_road_simulation.closed_loop.drive_markdown import render_drive
from ad_road_simulation.closed_loop.latency import EXPERT
from ad_road_simulation.closed_loop.report import DriveReport
from ad_road_simulation.demo.accuracy import measure_accuracy, write_accuracy
from ad_road_simulation.demo.demo_models import DemoModel, open_models, prepare_model, print_verdicts
from ad_road_simulation.demo.images import write_images
from ad_road_simulation.demo.options import ROUTES_SEED, DemoOptions
from ad_road_simulation.demo.recording import TOPIC, Recording, record
from ad_road_simulation.demo.report import DemoResult, render_report, summary_lines
from ad_road_simulation.demo.report_folder import report_folder
from ad_road_simulation.demo.steps import StepProgress, Steps
from ad_road_simulation.world.layout import RouteOptions

if TYPE_CHECKING:
    from rich.console import Console

RECORD, REPLAY, ACCURACY, DRIVE, REPORT = STEPS = ("record", "replay", "accuracy", "closed loop", "report")
RECORDING, REPLAYED, DRIVEN, IMAGES = "recording", "replay", "closed_loop", "images"
ACCURACY_JSON, MARKDOWN, PAGE = "accuracy.json", "report.md", "report.html"
_WRITTEN = (RECORDING, REPLAYED, DRIVEN, IMAGES, ACCURACY_JSON, MARKDOWN, PAGE)


def run_road_demo(options: DemoOptions, progress: StepProgress, console: Console) -> Callable[[], None]:
    """Run all steps; return a function that prints the result on standard output.

    Args:
        options: models, folders and sizes.
        progress: receives progress updates.
        console: for the verdicts of the gates.

    Raises:
        AdcpError: an invalid model, option or folder.
    """
    manifests = open_models(options.models)
    # Invalid options are reported before minutes are spent.
    RouteOptions(length_m=options.route_m)
    out, steps = options.out, Steps(progress, STEPS)
    with report_folder(out, _WRITTEN):
        steps.begin(RECORD)
        recording = record(out / RECORDING, options, steps)
        steps.begin(REPLAY)
        calibration = str(recording.drive / "images")
        models = [prepare_model(one, calibration, options.work, steps) for one in manifests]
        print_verdicts(models, console)
        replayed = _replay(models, recording, options, steps)
        steps.begin(ACCURACY)
        accuracy = {model.task: measure_accuracy(model, recording, steps) for model in models}
        write_accuracy(accuracy, out / ACCURACY_JSON)
        steps.begin(DRIVE)
        planners = [model for model in models if model.task == "planning"]
        driven = _drive(planners[0], options, steps) if planners else None
        steps.begin(REPORT)
        (out / IMAGES).mkdir()
        images = {
            model.task: write_images(
                model, recording.examples[model.task], accuracy[model.task], out / IMAGES
            )
            for model in models
        }
        result = DemoResult(options, models, recording, replayed, accuracy, driven, images, steps.seconds)
        markdown = render_report(result)
        (out / MARKDOWN).write_text(markdown, encoding="utf-8")
        findings = report_findings(replayed)
        if driven is not None:
            findings += render_drive(driven.document).findings
        write_page(out / PAGE, markdown, sort_findings(findings))
    return lambda: _print(result, out)


def _replay(
    models: list[DemoModel], recording: Recording, options: DemoOptions, progress: StepProgress
) -> Report:
    report = run_replay(
        ReplayOptions(
            bag=recording.bag,
            out=options.out / REPLAYED,
            topic=TOPIC,
            models=tuple(model.manifest.folder for model in models),
            work=options.work,
            variants={model.task: (model.compressed,) for model in models},
            allow_rejected=True,
            limit=options.limit,
        ),
        progress,
    )
    return require_no_problems(report, options.out / REPLAYED)


def _drive(model: DemoModel, options: DemoOptions, progress: StepProgress) -> DriveReport:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    driving = DriveOptions(
        variants=(model.manifest.baseline, model.compressed, EXPERT),
        out=options.out / DRIVEN,
        routes=options.routes,
        length_m=float(options.route_m),
        seed=ROUTES_SEED,
        jobs=cores,
    )
    return run_drive(model.manifest, driving, progress)


def _print(result: DemoResult, out: Path) -> None:
    for line in summary_lines(result):
        print(line.replace("**", "").replace("`", ""))
    print(f"report: {out / MARKDOWN}")
    print(f"report: {out / PAGE} (the same in one file with all images)")
