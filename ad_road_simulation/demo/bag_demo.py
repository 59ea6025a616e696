# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""make demo BAG=...: replay of a recorded drive through baseline and compressed models, with a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ad_compressed_perception.cli.replay import show
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.replay.report_writer import REPORT_JSON, REPORT_MARKDOWN
from ad_compressed_perception.replay.session import ReplayOptions, require_no_problems, run_replay
from ad_road_simulation.demo.demo_models import open_models, prepare_model, print_verdicts
from ad_road_simulation.demo.options import DemoOptions
from ad_road_simulation.demo.report_folder import report_folder
from ad_road_simulation.demo.steps import StepProgress

if TYPE_CHECKING:
    from rich.console import Console


def run_bag_demo(
    options: DemoOptions, bag: Path, topic: str | None, progress: StepProgress, console: Console
) -> Callable[[], None]:
    """Replay a recording; return a function that prints the result on standard output.

    Args:
        options: models and folders.
        bag: rosbag2 folder, .mcap or .db3 file.
        topic: image topic; None for the only one.
        progress: receives progress updates.
        console: for the verdicts of the gates, printed before the replay.

    Raises:
        AdcpError: an invalid bag, model or folder.
    """
    with BagReader(bag) as opened:
        topic = opened.resolve_image_topic(topic)
    calibration = f"{bag}:{topic}"
    manifests = open_models(options.models)
    models = [prepare_model(manifest, calibration, options.work, progress) for manifest in manifests]
    print_verdicts(models, console)
    with report_folder(options.out, [REPORT_JSON, REPORT_MARKDOWN]):
        report = run_replay(
            ReplayOptions(
                bag=bag,
                out=options.out,
                topic=topic,
                models=tuple(model.manifest.folder for model in models),
                work=options.work,
                variants={model.task: (model.compressed,) for model in models},
                allow_rejected=True,
                limit=options.limit,
            ),
            progress,
        )
    require_no_problems(report, options.out)
    return lambda: show(report, options.out)
