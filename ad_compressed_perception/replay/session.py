# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One replay from start to end: plan, node process, interleaved frames, report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ad_compressed_perception.core.errors import AdcpError, DataError, ImageError
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.core.task_names import MULTI_TASK
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.video_reader import open_recording
from ad_compressed_perception.image.format_text import format_note, parse_format
from ad_compressed_perception.nodes.pacer import Pacer
from ad_compressed_perception.replay.account import Account
from ad_compressed_perception.replay.collector import Collector, sample_indices
from ad_compressed_perception.replay.cpu_load import CpuLoad
from ad_compressed_perception.replay.environment import replay_environment
from ad_compressed_perception.replay.frames import BagFrame, BagSlice
from ad_compressed_perception.replay.interleaving import INTERLEAVING, OfferCounts, interleave
from ad_compressed_perception.replay.ledger import Ledger
from ad_compressed_perception.replay.node_process import NodeProcess, ReplayError
from ad_compressed_perception.replay.plan import (
    ReplayPlan,
    make_plan,
    parse_deadlines,
    reference_models,
    write_parameters,
)
from ad_compressed_perception.replay.player import NodeHungError
from ad_compressed_perception.replay.report_writer import (
    REPORT_MARKDOWN,
    require_writable,
    write_report_files,
)
from ad_compressed_perception.replay.results_recorder import ResultsRecorder
from ad_compressed_perception.replay.signals import EndOnSignal
from ad_compressed_perception.report.schemas.comparison import Report

REPLAYING = "replaying"
AGE_REFERENCE = (
    "the moment the replay published the frame (the recording's own stamps belong to another clock)"
)


@dataclass(frozen=True)
class ReplayOptions:
    """Options of a replay: recording, models, variants, pace and report folder.

    Attributes:
        bag: rosbag2 folder, .mcap or .db3 file.
        out: folder of the report.
        topic: image topic; None is the only one there is.
        models: model folders; empty is the reference models.
        work: work folder with compressed variants; None is the default one.
        tasks: None is every task there is a model for.
        variants: of all tasks, or task by task; None is all there are; the baseline always takes part.
        allow_rejected: run variants their gate rejected.
        rate: bag seconds per second; None offers every frame.
        limit: frames read at most.
        start_s: seconds left out at the beginning.
        duration_s: seconds of the recording replayed.
        threads: threads inside one inference; 0 is the runtime's choice.
        deadlines: ``50`` or ``detection=50``, milliseconds.
        mcap: also record images and results as MCAP.
        samples: frames drawn side by side for each task.
        node_timeout_s: seconds without a finished frame after which a node is given up.
        max_bad_frames: how many frames a node may not process before the report has a problem.
    """

    bag: Path
    out: Path
    topic: str | None = None
    models: tuple[Path, ...] = ()
    work: Path | None = None
    tasks: tuple[str, ...] | None = None
    variants: tuple[str, ...] | Mapping[str, tuple[str, ...]] | None = None
    allow_rejected: bool = False
    rate: float | None = None
    limit: int | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    threads: int = 1
    deadlines: tuple[str, ...] = ()
    mcap: bool = False
    samples: int = 2
    node_timeout_s: float = 60.0
    max_bad_frames: BadFrameLimit = field(default_factory=BadFrameLimit)


def require_no_problems(report: Report, out: Path) -> Report:
    """Return a replay's report, for callers that quote its figures.

    Raises:
        ReplayError: the report has problems; the first one is named.
    """
    if report.problems:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        raise ReplayError(f"the replay has problems, see {out / REPORT_MARKDOWN}: {report.problems[0]}{more}")
    return report


@dataclass
class _Run:
    """State of a running replay."""

    options: ReplayOptions
    plan: ReplayPlan
    frames: BagSlice
    collector: Collector
    progress: Progress
    total: int
    format_line: str
    count: OfferCounts = field(default_factory=OfferCounts)
    first_ns: int | None = None
    last_ns: int = 0
    frame_timeouts: dict[tuple[str, str], int] = field(default_factory=dict)
    cpu_load_note: str = ""
    ledgers: dict[tuple[str, str], Ledger] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    recorder: ResultsRecorder | None = None
    report: Report = field(default_factory=Report)

    def advance(self, frame: BagFrame, offered: bool) -> None:
        """Count a finished frame."""
        if offered:
            self.first_ns = frame.bag_time_ns if self.first_ns is None else self.first_ns
            self.last_ns = frame.bag_time_ns
        done = self.count.offered + self.count.not_offered
        self.progress(REPLAYING, done, max(self.total, done))


def plan_of(options: ReplayOptions) -> ReplayPlan:
    """Return which variants the options replay; raises as make_plan."""
    return make_plan(
        options.models or reference_models(),
        work=options.work,
        tasks=options.tasks,
        variants=options.variants,
        allow_rejected=options.allow_rejected,
    )


def run_replay(options: ReplayOptions, progress: Progress = no_progress) -> Report:
    """Replay a recording through baseline and compressed nodes and write the report.

    The counts of the report close, from the recording's index to the results; where they do not, or where a
    node gave nothing, ``problems`` of the report says so and no verdict in it is "accepted".

    When the replay is interrupted or a node ends unexpectedly after the first frame, a report of the frames
    so far is written, with a note that it is partial, and the error is raised again.

    Raises:
        AdcpError: anything wrong with bag, topic, models or variants (nothing is written then), or a
            node that refuses its model, ends unexpectedly or stops responding.
        ReplayError: Ctrl-C or SIGTERM.
    """
    with open_recording(options.bag) as bag:
        topic = bag.resolve_image_topic(options.topic)
        frames = BagSlice(bag, topic, options.start_s, options.duration_s, options.limit)
        plan = plan_of(options)
        if options.mcap and MULTI_TASK in plan.variants:
            raise DataError("results of several heads cannot be recorded yet: replay them without mcap")
        deadlines_ms = parse_deadlines(options.deadlines, list(plan.variants))
        require_writable(options.out)
        # Reads the first frame: a bag without one must fail before any process is started.
        first = next(iter(frames))
        message_bytes = len(first.cdr)
        format_line = _check_format(frames, first, options.rate)
        total = frames.estimated_count()
        collector = _collector(plan, sample_indices(total, options.samples))
        run = _Run(options, plan, frames, collector, progress, total, format_line)
        reason: AdcpError | None = None
        try:
            with EndOnSignal() as signals:
                _measure(run, deadlines_ms, message_bytes, signals)
        except AdcpError as error:
            reason = error
        except KeyboardInterrupt:
            reason = ReplayError("interrupted")
        if reason is not None and run.count.offered == 0:
            if run.recorder is not None:
                run.recorder.discard()
            raise reason
        _complete_report(run, reason)
        write_report_files(run.report, plan, collector, frames, options.out, progress, recorder=run.recorder)
        if reason is not None:
            raise ReplayError(
                f"{reason}; what was measured before is in {options.out / REPORT_MARKDOWN}"
            ) from reason
    return run.report


def _collector(plan: ReplayPlan, samples: Sequence[int]) -> Collector:
    kinds = {part: kind for task in plan.variants for part, kind in plan.compared(task).items()}
    return Collector({part: plan.variants[part.partition(".")[0]] for part in kinds}, samples, kinds)


def _check_format(frames: BagSlice, first: BagFrame, rate: float | None) -> str:
    """Return what a reader must know of the images; empty where nothing is unusual.

    Raises:
        DataError: a video of which frames would be left out.
    """
    text = getattr(frames.message(first), "format", None)
    parsed = parse_format(text)
    if parsed.kind == "video" and rate is not None:
        raise DataError(
            f"{frames.topic} holds packets of a video: a rate leaves frames out, which later ones need; "
            "replay every frame, or play the recording live"
        )
    try:
        return format_note(text, frames.decode(first).color) if parsed.kind == "image" else ""
    except ImageError:  # the nodes fail on it, too, and the report names it
        return ""


def _measure(run: _Run, deadlines_ms: dict[str, float], message_bytes: int, signals: EndOnSignal) -> None:
    """Start the nodes, replay the frames, and store the monitor's figures in ``run.report``."""
    options, plan = run.options, run.plan
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adcp-replay-")))
        stack.enter_context(replay_environment(message_bytes=message_bytes))
        # Imported here: the environment must be complete before the middleware loads.
        from ad_compressed_perception.replay.client import ReplayClient

        parameters = folder / "parameters.yaml"
        write_parameters(
            plan,
            parameters,
            compressed=run.frames.is_compressed,
            threads=options.threads,
            allow_rejected=options.allow_rejected,
        )
        run.progress("starting the nodes", 0, 0)
        node_process = stack.enter_context(NodeProcess(parameters, folder / "nodes.log", plan.namespace))
        signals.on_second = node_process.kill
        if options.mcap:
            run.recorder = stack.enter_context(ResultsRecorder(plan, run.frames, options.out, signals.held))
        client = stack.enter_context(
            ReplayClient(
                plan,
                node_process,
                run.collector,
                deadlines_ms,
                compressed=run.frames.is_compressed,
                node_timeout_s=options.node_timeout_s,
                recorder=run.recorder,
            )
        )
        try:
            client.start_nodes(run.progress)
            cpu_load = CpuLoad(node_process.pid)
            run.progress(REPLAYING, 0, 0)
            pacer = Pacer(options.rate, time.monotonic, client.spin)
            interleave(
                run.frames,
                plan.variants,
                pacer,
                client.player.offer,
                client.player.complete,
                run.advance,
                run.count,
            )
            run.cpu_load_note = cpu_load.note()
            run.strangers = client.strangers()
        except NodeHungError as error:
            state = client.describe_state(error.task, error.name)
            raise ReplayError(f"{error}; its process runs, its state is {state}") from error
        finally:
            run.ledgers = {
                (node.task, node.name): client.player.ledger(node.task, node.name) for node in plan.nodes
            }
            run.frame_timeouts = dict(client.player.frame_timeouts)
            run.report = client.report()
        node_process.check()


def _complete_report(run: _Run, reason: AdcpError | None) -> None:
    """Add the figures that only the replay knows to the monitor's report."""
    report, options = run.report, run.options
    source = report.source
    source.kind, source.bag, source.topic = "bag", str(options.bag), run.frames.topic
    source.frames = run.count.offered
    source.not_offered = run.count.not_offered
    source.duration_s = 0.0 if run.first_ns is None else (run.last_ns - run.first_ns) / 1e9
    for node in run.plan.nodes:
        variant = report.tasks[node.task].variants[node.name]
        variant.verdict = node.verdict
        variant.frame_timeouts = run.frame_timeouts.get((node.task, node.name), 0)
    pace = (
        "Every frame was offered, each as soon as the one before was processed."
        if options.rate is None
        else f"Frames came due at {options.rate:g} times the recorded pace."
    )
    report.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    report.measurement = f"{INTERLEAVING} {pace}"
    report.age_reference = AGE_REFERENCE
    report.missing = []
    report.notes = [*_notes(run, reason)]
    Account(
        run.plan,
        run.frames,
        run.count,
        options.max_bad_frames,
        run.ledgers,
        run.strangers,
        is_complete=reason is None,
    ).close(report)


def _notes(run: _Run, reason: AdcpError | None) -> Iterator[str]:
    if reason is not None:
        done = run.count.offered + run.count.not_offered
        yield f"This report is partial: the replay ended after {done} of about {run.total} frames ({reason})."
    yield from run.plan.notes
    yield from run.frames.bag.warnings()
    if run.format_line:
        yield f"{run.frames.topic}: {run.format_line}"
    if run.frames.restamped:
        yield (
            f"{run.frames.restamped} frames had no stamp of their own, or one that another frame had, "
            "and got their recording time instead."
        )
    timeouts = sum(run.frame_timeouts.values())
    if timeouts:
        yield f"{timeouts} frames got no response of the node in time."
    if run.cpu_load_note:
        yield run.cpu_load_note
    yield (
        "A task's throughput_hz counts the frames of all variants; it is not what a node reaches on its own."
    )
