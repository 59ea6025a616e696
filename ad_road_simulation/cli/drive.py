# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp drive``: planner variants in closed loop on the same routes, compared by paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli.options import ModelFolder, WorkToRead, names_in

if TYPE_CHECKING:
    from ad_compressed_perception.core.manifest import Manifest
    from ad_road_simulation.closed_loop.report import DriveReport

DEFAULT_OUT = Path("out")
_SHOWN = (
    "departures",
    "collisions",
    "red_lights",
    "stops_missed",
    "stuck",
    "lateral_rmse_m",
    "jerk_rms_mps3",
    "mean_speed_mps",
    "completion",
)


def drive(
    model_dir: ModelFolder,
    variants: Annotated[
        str,
        typer.Option(
            metavar="A,B[,C]",
            help="Variants; the others are compared with the first. baseline: the model's baseline, expert: "
            "the reference driver, which uses the ground truth.",
        ),
    ] = "baseline",
    routes: Annotated[int, typer.Option(min=1, max=10_000, help="Routes that every variant drives.")] = 50,
    length: Annotated[
        float, typer.Option(metavar="M", help="Length of a route, meters (200 or more).")
    ] = 1000.0,
    seed: Annotated[int, typer.Option(min=0, max=1_000_000, help="Seed of the routes.")] = 1,
    traffic: Annotated[
        float, typer.Option(help="Traffic density; 0: an empty road, 1: normal, 2: dense.")
    ] = 1.0,
    weather: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Weather: day, dusk, rain or glare; drawn for each route by default."
        ),
    ] = None,
    latency: Annotated[
        str,
        typer.Option(
            metavar="measured|none|MS|A=MS,...",
            help="Latency of a plan: measured on this host, none, or fixed.",
        ),
    ] = "measured",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:PROBABILITY",
            help="Also drive every variant but the baseline with this fault injected, the baseline as its "
            "standby; may be repeated.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Routes driven in parallel; the number of cores by default."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the report; out/drive-MODEL by default.")
    ] = None,
    work: WorkToRead = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json on standard output.")] = False,
) -> None:
    """Drive planner variants in closed loop on the same simulated routes and compare them.

    Every variant gets the camera image at 10 Hz, and the car follows its plans, each delayed by the
    latency of the variant. Differences are paired by route, with 95% intervals. Ctrl-C keeps the
    finished routes; the same command resumes with the others.
    """
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.core.host import usable_cores
    from ad_road_simulation.closed_loop.drive import DriveOptions, run_drive

    manifest, names = _model(model_dir, variants, work)
    options = DriveOptions(
        variants=(*names, *_with_faults(manifest, names, fault or [])),
        out=out or DEFAULT_OUT / f"drive-{manifest.name}",
        routes=routes,
        length_m=length,
        traffic=traffic,
        weather=weather,
        seed=seed,
        latency=latency,
        jobs=jobs or usable_cores(),
    )
    with ProgressBar(logs_steps=True) as bar:
        report = run_drive(manifest, options, bar)
    if as_json:
        print(report.document.to_json())
    else:
        _show(report)


def _model(model_dir: Path, variants: str, work: Path | None) -> tuple[Manifest, list[str]]:
    from ad_compressed_perception.cli.models import open_model
    from ad_road_simulation.closed_loop.latency import EXPERT
    from ad_road_simulation.closed_loop.planner_cache import check_variants

    requested = names_in(variants, "--variants") or ()
    own = open_model(model_dir, work, None)
    check_variants(own, [])
    is_alias = "baseline" not in own.variants
    names = [own.baseline if is_alias and name == "baseline" else name for name in requested]
    manifest = open_model(model_dir, work, [name for name in names if name != EXPERT])
    return manifest, names


def _with_faults(manifest: Manifest, names: list[str], faults: list[str]) -> list[str]:
    from ad_compressed_perception.core.errors import ManifestError
    from ad_road_simulation.closed_loop.faulted import FaultedVariant
    from ad_road_simulation.closed_loop.latency import EXPERT
    from ad_road_simulation.faults.kinds import parse_fault

    requests = [parse_fault(text) for text in faults]
    injected = [name for name in names if name not in (EXPERT, manifest.baseline)]
    if requests and not injected:
        raise ManifestError("--fault needs a variant besides the baseline, which is the standby")
    return [FaultedVariant(name, request).label for name in injected for request in requests]


def _show(report: DriveReport) -> None:
    from ad_compressed_perception.cli.output import new_table, table_console
    from ad_compressed_perception.report.kit.figures import significant
    from ad_road_simulation.closed_loop.paired import describe
    from ad_road_simulation.closed_loop.route_metrics import METRICS

    console = table_console()
    settings = report.document.settings
    columns = [f">{name}" for name in report.summary]
    columns += [f">{one.variant} - {one.reference}" for one in report.comparisons]
    title = f"routes: {settings.routes} of {settings.length_m:g} m"
    table = new_table(title, "mean per route (95 %)", *columns)
    for key in _SHOWN:
        table.add_row(
            METRICS[key].label,
            *(significant(one[key]) for one in report.summary.values()),
            *(describe(one.differences[key], "") for one in report.comparisons),
        )
    console.print(table, markup=False, highlight=False)
    for comparison in report.comparisons:
        console.print(comparison.line, markup=False, highlight=False, soft_wrap=True)
    for name in ("report.md", "report.html"):
        console.print(f"report: {report.folder / name}", highlight=False, soft_wrap=True)
