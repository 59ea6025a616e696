# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Step 5: report.md, which says what was run, what came out, what it means and where to go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.report.schema import Report
from ad_road_simulation.closed_loop.images import FOLDER, PLACES
from ad_road_simulation.closed_loop.report import DriveReport
from ad_road_simulation.demo.accuracy import Judged
from ad_road_simulation.demo.options import DemoOptions
from ad_road_simulation.demo.recording import WEATHERS, Recording
from ad_road_simulation.demo.sentences import accuracy_sentence, driving_sentence, speed_sentence
from ad_road_simulation.demo.subjects import Subject
from ad_road_simulation.demo.tables import accuracy_table, driving_table, speed_table

_PERCENT = tuple(round(100 * place) for place in PLACES)
_ABOUT = {
    "detection": "Boxes around road users, traffic lights and stop signs. mAP is the mean average precision "
    "as COCO defines it, AP50 that of boxes that overlap by half; 1 is perfect.",
    "segmentation": "A label for every pixel: road, curb, paint. IoU is the overlap of a label's area with "
    "the true one; 1 is perfect.",
    "planning": "A path and speeds from one image. ADE is the mean distance of the planned from the true "
    "path, FDE that of its end, in meters; 0 is perfect.",
}


@dataclass(frozen=True)
class Show:
    """Everything that came out of the steps.

    Attributes:
        options: of the demo.
        subjects: the models.
        recording: what the camera recorded.
        replayed: the replay's report.
        judged: task to its model against the ground truth.
        driven: the closed loop's report; None without a planner.
        images: task to files.
        seconds: step to how long it took.
    """

    options: DemoOptions
    subjects: list[Subject]
    recording: Recording
    replayed: Report
    judged: Mapping[str, Judged]
    driven: DriveReport | None
    images: Mapping[str, list[Path]]
    seconds: Mapping[str, float]


def render_report(show: Show) -> str:
    """Return the report as GitHub-flavoured Markdown; images and reports are named relative to it."""
    blocks = [
        "# Baseline and compressed on the road camera",
        "A simulated car drove, ROS 2 nodes answered what its camera saw, every answer was compared with the "
        "ground truth, and the planners took the wheel themselves. Each model ran as its baseline and as its "
        "compressed variant, on the same images, one after the other.",
        "## In short",
        "\n".join(f"- {line}" for line in short_lines(show)),
    ]
    for subject in show.subjects:
        blocks += _task(show, subject)
    blocks += _latency(show)
    blocks += _closed_loop(show)
    blocks += _run(show)
    blocks += _further(show)
    return "\n\n".join(blocks) + "\n"


def short_lines(show: Show) -> list[str]:
    """Return a line for each task and one for the closed loop: speed, size, what it cost."""
    lines = []
    for subject in show.subjects:
        speed = speed_sentence(subject, show.replayed)
        accuracy = accuracy_sentence(subject, show.judged[subject.task])
        lines.append(f"**{subject.task.capitalize()}**: {speed} {accuracy}")
    if show.driven is not None:
        lines.append(f"**Closed loop**: {driving_sentence(show.driven)}")
    return lines


def _task(show: Show, subject: Subject) -> Iterator[str]:
    task, judged = subject.task, show.judged[subject.task]
    yield f"## {task.capitalize()}"
    yield f"{_ABOUT[task]} Model: `{subject.manifest.name}`."
    for file in show.images[task]:
        yield f"![{task}: ground truth, baseline, compressed]({file.parent.name}/{file.name})"
    yield "### Time and size"
    yield speed_table(subject, show.replayed)
    yield (
        f"{speed_sentence(subject, show.replayed)} Times are milliseconds of the replay; the whole way is "
        "from sending the image to the result. *Same answers* compares with the baseline, not with the "
        "ground truth. A dash: did not take part."
    )
    yield "### Against the ground truth"
    if judged.results:
        yield accuracy_table(subject, judged)
        yield (
            f"{accuracy_sentence(subject, judged)} Brackets hold 95 % intervals; differences are taken "
            "image by image. The places have nothing to do with each other and say more than the drive, "
            "whose images are alike."
        )
    for note in judged.notes:
        yield f"> {note}"


def _latency(show: Show) -> Iterator[str]:
    yield "## Where the time goes"
    for name, alt in (("latency.png", "Latency of every image"), ("stages.png", "Stages of an image")):
        if name in show.replayed.files:
            yield f"![{alt}](replay/{name})"
    yield "Stage by stage, with the images that agree least: [replay/report.md](replay/report.md)."


def _closed_loop(show: Show) -> Iterator[str]:
    yield "## Driving in closed loop"
    if show.driven is None:
        yield "Nothing was driven: no model plans."
        return
    options, driven = show.options, show.driven
    routes = "one route" if options.routes == 1 else f"{options.routes} routes"
    yield (
        f"The planners steer, brake and accelerate a simulated car on {routes} of {options.route_m:g} m, "
        "each plan as late as its variant is slow on this host. `expert` knows the world: the floor of route "
        "and controller."
    )
    yield driving_table(driven)
    yield (
        f"In short, {driving_sentence(driven)} So few routes show how it is done, not who drives "
        "better: `adcp drive` with 50 routes does. Intervals and every event: "
        "[closed_loop/report.md](closed_loop/report.md)."
    )
    place = driven.folder.name
    yield f"![Offset to the middle of the lane]({place}/{driven.document['files']['offsets']})"
    seen = image_of_most(driven)
    if seen is not None:
        yield f"![What the camera saw, with the planned path]({place}/{seen})"


def image_of_most(driven: DriveReport) -> str | None:
    """Return the closed loop's image that shows most of the drivers, the later of equals; None without."""
    there = [place for place in _PERCENT if f"at_{place}.png" in driven.document["files"]["images"]]
    count = {place: len(list((driven.folder / FOLDER).glob(f"*_{place}.png"))) for place in there}
    best = max(there, key=lambda place: (count[place], place), default=None)
    return None if best is None else f"at_{best}.png"


def _run(show: Show) -> Iterator[str]:
    options, host, source = show.options, show.replayed.host, show.replayed.source
    versions = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in show.seconds.items())
    lines = [
        f"Road camera: {options.frames} images of {show.recording.driven_m:.0f} m driven by an expert, "
        f"{' then '.join(WEATHERS)}, and {options.places} places in weathers drawn by chance. The default "
        "models were trained on other worlds.",
        f"Replay: {source.frames} images through real topics and nodes. {show.replayed.measurement}",
        f"Took {sum(show.seconds.values()):.0f} s: {took}.",
        f"Host: {host.cpu or host.machine}, {host.logical_cores} logical cores, {host.system}, "
        f"Python {host.python}.",
        f"Versions: {versions}.",
        *show.replayed.notes,
    ]
    yield "## What was run"
    yield "\n".join(f"- {line}" for line in lines)


def _further(show: Show) -> Iterator[str]:
    out = show.options.out
    commands = [
        ("ros2 launch ad_compressed_perception demo.launch.py", "the same live, in ROS 2"),
        ("make demo BAG=path/to/rosbag2", "a drive of your own"),
        ('make demo MODELS="path/to/model ..."', "models of your own"),
    ]
    for subject in show.subjects[:1]:
        commands.append(
            (
                f"adcp compress {_place(subject.manifest.folder)} --recipe int8 --name mine "
                f"--calibration {out / 'recording/drive/images'}",
                "a variant of your own",
            )
        )
    for subject in show.subjects:
        if subject.task == "planning":
            names = f"{subject.manifest.baseline},{subject.compressed}"
            folder = _place(subject.manifest.folder)
            commands.append((f"adcp drive {folder} --variants {names} --routes 50", "who drives better"))
    yield "## Where to go on"
    yield "\n".join(["```", *(f"{command}   # {words}" for command, words in commands), "```"])
    yield (
        "[recording/drive](recording/drive) and [recording/places](recording/places) are labeled data for "
        "`adcp evaluate` and `adcp compress --data`; [accuracy.json](accuracy.json) holds every figure of "
        "the comparisons with the ground truth."
    )


def _place(folder: Path) -> Path:
    """Return a folder as one would name it here."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
