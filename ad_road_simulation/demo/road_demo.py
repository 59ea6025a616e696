# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""make demo: the road camera records, nodes replay, the ground truth judges, planners drive, one report says it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.replay.session import ReplayOptions, run_replay
from ad_compressed_perception.report.schema import Report
from ad_road_simulation.closed_loop.drive import DriveOptions, run_drive
from ad_road_simulation.closed_loop.latency import EXPERT
from ad_road_simulation.closed_loop.report import DriveReport
from ad_road_simulation.demo.accuracy import judge, write_accuracy
from ad_road_simulation.demo.images import write_images
from ad_road_simulation.demo.options import ROUTES_SEED, DemoOptions
from ad_road_simulation.demo.page import render_page
from ad_road_simulation.demo.recording import TOPIC, Recording, record
from ad_road_simulation.demo.report import Show, render_report, short_lines
from ad_road_simulation.demo.report_folder import report_folder
from ad_road_simulation.demo.steps import Progress, Steps
from ad_road_simulation.demo.subjects import Subject, announce, find_subject, open_models
from ad_road_simulation.world.layout import RouteOptions

if TYPE_CHECKING:
    from rich.console import Console

RECORD, REPLAY, JUDGE, DRIVE, REPORT = STEPS = ("record", "replay", "accuracy", "closed loop", "report")
RECORDING, REPLAYED, DRIVEN, IMAGES = "recording", "replay", "closed_loop", "images"
ACCURACY_JSON, MARKDOWN, PAGE = "accuracy.json", "report.md", "report.html"
_WRITTEN = (RECORDING, REPLAYED, DRIVEN, IMAGES, ACCURACY_JSON, MARKDOWN, PAGE)


def run_road_demo(options: DemoOptions, progress: Progress, console: Console) -> Callable[[], None]:
    """Run all steps; return what shows the result on standard output.

    Args:
        options: models, folders and how much of everything.
        progress: told how far it is.
        console: for what the gates said.

    Raises:
        AdcpError: anything wrong with models, options or folders.
    """
    manifests = open_models(options.models)
    # What is impossible should be said before minutes are spent.
    RouteOptions(length_m=options.route_m)
    out, steps = options.out, Steps(progress, STEPS)
    with report_folder(out, _WRITTEN):
        steps.begin(RECORD)
        recording = record(out / RECORDING, options, steps)
        steps.begin(REPLAY)
        calibration = str(recording.drive / "images")
        subjects = [find_subject(one, calibration, options.work, steps) for one in manifests]
        announce(subjects, console)
        replayed = _replay(subjects, recording, options, steps)
        steps.begin(JUDGE)
        judged = {subject.task: judge(subject, recording, steps) for subject in subjects}
        write_accuracy(judged, out / ACCURACY_JSON)
        steps.begin(DRIVE)
        planners = [subject for subject in subjects if subject.task == "planning"]
        driven = _drive(planners[0], options, steps) if planners else None
        steps.begin(REPORT)
        (out / IMAGES).mkdir()
        images = {
            subject.task: write_images(
                subject, recording.shown[subject.task], judged[subject.task], out / IMAGES
            )
            for subject in subjects
        }
        show = Show(options, subjects, recording, replayed, judged, driven, images, steps.seconds)
        markdown = render_report(show)
        (out / MARKDOWN).write_text(markdown, encoding="utf-8")
        (out / PAGE).write_text(render_page(markdown, out), encoding="utf-8")
    return lambda: _print(show, out)


def _replay(
    subjects: list[Subject], recording: Recording, options: DemoOptions, progress: Progress
) -> Report:
    return run_replay(
        ReplayOptions(
            bag=recording.bag,
            out=options.out / REPLAYED,
            topic=TOPIC,
            models=tuple(subject.manifest.folder for subject in subjects),
            work=options.work,
            variants={subject.task: (subject.compressed,) for subject in subjects},
            allow_rejected=True,
            limit=options.limit,
        ),
        progress,
    )


def _drive(subject: Subject, options: DemoOptions, progress: Progress) -> DriveReport:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    driving = DriveOptions(
        variants=(subject.manifest.baseline, subject.compressed, EXPERT),
        out=options.out / DRIVEN,
        routes=options.routes,
        length_m=float(options.route_m),
        seed=ROUTES_SEED,
        jobs=cores,
    )
    return run_drive(subject.manifest, driving, progress)


def _print(show: Show, out: Path) -> None:
    for line in short_lines(show):
        print(line.replace("**", "").replace("`", ""))
    print(f"report: {out / MARKDOWN}")
    print(f"report: {out / PAGE} (the same in one file with all images)")
