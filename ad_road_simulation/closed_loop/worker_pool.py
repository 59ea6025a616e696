# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Many routes in many processes; what is finished is written down at once."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest
from ad_road_simulation.closed_loop.latency import Latency
from ad_road_simulation.closed_loop.planners import PlannerBench
from ad_road_simulation.closed_loop.route_metrics import RouteResult
from ad_road_simulation.closed_loop.run import Abandoned, Route, drive_route


@dataclass(frozen=True)
class Job:
    """One variant on one route.

    Attributes:
        variant: its name.
        route: what is driven.
        latency_ms: what the plans' times are drawn from.
        images: folder for images; None for none.
    """

    variant: str
    route: Route
    latency_ms: Latency
    images: Path | None = None


def drive_all(
    manifest: Manifest, jobs: Sequence[Job], processes: int
) -> Generator[tuple[Job, RouteResult], None, None]:
    """Drive every job and yield each when it is finished, in the order in which they finish.

    Closing the iterator, by Ctrl-C too, calls off the drives that are under way and waits for the
    processes to end.

    Args:
        manifest: holds the variants.
        jobs: what to drive.
        processes: at most so many at a time; 1 drives in this process.

    Raises:
        AdcpError: a variant that cannot be loaded or fails, or a process that died.
    """
    if processes <= 1 or len(jobs) <= 1:
        bench = PlannerBench(manifest)
        try:
            for job in jobs:
                yield job, _drive(bench, job)
        finally:
            bench.close()
        return
    yield from _drive_in_processes(manifest, jobs, min(processes, len(jobs)))


def _drive_in_processes(
    manifest: Manifest, jobs: Sequence[Job], processes: int
) -> Generator[tuple[Job, RouteResult], None, None]:
    context = multiprocessing.get_context("spawn")
    called_off = context.Event()
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(manifest, called_off)
    )
    running: dict[Future[RouteResult], Job] = {}
    waiting = iter(jobs)
    try:
        # No more than are worked on: what waits in the pool cannot be called off.
        _submit(pool, running, waiting, processes)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                yield job, future.result()
            _submit(pool, running, waiting, processes)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that drove a route died, perhaps for want of memory: run again with fewer --jobs"
        ) from error
    finally:
        called_off.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, running: dict[Future[RouteResult], Job], waiting: Iterable[Job], most: int
) -> None:
    with _interrupts_later():
        for job in waiting:
            running[pool.submit(_work, job)] = job
            if len(running) >= most:
                return


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait, also for the processes begun meanwhile: they are not ready to be interrupted yet."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_bench: PlannerBench | None = None
_called_off: Event | None = None


def _begin(manifest: Manifest, called_off: Event) -> None:
    """Set a worker up: Ctrl-C is the parent's to handle, and one process takes one core."""
    global _bench, _called_off
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _bench, _called_off = PlannerBench(manifest), called_off


def _work(job: Job) -> RouteResult:
    assert _bench is not None
    assert _called_off is not None
    return _drive(_bench, job, _called_off)


def _drive(bench: PlannerBench, job: Job, called_off: Event | None = None) -> RouteResult:
    try:
        return drive_route(
            bench.planner(job.variant),
            job.variant,
            job.route,
            job.latency_ms,
            images=job.images,
            is_called_off=called_off.is_set if called_off is not None else lambda: False,
        )
    except Abandoned as error:
        raise DataError(f"route {job.route.seed} of {job.variant} was called off") from error
