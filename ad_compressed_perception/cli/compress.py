# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp compress``: compress a model by a recipe, and verify the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.cli.options import MAX_BAD_FRAMES, MODEL_HELP

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from ad_compressed_perception.core.manifest import Manifest


def compress(
    model_dir: Annotated[Path, typer.Argument(metavar="MODEL_DIR|FILE", help=MODEL_HELP)],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="RECIPE", help="Recipe file, a shipped one's name such as int8, or auto: search for one."
        ),
    ],
    calibration: Annotated[
        str,
        typer.Option(
            metavar="BAG:TOPIC|FOLDER",
            help="Frames to calibrate on, and other frames to verify on.",
        ),
    ],
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames to calibrate on; the recipe's number by default.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="VARIANT", help="Name of the variant; the recipe's by default."),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where variants go: DIR/<model>/; $ADCP_WORK or ./adcp_work by default."
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write into MODEL_DIR instead of the work folder.")
    ] = False,
    backend: Annotated[
        str | None, typer.Option(help="Run the variant on this backend instead of the recipe's.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Labeled data to measure accuracy on: as adcp evaluate --data."),
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME", help="With --data: map from the data's names to the model's labels."
        ),
    ] = None,
    from_share: Annotated[
        float, typer.Option("--from", min=0.0, max=1.0, help="With --data: share of it to begin at.")
    ] = 0.0,
    to_share: Annotated[
        float, typer.Option("--to", min=0.0, max=1.0, help="With --data: share of it to end at.")
    ] = 1.0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --data: at most so many frames, at even steps.")
    ] = None,
    max_bad_frames: Annotated[str | None, MAX_BAD_FRAMES] = None,
    tolerance_ms: Annotated[
        float, typer.Option(min=0.0, help="With --data, planning: farthest label taken for a frame.")
    ] = 50.0,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TERMS",
            help="auto: limits on the variant, such as 'drop<=1%, p99<=20ms, size<=0.25, speed>=2x'; "
            "drop<=5% by default.",
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="auto: how long to search; 10 by default.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="auto: order of equally cheap candidates, and training; 0 by default."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="auto: compare these labels only; all of them by default."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="auto with --data: metric of adcp evaluate; map, miou, rmse_rad or accuracy by default."
        ),
    ] = None,
    train: Annotated[
        bool | None,
        typer.Option("--train/--no-train", help="auto: also prune and distill candidates; yes by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Compress a model by a recipe and verify the result on frames it was not calibrated on.

    With --data its accuracy on labels is measured too; a recipe's max_accuracy_drop needs that. The report,
    with plots and images, is written beside the variant to VARIANT.report/. A model file is imported into
    the work folder first (adcp import), as task raw where no decoder fits its outputs.

    Exit code 0: accepted, 3: rejected (kept and marked), 4: inconclusive, 1: error, 2: usage. A variant
    of the same name is replaced.
    """
    import json

    from rich.console import Console
    from rich.progress import Progress

    from ad_compressed_perception.cli.model_file import folder_of
    from ad_compressed_perception.cli.search import run_search
    from ad_compressed_perception.compression.compress import compress_model
    from ad_compressed_perception.compression.recipe import load_recipe
    from ad_compressed_perception.compression.search.budget import DEFAULT, parse_budget
    from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice
    from ad_compressed_perception.compression.verification.terminal_output import as_dict, tables
    from ad_compressed_perception.data.bad_frames import parse_limit

    if work is not None and in_place:
        raise typer.BadParameter("--work and --in-place exclude each other")
    if data is None and (label_map is not None or limit is not None or (from_share, to_share) != (0.0, 1.0)):
        raise typer.BadParameter("--label-map, --from, --to and --limit belong to --data")
    max_bad = None if max_bad_frames is None else parse_limit(max_bad_frames)
    labeled = (
        None
        if data is None
        else LabeledChoice(data, label_map, from_share, to_share, limit, tolerance_ms, max_bad)
    )
    if recipe == "auto" and not Path(recipe).is_file():
        if backend is not None:
            raise typer.BadParameter("--recipe auto tries every backend: leave --backend out")
        parsed = parse_budget(budget or DEFAULT)  # what is wrong with the command comes before the model
        run_search(
            _try_baseline(folder_of(model_dir, work, calibration, in_place=in_place)), calibration,
            budget=parsed, minutes=minutes or 10.0, seed=seed or 0,
            frames=frames, name=name, work=work, in_place=in_place, labels=labels, labeled=labeled,
            metric=metric, train=train is not False, max_bad_frames=max_bad, as_json=as_json,
        )  # fmt: skip
    only_auto = {
        "budget": budget, "minutes": minutes, "seed": seed, "labels": labels, "metric": metric, "train": train
    }  # fmt: skip
    for option, given in only_auto.items():
        if given is not None:
            raise typer.BadParameter(f"--{option} belongs to --recipe auto")
    loaded = load_recipe(recipe)
    manifest = _try_baseline(folder_of(model_dir, work, calibration, in_place=in_place))
    with Progress(*progress_columns(), console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def advance(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)  # type: ignore[arg-type]

        result = compress_model(
            manifest,
            loaded,
            calibration,
            frames=frames,
            name=name,
            work=work,
            in_place=in_place,
            backend=backend,
            labeled=labeled,
            max_bad_frames=max_bad,
            progress=advance,
        )
    if as_json:
        print(json.dumps(as_dict(result), indent=2, allow_nan=False))
    else:
        console = Console()
        for part in tables(result):
            console.print(part, highlight=False)
    exits = {
        "accepted": ExitCode.OK,
        "rejected": ExitCode.REJECTED,
        "inconclusive": ExitCode.INCONCLUSIVE,
    }
    raise typer.Exit(exits[result.verdict.status])


def _try_baseline(model_dir: Path) -> Manifest:
    """Return the manifest of a model whose baseline loads and runs, seen in a process of its own."""
    from ad_compressed_perception.backends.checked_load import try_load
    from ad_compressed_perception.core.manifest import load_manifest

    manifest = load_manifest(model_dir)
    baseline = manifest.variant(manifest.baseline)
    path = manifest.checked_path(manifest.baseline, allow_rejected=True)
    try_load(baseline.backend, path, baseline.options)
    return manifest


def progress_columns() -> tuple[ProgressColumn, ...]:
    """Return the columns of the progress display: pass, share done, time left and time elapsed."""
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    return (SpinnerColumn(), *Progress.get_default_columns(), TimeElapsedColumn())
