# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp benchmark``: variants timed interleaved on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ad_compressed_perception.cli.options import MAX_BAD_FRAMES, MODEL_HELP

if TYPE_CHECKING:
    from ad_compressed_perception.analysis.benchmark import Benchmark, BenchmarkVariant, VariantFigures
    from ad_compressed_perception.core.manifest import Manifest
    from ad_compressed_perception.image.decode import Frame
    from ad_compressed_perception.report.schema import Host

SCHEMA = "adcp-benchmark/1"
# Decoded frames are held in memory, so that reading them is not timed; further rounds reuse them.
MAX_FRAMES = 64


def benchmark(
    model_dir: Annotated[Path, typer.Argument(metavar="MODEL_DIR|FILE", help=MODEL_HELP)],
    variants: Annotated[
        str | None,
        typer.Option(
            metavar="A,B[,C]",
            help="Variants, each VARIANT\\[@BACKEND]\\[:OPTION=VALUE]...; all there are by default.",
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Run all of them on this backend instead of their own.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=0, help="Threads inside one inference; 0: the runtime's choice.")
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rounds that are counted.")] = 100,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="BAG:TOPIC|FOLDER",
            help="Camera frames, to time prepare and post too; noise and inference alone by default.",
        ),
    ] = None,
    max_bad_frames: Annotated[str | None, MAX_BAD_FRAMES] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where compressed variants are; $ADCP_WORK or ./adcp_work by default."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Time variants against the baseline: each round runs all of them once, in changing order.

    The speed-up is the median of the rounds' ratios with its 95% interval: a slowdown of the machine
    affects both sides of a ratio. Rejected variants may take part; the table says so.
    """
    import json

    from rich.console import Console
    from rich.progress import Progress

    from ad_compressed_perception.analysis.benchmark import run_benchmark
    from ad_compressed_perception.cli.model_file import folder_of
    from ad_compressed_perception.report.host import describe_host

    model_dir = folder_of(model_dir, work, frames)
    manifest, compared = _variants(model_dir, variants, backend, work)
    images, source = _frames(frames, iterations, max_bad_frames)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("rounds", total=iterations)
        result = run_benchmark(
            manifest,
            compared,
            frames=images,
            source=source,
            rounds=iterations,
            options={} if threads is None else {"threads": threads},
            progress=lambda done: bar.update(task, completed=done),
        )
    host = describe_host()
    if as_json:
        document: dict[str, Any] = {
            "schema": SCHEMA,
            **result.as_dict(),
            "host": host.model_dump(mode="json"),
        }
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        _print_table(result, host)


def _variants(
    model_dir: Path, variants: str | None, backend: str | None, work: Path | None
) -> tuple[Manifest, list[BenchmarkVariant]]:
    from dataclasses import replace

    from ad_compressed_perception.analysis.benchmark import parse_benchmark_variant
    from ad_compressed_perception.cli.models import open_model
    from ad_compressed_perception.workspace.find import find_all

    texts = [text for text in (variants or "").split(",") if text.strip()]
    if not texts:
        texts = list(find_all(open_model(model_dir, work, None), work))
    compared = [parse_benchmark_variant(text) for text in texts]
    if backend is not None:
        compared = [replace(one, backend=one.backend or backend) for one in compared]
    manifest = open_model(model_dir, work, [one.name for one in compared])
    return manifest, compared


def _frames(spec: str | None, rounds: int, max_bad_frames: str | None) -> tuple[Sequence[Frame] | None, str]:
    if spec is None:
        return None, ""
    from ad_compressed_perception.data.bad_frames import parse_limit
    from ad_compressed_perception.data.frames import open_frames

    limit = min(rounds, MAX_FRAMES)
    opened = open_frames(spec, limit=limit, max_bad=parse_limit(max_bad_frames))
    images = list(opened.frames(opened.readable(range(len(opened)))))
    for sentence in opened.account().sentences():
        print(f"warning: {sentence}", file=sys.stderr)
    return images, opened.describe


def _print_table(result: Benchmark, host: Host) -> None:
    from rich.table import Table

    from ad_compressed_perception.cli.output import table_console

    end_to_end = any("total" in figures.stages_ms for figures in result.variants)
    table = Table(title=f"{result.model}: milliseconds over {result.rounds} rounds", title_justify="left")
    for title in ("variant", "backend", "precision"):
        table.add_column(title, overflow="fold")
    for title in ("integer", "size KiB", "infer p50", "p90", "p99", "min", "speed-up [95%]"):
        table.add_column(title, justify="right")
    if end_to_end:
        for title in ("prepare p50", "post p50", "total p50", "total p99", "total speed-up [95%]"):
            table.add_column(title, justify="right")
    table.add_column("verdict")
    for figures in result.variants:
        table.add_row(*_cells(figures, end_to_end))
    console = table_console()
    console.print(table, markup=False)
    console.print(
        f"Speed-up against {result.reference}: median of the rounds' ratios. Input: {result.source}, "
        f"{result.frames} frames. {_threads(result)}",
        highlight=False,
        markup=False,
    )
    console.print(
        f"{host.cpu or host.machine}, {host.logical_cores} cores, {host.memory_gib} GiB, "
        f"{' '.join(host.cpu_features)}, Python {host.python}",
        highlight=False,
        markup=False,
    )


def _cells(figures: VariantFigures, end_to_end: bool) -> list[str]:
    info, infer = figures.info, figures.stages_ms["infer"]
    coverage = "-" if info.integer_coverage is None else f"{info.integer_coverage:.0%}"
    cells = [
        figures.variant.label,
        f"{info.backend} {info.provider.removesuffix('ExecutionProvider')}",
        info.precision,
        coverage,
        f"{figures.size_bytes / 1024:,.0f}",
        *(f"{value:.2f}" for value in (infer.p50, infer.p90, infer.p99, infer.min)),
        _ratio(figures, "infer"),
    ]
    if end_to_end:
        stages = figures.stages_ms
        cells += [f"{stages[stage].p50:.2f}" for stage in ("prepare", "post", "total")]
        cells += [f"{stages['total'].p99:.2f}", _ratio(figures, "total")]
    return [*cells, figures.verdict or "-"]


def _ratio(figures: VariantFigures, stage: str) -> str:
    ratio = figures.speedup.get(stage)
    return "reference" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f} {ratio.high:.2f}]"


def _threads(result: Benchmark) -> str:
    counts = sorted({figures.info.threads for figures in result.variants})
    return f"Threads: {', '.join('auto' if count == 0 else str(count) for count in counts)}."
