# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp compress``: one recipe, one command, one verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_compressed_perception.cli.exit_codes import ExitCode


def compress(
    model_dir: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder with model.yaml.")],
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="Recipe file, or a shipped one's name such as int8.")
    ],
    calibration: Annotated[
        str,
        typer.Option(
            metavar="BAG:TOPIC|FOLDER",
            help="Frames to calibrate on and, other ones, to verify on.",
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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Compress a model by a recipe and judge the result on frames it was not calibrated on.

    Exit code 0: accepted, 3: rejected (kept and marked), 4: inconclusive, 1: error, 2: usage. A variant
    of the same name is replaced.
    """
    import json

    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    from ad_compressed_perception.compression.compress import compress_model
    from ad_compressed_perception.compression.recipe import load_recipe
    from ad_compressed_perception.compression.report import as_dict, tables
    from ad_compressed_perception.manifest import load_manifest

    if work is not None and in_place:
        raise typer.BadParameter("--work and --in-place exclude each other")
    loaded = load_recipe(recipe)
    manifest = load_manifest(model_dir)
    columns = (SpinnerColumn(), *Progress.get_default_columns()[:-1], TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
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
