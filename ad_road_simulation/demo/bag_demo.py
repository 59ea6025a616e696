# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""make demo BAG=...: a recorded drive through baseline and compressed models, and the replay's report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.cli.replay import show
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.replay.report_writer import REPORT_JSON, REPORT_MARKDOWN
from ad_compressed_perception.replay.session import ReplayOptions, run_replay
from ad_road_simulation.demo.options import DemoOptions
from ad_road_simulation.demo.report_folder import report_folder
from ad_road_simulation.demo.steps import Progress
from ad_road_simulation.demo.subjects import announce, find_subject, open_models

if TYPE_CHECKING:
    from rich.console import Console


def run_bag_demo(
    options: DemoOptions, bag: Path, topic: str | None, progress: Progress, console: Console
) -> Callable[[], None]:
    """Replay a recording; return what shows the result on standard output.

    Args:
        options: models and folders.
        bag: rosbag2 folder, .mcap or .db3 file.
        topic: image topic; None for the only one.
        progress: told how far it is.
        console: for what the gates said, before anything runs.

    Raises:
        AdcpError: anything wrong with bag, models or folders.
    """
    with BagReader(bag) as opened:
        topic = opened.resolve_image_topic(topic)
    calibration = f"{bag}:{topic}"
    manifests = open_models(options.models)
    subjects = [find_subject(manifest, calibration, options.work, progress) for manifest in manifests]
    announce(subjects, console)
    with report_folder(options.out, [REPORT_JSON, REPORT_MARKDOWN]):
        report = run_replay(
            ReplayOptions(
                bag=bag,
                out=options.out,
                topic=topic,
                models=tuple(subject.manifest.folder for subject in subjects),
                work=options.work,
                variants={subject.task: (subject.compressed,) for subject in subjects},
                allow_rejected=True,
                limit=options.limit,
            ),
            progress,
        )
    return lambda: show(report, options.out)
