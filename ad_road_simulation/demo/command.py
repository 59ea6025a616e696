# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp demo``: other verbs in a sequence, on the road camera or on a recorded drive, and one page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli.options import WorkToWrite

if TYPE_CHECKING:
    from ad_compressed_perception.core.manifest import Manifest
    from ad_compressed_perception.report.schemas.evaluation import Evaluation
    from ad_road_simulation.demo.demo_models import DemoModel
    from ad_road_simulation.demo.verbs import Verbs

STEPS = ("record", "replay", "accuracy", "closed loop", "faults", "report")
WEATHERS = ("day", "rain")
"""Of the two halves of the drive."""
DRIVE_SEED = 9_000_000
PLACES_SEED = 9_100_000
ROUTES_SEED = 92
"""Seeds of worlds that are not in the training data of the default models (seeds 1000 to a few thousand).

Routes of the closed loop have the seeds 100 000 * ROUTES_SEED and up."""
_WRITTEN = ("recording", "replay", "accuracy", "closed_loop", "images", "report.md", "report.html")


def demo(
    bag: Annotated[
        Path | None,
        typer.Argument(metavar="BAG", help="Recorded drive instead: rosbag2 folder, .mcap or .db3 file."),
    ] = None,
    same_bag: Annotated[Path | None, typer.Option("--bag", metavar="BAG", help="Same as BAG.")] = None,
    topic: Annotated[
        str | None, typer.Option(help="Image topic of BAG; needed where it has several.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR", help="Model folder, once for each task; the models of the package by default."
        ),
    ] = None,
    work: WorkToWrite = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report.")] = Path("adcp_work/demo"),
    limit: Annotated[int | None, typer.Option(min=1, help="Replay this many frames at most.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Road camera: images of the drive.")] = 160,
    places: Annotated[int, typer.Option(min=1, help="Road camera: images of independent scenes.")] = 100,
    routes: Annotated[int, typer.Option(min=1, help="Road camera: routes driven in closed loop.")] = 3,
    route_m: Annotated[
        float, typer.Option(help="Road camera: length of a route, meters (200 or more).")
    ] = 250.0,
) -> None:
    """Run baseline and compressed models side by side, and write one report.

    On the built-in road camera (adcp camera, replay, evaluate, drive, with its ground truth), or on a
    recorded drive (adcp replay). The commands are shown; a model without a compressed variant is compressed
    first. Ctrl-C keeps finished parts.
    """
    from ad_compressed_perception.data.bag import BagReader
    from ad_road_simulation.demo.demo_models import open_models, prepare_models, replay_models
    from ad_road_simulation.demo.reference_data import use_shared
    from ad_road_simulation.demo.report_folder import report_folder
    from ad_road_simulation.demo.verbs import Verbs
    from ad_road_simulation.world.layout import RouteOptions

    use_shared()  # manifests of the user's models may refer to $AD_SHARED
    manifests = open_models(model_folders(models or ()))
    RouteOptions(length_m=route_m)  # an invalid one is reported before minutes are spent
    recorded = same_bag or bag
    if recorded is None:
        with report_folder(out, _WRITTEN):
            lines = _run_road_demo(
                manifests,
                out,
                work,
                replayed=("--limit", limit),
                drive=("--frames", frames),
                places=("--frames", places),
                driven=("--routes", routes, "--length", route_m),
            )
        print("\n".join(lines))
        return
    with BagReader(recorded) as opened:
        topic = opened.resolve_image_topic(topic)
    verbs = Verbs()
    ready = prepare_models(manifests, f"{recorded}:{topic}", work, verbs)
    with report_folder(out, ("report.json", "report.md")):
        replay_models(
            ready, verbs, recorded, "--topic", topic, "--out", out, "--work", work, "--limit", limit
        )


def _run_road_demo(
    manifests: Sequence[Manifest],
    out: Path,
    work: Path | None,
    *,
    replayed: Sequence[object],
    drive: Sequence[object],
    places: Sequence[object],
    driven: Sequence[object],
) -> list[str]:
    """Run all steps and write the page; return the results in short.

    Args:
        manifests: the models.
        out: folder of the page.
        work: work folder; None for the default one.
        replayed: further options of adcp replay.
        drive: those of the recording of the drive.
        places: those of the independent scenes.
        driven: those of adcp drive.
    """
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.core.errors import AdcpError
    from ad_compressed_perception.report.schemas.comparison import Report
    from ad_road_simulation.closed_loop.drive_schema import Drive
    from ad_road_simulation.closed_loop.latency import EXPERT
    from ad_road_simulation.demo.demo_models import prepare_models, replay_models
    from ad_road_simulation.demo.fault_demo import run_fault_demo
    from ad_road_simulation.demo.images import write_images
    from ad_road_simulation.demo.page import DemoResult, write_pages
    from ad_road_simulation.demo.verbs import Verbs

    verbs, in_work = Verbs(STEPS), ("--work", work)
    folder = out / "recording"
    images = folder / "drive" / "images"
    verbs.begin("record")
    weather = ("--seed", DRIVE_SEED, "--weather", ",".join(WEATHERS), "--bag-out", folder / "bag")
    verbs.run("camera", "--out", folder / "drive", *weather, *drive)
    verbs.run("camera", "--out", folder / "places", "--seed", PLACES_SEED, "--independent", *places)
    verbs.begin("replay")
    models = prepare_models(manifests, images, work, verbs)
    replay_models(models, verbs, folder / "bag", "--out", out / "replay", *in_work, *replayed)
    verbs.begin("accuracy")
    accuracy, notes = _evaluate(models, out, verbs, in_work)
    verbs.begin("closed loop")
    documents = []
    for model in models:
        if model.task == "planning":
            names = ",".join((model.manifest.baseline, model.compressed, EXPERT))
            options = ("--variants", names, "--seed", ROUTES_SEED, "--out", out / "closed_loop")
            verbs.run("drive", model.manifest.folder, *options, *driven, *in_work)
            documents.append(Drive.read(out / "closed_loop" / "report.json"))
    verbs.begin("faults")
    with ProgressBar() as bar:
        faults = [one for model in models if (one := run_fault_demo(model, images, bar)) is not None]
    verbs.begin("report")
    shown = {}
    for model in models:
        try:
            shown[model.task] = write_images(model, folder / "drive", out / "images", WEATHERS)
        except AdcpError as error:
            notes.append(f"{model.task}: no images beside the ground truth: {error}.")
    return write_pages(
        DemoResult(
            out=out,
            models=models,
            replayed=Report.read(out / "replay" / "report.json"),
            accuracy=accuracy,
            notes=notes,
            driven=documents[0] if documents else None,
            faults=faults,
            images=shown,
            lines=verbs.lines,
            seconds=verbs.seconds,
        )
    )


def _evaluate(
    models: Sequence[DemoModel], out: Path, verbs: Verbs, options: Sequence[object]
) -> tuple[dict[tuple[str, str], Evaluation], list[str]]:
    """Return the documents of adcp evaluate by task and recording, and why some are missing."""
    from ad_compressed_perception.core.errors import AdcpError
    from ad_compressed_perception.report.schemas.evaluation import Evaluation
    from ad_road_simulation.demo.page import DATA

    found = {}
    notes: list[str] = []
    for model in models:
        names = model.runnable
        left_out = [name for name in model.manifest.variants if name not in names]
        notes += [f"{model.task}: the runtime of {name} is not installed here." for name in left_out]
        for data in DATA:
            file = out / "accuracy" / f"{model.task}_{data}.json"
            labeled = ("--data", out / "recording" / data, "--variant", ",".join(names), "--out", file)
            try:
                verbs.run("evaluate", model.manifest.folder, *labeled, *options)
                found[model.task, data] = Evaluation.read(file)
            except AdcpError as error:
                notes.append(f"{model.task}: not compared with the ground truth of the {data}: {error}.")
    return found, notes


def model_folders(entries: Sequence[str]) -> list[Path]:
    """Return the model folders; an entry may hold several, separated by spaces, as make passes them."""
    folders: list[Path] = []
    for entry in entries:
        folders += [Path(entry)] if Path(entry).exists() else map(Path, shlex.split(entry))
    return folders


def repeated_option(words: Sequence[str], option: str = "--models") -> list[str]:
    """Return the words of a command with one option for each of the values that follow it."""
    found: list[str] = []
    given = False
    for word in words:
        if word.startswith("-"):
            given = word == option
        elif given and found[-1] != option:
            found.append(option)
        found.append(word)
    return found
