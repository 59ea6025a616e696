# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp benchmark``: variants timed interleaved on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli import options as o

if TYPE_CHECKING:
    from ad_compressed_perception.analysis.benchmark import BenchmarkVariant
    from ad_compressed_perception.core.manifest import Manifest
    from ad_compressed_perception.image.decode import Frame
    from ad_compressed_perception.report.schemas.benchmark import Benchmark, VariantTimes

# Decoded frames are held in memory, so that reading them is not timed; further rounds reuse them.
MAX_FRAMES = 64


def benchmark(
    model_dir: o.ModelOrFile,
    variants: Annotated[
        str | None,
        typer.Option(
            metavar="A,B[,C]",
            help="Variants, each VARIANT\\[@BACKEND]\\[:OPTION=VALUE]...; all there are by default.",
        ),
    ] = None,
    backend: o.OtherBackend = None,
    threads: o.Threads = None,
    iterations: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rounds that are counted.")] = 100,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="BAG:TOPIC|FOLDER",
            help="Camera frames, to time prepare and post too; noise and inference alone by default.",
        ),
    ] = None,
    max_bad_frames: o.MaxBadFrames = None,
    work: o.WorkToRead = None,
    as_json: o.AsJson = False,
) -> None:
    """Time variants against the baseline: each round runs all of them once, in changing order.

    The speed-up is the median of the rounds' ratios with its 95% interval: a slowdown of the machine
    affects both sides of a ratio. Rejected variants may take part; the table says so. Where a variant
    computes several frames at the same time, frames a second are measured too.
    """
    from ad_compressed_perception.analysis.benchmark import run_benchmark
    from ad_compressed_perception.cli.model_file import folder_of
    from ad_compressed_perception.cli.progress_bar import ProgressBar

    model_dir = folder_of(model_dir, work, frames)
    manifest, compared = _variants(model_dir, variants, backend, work)
    images, source = _frames(manifest, frames, iterations, max_bad_frames)
    with ProgressBar() as bar:
        result = run_benchmark(
            manifest,
            compared,
            frames=images,
            source=source,
            rounds=iterations,
            options={} if threads is None else {"threads": threads},
            advance=partial(bar, "rounds"),
        )
    if as_json:
        print(result.to_json())
    else:
        _print_table(result)


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


def _frames(
    manifest: Manifest, spec: str | None, rounds: int, max_bad_frames: str | None
) -> tuple[Sequence[Frame] | None, str]:
    if spec is None:
        return None, ""
    from ad_compressed_perception.data.bad_frames import parse_limit
    from ad_compressed_perception.data.input_frames import open_model_frames

    limit = min(rounds, MAX_FRAMES)
    opened = open_model_frames(manifest, spec, limit=limit, max_bad=parse_limit(max_bad_frames))
    images = list(opened.frames(opened.readable(range(len(opened)))))
    for sentence in opened.account().sentences():
        print(f"warning: {sentence}", file=sys.stderr)
    return images, opened.describe


def _print_table(result: Benchmark) -> None:
    from ad_compressed_perception.cli.output import new_table, table_console

    host = result.host
    end_to_end = any("total" in figures.stages_ms for figures in result.variants.values())
    columns = ["variant", "backend", "precision"]
    columns += [">integer", ">size KiB", ">infer p50", ">p90", ">p99", ">min", ">speed-up (95 %)"]
    if end_to_end:
        columns += [">prepare p50", ">post p50", ">total p50", ">total p99", ">total speed-up (95 %)"]
    title = f"{result.model}: milliseconds over {result.rounds} rounds"
    table = new_table(title, *columns, "verdict")
    for label, figures in result.variants.items():
        table.add_row(label, *_cells(figures, end_to_end))
    console = table_console()
    console.print(table, markup=False)
    console.print(
        f"Speed-up against {result.reference}: median of the rounds' ratios. Input: {result.source}, "
        f"{result.frames} frames. {_threads(result)}",
        highlight=False,
        markup=False,
    )
    if any(figures.under_load for figures in result.variants.values()):
        console.print(_under_load(result), highlight=False, markup=False)
    console.print(
        f"{host.cpu or host.machine}, {host.logical_cores} cores, {host.memory_gib} GiB, "
        f"{' '.join(host.cpu_features)}, Python {host.python}",
        highlight=False,
        markup=False,
    )


def _cells(figures: VariantTimes, end_to_end: bool) -> list[str]:
    infer = figures.stages_ms["infer"]
    coverage = "-" if figures.integer_coverage is None else f"{figures.integer_coverage:.0%}"
    cells = [
        f"{figures.backend} {figures.provider.removesuffix('ExecutionProvider')}",
        figures.precision,
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


def _ratio(figures: VariantTimes, stage: str) -> str:
    from ad_compressed_perception.report.kit.figures import interval_text

    ratio = figures.speedup.get(stage)
    return "reference" if ratio is None else interval_text(ratio, 2)


def _under_load(result: Benchmark) -> str:
    from ad_compressed_perception.report.kit.figures import interval_text

    found = [(label, figures.under_load) for label, figures in result.variants.items() if figures.under_load]
    texts = [
        f"{label} {load.throughput_hz:.1f} frames/s at {load.latency_ms:.1f} ms"
        + ("" if label == result.reference else f" ({interval_text(load.throughput_ratio, 2)} times as many)")
        for label, load in found
    ]
    return f"Frames as fast as they are taken: {'; '.join(texts)}."


def _threads(result: Benchmark) -> str:
    counts = sorted({figures.threads for figures in result.variants.values()})
    return f"Threads: {', '.join('auto' if count == 0 else str(count) for count in counts)}."
