# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp compress``: compress a model by a recipe, and verify the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli import options as o
from ad_compressed_perception.cli.exit_codes import of_verdict

if TYPE_CHECKING:
    pass


def compress(
    model_dir: o.ModelOrFile,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="RECIPE", help="Recipe file, or a shipped one's name such as int8; auto: search."
        ),
    ],
    calibration: o.Calibration,
    frames: o.CalibrationFrames = None,
    name: o.VariantName = None,
    work: o.WorkToWrite = None,
    in_place: o.InPlace = False,
    backend: Annotated[
        str | None, typer.Option(help="Run the variant on this backend instead of the recipe's.")
    ] = None,
    data: o.OptionalData = None,
    label_map: o.LabelMap = None,
    from_share: o.FromShare = 0.0,
    to_share: o.ToShare = 1.0,
    limit: o.LabeledLimit = None,
    tolerance_ms: o.Tolerance = o.TOLERANCE_MS,
    max_bad_frames: o.MaxBadFrames = None,
    as_json: o.AsJson = False,
) -> None:
    """Compress a model by a recipe and verify the result on frames it was not calibrated on.

    With --data its accuracy on labels is measured too; a recipe's max_accuracy_drop needs that. The report,
    with plots and images, is written beside the variant to VARIANT.report/. A model file is imported into
    the work folder first (adcp import), as task raw where no decoder fits its outputs.

    --recipe auto is adcp search, with the options of that verb.

    Exit code 0: accepted, 3: rejected (kept and marked), 4: inconclusive, 1: error, 2: usage. A variant
    of the same name is replaced.
    """
    from rich.console import Console

    from ad_compressed_perception.cli.models import loadable_model
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.compression.compress import compress_model
    from ad_compressed_perception.compression.recipe import load_recipe
    from ad_compressed_perception.compression.verification.terminal_output import tables
    from ad_compressed_perception.data.bad_frames import parse_limit

    check_target(work, in_place)
    max_bad = None if max_bad_frames is None else parse_limit(max_bad_frames)
    labeled = o.labeled_choice(data, label_map, (from_share, to_share), limit, tolerance_ms, max_bad)
    loaded = load_recipe(recipe)
    manifest = loadable_model(model_dir, work, calibration, in_place=in_place)
    with ProgressBar() as bar:
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
            progress=bar,
        )
    if as_json:
        print(result.document.to_json())
    else:
        console = Console()
        for part in tables(result):
            console.print(part, highlight=False)
    raise typer.Exit(of_verdict(result.verdict.status))


def check_target(work: Path | None, in_place: bool) -> None:
    """Raise typer.BadParameter where both places for a variant are given."""
    if work is not None and in_place:
        raise typer.BadParameter("--work and --in-place exclude each other")
