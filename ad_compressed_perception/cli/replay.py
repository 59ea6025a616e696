# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp replay``: a recorded drive through baseline and compressed nodes, and a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli import options as o
from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.core.task_names import TASK_NAMES

if TYPE_CHECKING:
    from ad_compressed_perception.replay.session import ReplayOptions
    from ad_compressed_perception.report.schemas.comparison import Report

DEFAULT_OUT = Path("out")


def replay(
    bag: Annotated[
        Path, typer.Argument(metavar="BAG[:TOPIC]", help="rosbag2 folder, .mcap, .db3 or video file.")
    ],
    topic: Annotated[
        str | None, typer.Option(metavar="T", help="Image topic; the only one there is by default.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="Offer frames at R times the recorded pace; those that come due meanwhile are skipped.",
        ),
    ] = None,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Offer every frame, however long it takes (default).")
    ] = False,
    tasks: Annotated[
        str | None,
        typer.Option(metavar="A,B", help=f"Tasks among {', '.join(TASK_NAMES)}; all by default."),
    ] = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Model folder, once for each task; the reference models by default."
        ),
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            metavar="A,B|TASK=A,..",
            help="Variants to compare with the baseline, which always runs, of all tasks or by task; all "
            "by default.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the report; out/replay-BAG by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Read N frames at most.")] = None,
    start: Annotated[float, typer.Option(min=0.0, metavar="S", help="Leave out the first S seconds.")] = 0.0,
    duration: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="Replay S seconds of the recording.")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, max=1024, help="Threads inside one inference; 0: the runtime's choice.")
    ] = 1,
    deadline_ms: Annotated[
        list[str] | None,
        typer.Option(metavar="MS|TASK=MS", help="End-to-end deadline, of all tasks or of one."),
    ] = None,
    node_timeout_s: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=3600.0,
            metavar="S",
            help="Give up a node that finishes no frame for so many seconds.",
        ),
    ] = 60.0,
    max_bad_frames: Annotated[
        str | None,
        typer.Option(
            metavar="N|N%",
            help="Most frames that a node may not process (exit code 5 above); 10% by default.",
        ),
    ] = None,
    allow_rejected: Annotated[
        bool, typer.Option("--allow-rejected", help="Also run variants that their accept gate rejected.")
    ] = False,
    mcap: Annotated[
        bool,
        typer.Option(
            "--mcap", help="Also record images and results in OUT/results, for Foxglove or ros2 bag play."
        ),
    ] = False,
    work: o.WorkToRead = None,
    learn: Annotated[
        bool,
        typer.Option(
            "--learn", help="Also learn what frames and results are like, for the drift alarms of nodes."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Also print report.json on standard output.")
    ] = False,
) -> None:
    """Replay a recorded drive through real nodes, variant against baseline, and write a report.

    The variants of a task are interleaved: each frame goes to one after the other, in alternating
    order, so that none slows another down. Writes report.json, report.md, report.html and
    images. Ctrl-C keeps
    what was measured. With --learn, a drift reference of every variant is entered into the model.yaml of
    --models and of the work folder.

    Exit code 0: all frames are accounted for; 5: they are not, or a node gave nothing, or too many frames
    failed (the report is written and says so); 1: error, 2: usage.
    """
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.data.bad_frames import parse_limit
    from ad_compressed_perception.data.frames import split_spec
    from ad_compressed_perception.replay.session import ReplayOptions, run_replay

    bag, named = split_spec(str(bag))
    if named is not None and topic not in (None, named):
        raise typer.BadParameter(f"--topic {topic} and {bag}:{named} exclude each other")
    if every_frame and rate is not None:
        raise typer.BadParameter("--every-frame and --rate exclude each other")
    if rate is not None and not 0.0 < rate <= 1000.0:
        raise typer.BadParameter("--rate must be above 0 and at most 1000")
    options = ReplayOptions(
        bag=bag,
        out=out or DEFAULT_OUT / f"replay-{bag.resolve().stem}",
        topic=topic or named,
        models=tuple(models or ()),
        work=work,
        tasks=o.names_in(tasks, "--tasks"),
        variants=_variants(variants),
        allow_rejected=allow_rejected,
        rate=rate,
        limit=limit,
        start_s=start,
        duration_s=duration,
        threads=threads,
        deadlines=tuple(deadline_ms or ()),
        node_timeout_s=node_timeout_s,
        max_bad_frames=parse_limit(max_bad_frames),
        mcap=mcap,
    )
    with ProgressBar(logs_steps=True) as bar:
        report = run_replay(options, bar)
    if as_json:
        print(report.to_json())
    else:
        show(report, options.out)
    if report.problems:
        for line in report.problems:
            print(f"problem: {line}", file=sys.stderr)
        if learn:
            print("problem: nothing was learned from a replay with problems", file=sys.stderr)
        raise typer.Exit(ExitCode.INCOMPLETE)
    if learn:
        _learn(options)


def _variants(text: str | None) -> tuple[str, ...] | dict[str, tuple[str, ...]] | None:
    """Return the names of ``--variants``, by task where each is ``TASK=NAME``."""
    names = o.names_in(text, "--variants")
    if names is None or not any("=" in name for name in names):
        return names
    by_task: dict[str, tuple[str, ...]] = {}
    for task, equals, name in (entry.partition("=") for entry in names):
        if not equals or task not in TASK_NAMES:
            known = ", ".join(TASK_NAMES)
            raise typer.BadParameter(f"--variants: {task}{equals}{name} is not TASK=NAME; tasks: {known}")
        by_task[task] = (*by_task.get(task, ()), name)
    return by_task


def _learn(options: ReplayOptions) -> None:
    """Learn the references; exit code 5 where a variant has none."""
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.replay.learn import learn_references

    with ProgressBar(logs_steps=True) as bar:
        learned = learn_references(options, bar)
    for line in learned.lines:
        print(line, file=sys.stderr)
    for line in learned.problems:
        print(f"problem: {line}", file=sys.stderr)
    if learned.problems:
        raise typer.Exit(ExitCode.INCOMPLETE)


def show(report: Report, out: Path) -> None:
    """Print a report's main figures as a table, and the path of the full report."""
    from ad_compressed_perception.cli.output import new_table, table_console
    from ad_compressed_perception.report.agreement_markdown import agreement_text
    from ad_compressed_perception.report.frame_counters import (
        frame_counts_text,
        reason_lines,
        source_counts_text,
        uncounted_frames,
    )
    from ad_compressed_perception.report.kit.figures import speedup_text

    console = table_console()
    times = (">infer speed-up", ">end-to-end p50", ">p99 ms")
    outcome = ("agreement with the baseline", "gate", "frames done")
    title = f"{report.source.frames} frames of {report.source.topic}"
    table = new_table(title, "task", "variant", "precision", *times, *outcome)
    for task, one in report.tasks.items():
        for name, variant in one.variants.items():
            comparison = one.comparison.get(name)
            if "." in task and comparison is None:
                continue  # a head's baseline: its times are in the row of the model
            total = variant.end_to_end_ms
            table.add_row(
                task,
                name,
                variant.precision or "",
                speedup_text(comparison.speedup_infer_p50) if comparison else "",
                "" if total.p50 is None else f"{total.p50:.1f}",
                "" if total.p99 is None else f"{total.p99:.1f}",
                agreement_text(comparison) if comparison else "",
                "" if variant.verdict is None else variant.verdict.status,
                f"{variant.processed} of {variant.sent}"
                if uncounted_frames(variant) == 0 and variant.sent == variant.received
                else frame_counts_text(variant),
            )
    console.print(table, highlight=False)
    for line in reason_lines(report):
        console.print(line, highlight=False, markup=False)
    console.print(source_counts_text(report.source), highlight=False)
    console.print(report.measurement, highlight=False)
    for note in report.notes:
        console.print(f"- {note}", highlight=False)
    for name in ("report.md", "report.html", "results/results.mcap"):
        if name in report.files:
            console.print(f"report: {out / name}", highlight=False, soft_wrap=True)
