# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Step 5: report.md with the results, their interpretation, the conditions and the next steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.report.schema import Report
from ad_road_simulation.closed_loop.images import FOLDER, IMAGE_FRACTIONS
from ad_road_simulation.closed_loop.report import DriveReport
from ad_road_simulation.demo.accuracy import AccuracyResult
from ad_road_simulation.demo.demo_models import DemoModel
from ad_road_simulation.demo.options import DemoOptions
from ad_road_simulation.demo.recording import WEATHERS, Recording
from ad_road_simulation.demo.sentences import accuracy_sentence, driving_sentence, speed_sentence
from ad_road_simulation.demo.tables import accuracy_table, driving_table, speed_table

_PERCENT = tuple(round(100 * place) for place in IMAGE_FRACTIONS)
_DESCRIPTIONS = {
    "detection": "Boxes around road users, traffic lights and stop signs. mAP is the mean average precision "
    "as COCO defines it, AP50 that at an IoU of 0.5; 1 is perfect.",
    "segmentation": "A label for every pixel: road, curb, paint. IoU is the intersection over union with the "
    "ground truth; 1 is perfect.",
    "planning": "A path and speeds from one image. ADE is the mean distance of the planned from the "
    "ground-truth path, FDE that of its end, in meters; 0 is perfect.",
}


@dataclass(frozen=True)
class DemoResult:
    """Results of all steps.

    Attributes:
        options: of the demo.
        models: the models.
        recording: of the road camera.
        replayed: report of the replay.
        accuracy: task to the accuracy of its model against the ground truth.
        driven: report of the closed loop; None without a planner.
        images: task to files.
        seconds: step to its duration.
    """

    options: DemoOptions
    models: list[DemoModel]
    recording: Recording
    replayed: Report
    accuracy: Mapping[str, AccuracyResult]
    driven: DriveReport | None
    images: Mapping[str, list[Path]]
    seconds: Mapping[str, float]


def render_report(result: DemoResult) -> str:
    """Return the report as GitHub-flavored Markdown; paths of images and reports are relative to it."""
    blocks = [
        "# Baseline and compressed on the road camera",
        "ROS 2 nodes processed the images of a simulated drive, every output was compared with the "
        "ground truth, and the planners drove in closed loop. Each model ran as its baseline and as its "
        "compressed variant, interleaved on the same images.",
        "## In short",
        "\n".join(f"- {line}" for line in summary_lines(result)),
    ]
    for model in result.models:
        blocks += _task(result, model)
    blocks += _latency(result)
    blocks += _closed_loop(result)
    blocks += _run(result)
    blocks += _next_steps(result)
    return "\n\n".join(blocks) + "\n"


def summary_lines(result: DemoResult) -> list[str]:
    """Return a line per task with speed, size and accuracy, and one for the closed loop."""
    lines = []
    for model in result.models:
        speed = speed_sentence(model, result.replayed)
        accuracy = accuracy_sentence(model, result.accuracy[model.task])
        lines.append(f"**{model.task.capitalize()}**: {speed} {accuracy}")
    if result.driven is not None:
        lines.append(f"**Closed loop**: {driving_sentence(result.driven)}")
    return lines


def _task(result: DemoResult, model: DemoModel) -> Iterator[str]:
    task, accuracy = model.task, result.accuracy[model.task]
    yield f"## {task.capitalize()}"
    yield f"{_DESCRIPTIONS[task]} Model: `{model.manifest.name}`."
    for file in result.images[task]:
        yield f"![{task}: ground truth, baseline, compressed]({file.parent.name}/{file.name})"
    yield "### Time and size"
    yield speed_table(model, result.replayed)
    yield (
        f"{speed_sentence(model, result.replayed)} Times are milliseconds of the replay; end to end is from "
        "sending the image to the result. *Agreement* is with the baseline, not with the "
        "ground truth. A dash: not in the replay."
    )
    yield "### Against the ground truth"
    if accuracy.results:
        yield accuracy_table(model, accuracy)
        yield (
            f"{accuracy_sentence(model, accuracy)} Brackets hold 95 % intervals; differences are paired "
            "by image. The places are independent scenes and more reliable than the drive, "
            "whose images are similar."
        )
    for note in accuracy.notes:
        yield f"> {note}"


def _latency(result: DemoResult) -> Iterator[str]:
    yield "## Latency by stage"
    for name, alt in (("latency.png", "Latency of every image"), ("stages.png", "Stages of an image")):
        if name in result.replayed.files:
            yield f"![{alt}](replay/{name})"
    yield "All stages, and the images with the lowest agreement: [replay/report.md](replay/report.md)."


def _closed_loop(result: DemoResult) -> Iterator[str]:
    yield "## Driving in closed loop"
    if result.driven is None:
        yield "Nothing was driven: there is no planner among the models."
        return
    options, driven = result.options, result.driven
    routes = "one route" if options.routes == 1 else f"{options.routes} routes"
    yield (
        f"The planners steer, brake and accelerate a simulated car on {routes} of {options.route_m:g} m, "
        "each plan delayed by the latency of its variant on this host. `expert` uses the ground truth: its "
        "errors are those of route and controller."
    )
    yield driving_table(driven)
    yield (
        f"In short, {driving_sentence(driven)} So few routes do not show which variant drives "
        "better: run `adcp drive` with 50 routes. Intervals and every event: "
        "[closed_loop/report.md](closed_loop/report.md)."
    )
    place = driven.folder.name
    yield f"![Offset from the lane center]({place}/{driven.document['files']['offsets']})"
    seen = image_of_most(driven)
    if seen is not None:
        yield f"![Camera image with the planned path]({place}/{seen})"


def image_of_most(driven: DriveReport) -> str | None:
    """Return the closed-loop image that shows most variants, the later one of equals; None without images."""
    there = [place for place in _PERCENT if f"at_{place}.png" in driven.document["files"]["images"]]
    count = {place: len(list((driven.folder / FOLDER).glob(f"*_{place}.png"))) for place in there}
    best = max(there, key=lambda place: (count[place], place), default=None)
    return None if best is None else f"at_{best}.png"


def _run(result: DemoResult) -> Iterator[str]:
    options, host, source = result.options, result.replayed.host, result.replayed.source
    versions = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    lines = [
        f"Road camera: {options.frames} images of {result.recording.driven_m:.0f} m driven by an expert, "
        f"{' then '.join(WEATHERS)}, and {options.places} independent scenes in random weather. The "
        "default models were trained on other worlds.",
        f"Replay: {source.frames} images through real topics and nodes. {result.replayed.measurement}",
        f"Took {sum(result.seconds.values()):.0f} s: {took}.",
        f"Host: {host.cpu or host.machine}, {host.logical_cores} logical cores, {host.system}, "
        f"Python {host.python}.",
        f"Versions: {versions}.",
        *result.replayed.notes,
    ]
    yield "## What was run"
    yield "\n".join(f"- {line}" for line in lines)


def _next_steps(result: DemoResult) -> Iterator[str]:
    out = result.options.out
    commands = [
        ("ros2 launch ad_compressed_perception demo.launch.py", "the same live, in ROS 2"),
        ("make demo BAG=path/to/rosbag2", "a drive of your own"),
        ('make demo MODELS="path/to/model ..."', "models of your own"),
    ]
    for model in result.models[:1]:
        commands.append(
            (
                f"adcp compress {_relative_to_here(model.manifest.folder)} --recipe int8 --name mine "
                f"--calibration {out / 'recording/drive/images'}",
                "a variant of your own",
            )
        )
    for model in result.models:
        if model.task == "planning":
            names = f"{model.manifest.baseline},{model.compressed}"
            folder = _relative_to_here(model.manifest.folder)
            commands.append(
                (f"adcp drive {folder} --variants {names} --routes 50", "comparison with enough routes")
            )
    yield "## Next steps"
    yield "\n".join(["```", *(f"{command}   # {words}" for command, words in commands), "```"])
    yield (
        "[recording/drive](recording/drive) and [recording/places](recording/places) are labeled data for "
        "`adcp evaluate` and `adcp compress --data`; [accuracy.json](accuracy.json) holds all figures of "
        "the comparison with the ground truth."
    )


def _relative_to_here(folder: Path) -> Path:
    """Return a folder relative to the working directory where it is inside."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
