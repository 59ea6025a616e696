# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One replay from start to end: plan, node process, interleaved frames, report."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.nodes.pacer import Pacer
from ad_compressed_perception.replay.collector import Collector, sample_indices
from ad_compressed_perception.replay.cpu_load import CpuLoad
from ad_compressed_perception.replay.environment import replay_environment
from ad_compressed_perception.replay.frames import BagFrame, BagSlice
from ad_compressed_perception.replay.interleaving import INTERLEAVING, OfferCounts, interleave
from ad_compressed_perception.replay.node_process import NodeProcess, ReplayError
from ad_compressed_perception.replay.plan import (
    ReplayPlan,
    make_plan,
    parse_deadlines,
    reference_models,
    write_parameters,
)
from ad_compressed_perception.replay.report_writer import REPORT_MARKDOWN, write_report_files
from ad_compressed_perception.report.schema import Report

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
        samples: frames drawn side by side for each task.
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
    samples: int = 2


class Observer(Protocol):
    """Receives the progress of a replay."""

    def notify(self, text: str) -> None:
        """Receive the current step."""

    def advance(self, done: int, total: int) -> None:
        """Receive the number of frames done and the estimated total."""


class _NullObserver:
    def notify(self, text: str) -> None:
        """Receive the current step."""

    def advance(self, done: int, total: int) -> None:
        """Receive the number of frames done and the estimated total."""


@dataclass
class _Run:
    """State of a running replay."""

    options: ReplayOptions
    plan: ReplayPlan
    frames: BagSlice
    collector: Collector
    observer: Observer
    total: int
    count: OfferCounts = field(default_factory=OfferCounts)
    first_ns: int | None = None
    last_ns: int = 0
    frame_timeouts: dict[tuple[str, str], int] = field(default_factory=dict)
    cpu_load_note: str = ""
    report: Report = field(default_factory=Report)

    def advance(self, frame: BagFrame, offered: bool) -> None:
        """Count a finished frame."""
        if offered:
            self.first_ns = frame.bag_time_ns if self.first_ns is None else self.first_ns
            self.last_ns = frame.bag_time_ns
        done = self.count.offered + self.count.not_offered
        self.observer.advance(done, max(self.total, done))


def run_replay(options: ReplayOptions, observer: Observer | None = None) -> Report:
    """Replay a recording through baseline and compressed nodes and write the report.

    When the replay is interrupted or a node ends unexpectedly after the first frame, a report of the frames
    so far is written, with a note that it is partial, and the error is raised again.

    Raises:
        AdcpError: anything wrong with bag, topic, models or variants (nothing is written then), or a
            node that refuses its model, ends unexpectedly or stops responding.
        ReplayError: Ctrl-C or SIGTERM.
    """
    observer = observer or _NullObserver()
    with BagReader(options.bag) as bag:
        topic = bag.resolve_image_topic(options.topic)
        frames = BagSlice(bag, topic, options.start_s, options.duration_s, options.limit)
        plan = make_plan(
            options.models or reference_models(),
            work=options.work,
            tasks=options.tasks,
            variants=options.variants,
            allow_rejected=options.allow_rejected,
        )
        deadlines_ms = parse_deadlines(options.deadlines, list(plan.variants))
        # Reads the first frame: a bag without one must fail before any process is started.
        message_bytes = len(next(iter(frames)).cdr)
        frames.restamped = 0
        total = frames.estimated_count()
        collector = Collector(plan.variants, sample_indices(total, options.samples))
        run = _Run(options, plan, frames, collector, observer, total)
        reason: AdcpError | None = None
        try:
            with _sigterm_as_interrupt():
                _measure(run, deadlines_ms, message_bytes)
        except AdcpError as error:
            reason = error
        except KeyboardInterrupt:
            reason = ReplayError("interrupted")
        if reason is not None and run.count.offered == 0:
            raise reason
        _complete_report(run, reason)
        write_report_files(run.report, plan, collector, frames, options.out, observer.notify)
        if reason is not None:
            raise ReplayError(
                f"{reason}; what was measured before is in {options.out / REPORT_MARKDOWN}"
            ) from reason
    return run.report


def _measure(run: _Run, deadlines_ms: dict[str, float], message_bytes: int) -> None:
    """Start the nodes, replay the frames, and store the monitor's figures in ``run.report``."""
    options, plan = run.options, run.plan
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adcp-replay-")))
        stack.enter_context(replay_environment(folder, message_bytes=message_bytes))
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
        run.observer.notify("starting the nodes")
        node_process = stack.enter_context(NodeProcess(parameters, folder / "nodes.log"))
        client = stack.enter_context(
            ReplayClient(plan, node_process, run.collector, deadlines_ms, compressed=run.frames.is_compressed)
        )
        try:
            client.start_nodes(run.observer.notify)
            cpu_load = CpuLoad(node_process.pid)
            run.observer.notify("replaying")
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
        finally:
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


def _notes(run: _Run, reason: AdcpError | None) -> Iterator[str]:
    if reason is not None:
        done = run.count.offered + run.count.not_offered
        yield f"This report is partial: the replay ended after {done} of about {run.total} frames ({reason})."
    yield from run.plan.notes
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


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the replay as Ctrl-C does, so that no process is left running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
