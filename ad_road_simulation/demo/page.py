# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The page of the demo: joins the reports of its verbs, with what they say in short."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.findings import report_findings
from ad_compressed_perception.report.kit.figures import NONE, interval_text
from ad_compressed_perception.report.kit.findings import sort_findings
from ad_compressed_perception.report.kit.rendered import Rendered
from ad_compressed_perception.report.kit.table import table
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.evaluation import Evaluation
from ad_road_simulation.closed_loop.drive_markdown import render_drive
from ad_road_simulation.closed_loop.drive_schema import Drive
from ad_road_simulation.closed_loop.images import FOLDER, IMAGE_FRACTIONS
from ad_road_simulation.demo.demo_models import DemoModel
from ad_road_simulation.demo.fault_demo import FaultDemo, fault_sections

DATA = ("places", "drive")
"""The labeled recordings; first the one with independent frames, whose intervals are valid."""
_FIGURES = {
    "map": ("mAP", ""),
    "ap50": ("AP50", ""),
    "miou": ("mean IoU", ""),
    "ade_m": ("ADE", "m"),
    "fde_m": ("FDE", "m"),
    "rmse_rad": ("steering RMSE", "rad"),
}
_LEFT_OUT = ("iou_background", "mae_rad", "correlation")
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
    """What the steps have written.

    Attributes:
        out: folder of the page.
        models: the models.
        replayed: report of the replay, whose Markdown is beside it in ``replay``.
        accuracy: of each task and recording, where it could be evaluated.
        notes: what could not be measured, in sentences.
        driven: document of the closed loop, likewise in ``closed_loop``; None without a planner.
        faults: of each model with a compressed variant.
        images: task to files.
        lines: the commands.
        seconds: step to its duration.
    """

    out: Path
    models: Sequence[DemoModel]
    replayed: Report
    accuracy: Mapping[tuple[str, str], Evaluation]
    notes: Sequence[str]
    driven: Drive | None
    faults: Sequence[FaultDemo]
    images: Mapping[str, Sequence[Path]]
    lines: Sequence[str]
    seconds: Mapping[str, float]


def write_pages(result: DemoResult) -> list[str]:
    """Write report.md and report.html; return the results in short, for a terminal."""
    findings = report_findings(result.replayed)
    if result.driven is not None:
        findings += render_drive(result.driven).findings
    rendered = Rendered(render_page(result), sort_findings(findings))
    file = rendered.write_markdown(result.out / "report.md")
    page = rendered.write_page(result.out / "report.html")
    lines = [line.replace("**", "").replace("`", "") for line in summary_lines(result)]
    return [*lines, f"report: {file}", f"report: {page} (the same in one file with all images)"]


def render_page(result: DemoResult) -> str:
    """Return the page as GitHub-flavored Markdown; its images and links are relative to its folder."""
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
    blocks += [f"> {note}" for note in result.notes]
    blocks.append("## Replay through nodes")
    blocks += sections_of(result.out / "replay", "Compressed against", "Latency,", "Stages")
    blocks += _closed_loop(result)
    blocks += fault_sections(result.faults)
    blocks += _run(result)
    return "\n\n".join(blocks) + "\n"


def sections_of(folder: Path, *beginnings: str) -> list[str]:
    """Return sections of a folder's report.md whose headings begin so, one level down, and a link to all.

    Raises:
        ValueError: the report has no such section.
    """
    parts = re.split(r"^## ", (folder / "report.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    found = [part for part in parts if part.startswith(beginnings)]
    if len(found) < len(beginnings):
        raise ValueError(f"{folder}/report.md lacks one of its sections {', '.join(beginnings)}")
    text = "".join(f"### {part}" for part in found).strip()
    text = re.sub(r"\]\((?![a-z]+:)", f"]({folder.name}/", text)
    return [text, f"All of it: [{folder.name}/report.md]({folder.name}/report.md)."]


def summary_lines(result: DemoResult) -> list[str]:
    """Return a line per task with speed, size and accuracy, one for the closed loop, one for each fault."""
    lines = []
    for model in result.models:
        speed, accuracy = speed_sentence(model, result.replayed), accuracy_sentence(result, model)
        lines.append(f"**{model.task.capitalize()}**: {speed} {accuracy}")
    if result.driven is not None:
        lines.append(f"**Closed loop**: {driving_sentence(result.driven)}")
    lines += [f"**Fault in {one.task}**: {one.sentence}" for one in result.faults]
    return lines


def speed_sentence(model: DemoModel, report: Report) -> str:
    """Return speed and file size of the compressed variant relative to the baseline."""
    baseline, name = model.manifest.baseline, model.compressed
    sizes = [model.manifest.variant_path(one).stat().st_size / 1e6 for one in (baseline, name)]
    size = f"its file is {sizes[1] / sizes[0]:.2f}x as large ({sizes[1]:.1f} instead of {sizes[0]:.1f} MB)"
    variants = report.tasks[model.task].variants if model.task in report.tasks else {}
    timed = [variants[one] for one in ("baseline", name) if one in variants]
    times = [(one.stages_ms["infer"].p50, one.end_to_end_ms.p50) for one in timed if "infer" in one.stages_ms]
    infer = [first for first, total in times if first and total]
    total = [total for first, total in times if first and total]
    if len(infer) < 2:
        return f"`{name}` was not timed; {size}."
    ratio = infer[0] / infer[1]
    speed = f"{ratio:.1f}x as fast" if ratio >= 1.0 else f"slower, {ratio:.2f}x as fast"
    return (
        f"`{name}` is {speed} (inference {infer[1]:.1f} instead of {infer[0]:.1f} ms, end to end "
        f"{total[1]:.1f} instead of {total[0]:.1f} ms); {size}."
    )


def accuracy_sentence(result: DemoResult, model: DemoModel) -> str:
    """Return the accuracy of the compressed variant, and whether the difference is significant."""
    baseline, name = model.manifest.baseline, model.compressed
    for data in DATA:
        found = result.accuracy.get((model.task, data))
        if found is None or name not in found.comparison:
            continue
        key = next(iter(found.variants[name].figures))
        before, after = (found.variants[one].figures[key] for one in (baseline, name))
        if not (before.is_known and after.is_known):
            continue
        words, unit = metric_label(key)
        difference = found.comparison[name].difference[key]
        verdict = describe_difference(difference, lower_is_better=key in found.lower_is_better)
        return (
            f"Against the ground truth: {words} {f'{after.value:.3f} {unit}'.strip()} instead of "
            f"{before.value:.3f}, {interval_text(difference, sign='+')}, {verdict}."
        )
    return "It could not be compared with the ground truth."


def describe_difference(difference: Interval, *, lower_is_better: bool) -> str:
    """Return the interpretation of a difference to the baseline by its interval, as text."""
    low, high = (-difference.high, -difference.low) if lower_is_better else (difference.low, difference.high)
    if math.isnan(low) or math.isnan(high):
        return "without an interval"
    if low == high == 0.0:
        return "no difference"
    if high < 0.0:
        return "a significant loss"
    return "a significant gain" if low > 0.0 else "not significant"


def driving_sentence(driven: Drive) -> str:
    """Return how many routes each variant finished, with the number of departures and collisions."""
    parts = []
    for name, one in driven.variants.items():
        events = round(one.figures["events"].value * one.routes)
        parts.append(f"`{name}` {one.endings.get('finished', 0)} ({events})")
    routes = driven.settings.routes
    return f"routes finished of {routes} (lane departures and collisions): {', '.join(parts)}."


def metric_label(name: str) -> tuple[str, str]:
    """Return the name of a figure and its unit, which may be empty."""
    return _FIGURES.get(name, (name.replace("iou_", "IoU ").replace("_", " "), ""))


def _task(result: DemoResult, model: DemoModel) -> Iterator[str]:
    task = model.task
    yield f"## {task.capitalize()}"
    yield f"{_DESCRIPTIONS[task]} Model: `{model.manifest.name}`."
    for file in result.images.get(task, ()):
        yield f"![{task}: ground truth, baseline, compressed]({file.parent.name}/{file.name})"
    found = {data: result.accuracy[task, data] for data in DATA if (task, data) in result.accuracy}
    if found:
        yield _accuracy_table(model, found)
        yield (
            f"{accuracy_sentence(result, model)} Brackets hold 95 % intervals; differences are paired by "
            "image. The places are independent scenes and more reliable than the drive, whose images are "
            "similar."
        )


def _accuracy_table(model: DemoModel, found: Mapping[str, Evaluation]) -> str:
    first = next(iter(found.values()))
    figures = next(iter(first.variants.values())).figures
    keys = [key for key in figures if key not in _LEFT_OUT]
    compared = (model.manifest.baseline, model.compressed)
    rows = []
    for data, document in found.items():
        for variant, one in document.variants.items():
            name = f"**`{variant}`**" if variant in compared else f"`{variant}`"
            cells = [interval_text(one.figures[key]) for key in keys]
            against = document.comparison.get(variant)
            cells.append(NONE if against is None else interval_text(against.difference[keys[0]], sign="+"))
            rows.append((f"{data} ({document.data.evaluated})", name, one.verdict or NONE, *cells))
    titles = [", ".join(filter(None, metric_label(key))) for key in keys]
    head = ("images", "variant", "gate", *titles, f"{titles[0]}: difference to baseline")
    return table(head, rows)


def _closed_loop(result: DemoResult) -> Iterator[str]:
    yield "## Driving in closed loop"
    if result.driven is None:
        yield "Nothing was driven: there is no planner among the models."
        return
    settings, folder = result.driven.settings, result.out / "closed_loop"
    routes = "one route" if settings.routes == 1 else f"{settings.routes} routes"
    yield (
        f"The planners steer, brake and accelerate a car on {routes} of {settings.length_m:g} m, "
        "each plan delayed by the latency of its variant on this host."
    )
    yield from sections_of(folder, "Metrics")
    yield (
        f"In short, {driving_sentence(result.driven)} So few routes do not show which variant drives "
        "better: run `adcp drive` with 50 routes."
    )
    seen = image_of_most(folder, result.driven.files.images)
    shown = {"Offset from the lane center": result.driven.files.offsets}
    for title, file in (shown | ({"Camera image with the planned path": seen} if seen else {})).items():
        yield f"![{title}]({folder.name}/{file})"


def image_of_most(folder: Path, images: Sequence[str]) -> str | None:
    """Return the closed-loop image that shows most variants, the later one of equals; None without images."""
    percents = [round(100 * place) for place in IMAGE_FRACTIONS]
    count = {
        f"at_{percent}.png": (len(list((folder / FOLDER).glob(f"*_{percent}.png"))), percent)
        for percent in percents
    }
    return max((name for name in images if name in count), key=lambda name: count[name], default=None)


def _run(result: DemoResult) -> Iterator[str]:
    host, source = result.replayed.host, result.replayed.source
    versions = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    lines = [
        "The drive is an expert's, by day and then in rain; the places are independent scenes in random "
        "weather. The default models were trained on other worlds.",
        f"Replay: {source.frames} images through real topics and nodes. {result.replayed.measurement}",
        f"Took {sum(result.seconds.values()):.0f} s: {took}.",
        f"Host: {host.cpu or host.machine}, {host.logical_cores} logical cores, {host.system}, "
        f"Python {host.python}.",
        f"Versions: {versions}.",
        *result.replayed.notes,
    ]
    yield "## What was run"
    yield "\n".join(["```", *result.lines, "```"])
    yield "\n".join(f"- {line}" for line in lines)
    yield "## Next steps"
    yield (
        "Change the commands above: another model or more routes. [recording/drive](recording/drive) and "
        "[recording/places](recording/places) are labeled data for `adcp evaluate` and "
        "`adcp compress --data`. `make demo BAG=path/to/rosbag2` replays a drive of your own, "
        '`make demo MODELS="path/to/model ..."` runs models of your own, and '
        "`ros2 launch ad_compressed_perception demo.launch.py` shows the same live."
    )
