# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drives many routes in a pool of processes and yields each result when it is finished."""

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
from ad_road_simulation.closed_loop.planner_cache import PlannerCache
from ad_road_simulation.closed_loop.route_metrics import RouteResult
from ad_road_simulation.closed_loop.run import DriveCanceledError, Route, drive_route


@dataclass(frozen=True)
class Job:
    """One variant on one route.

    Attributes:
        variant: its name, with a fault or without (see faulted.py).
        route: to drive.
        latency_ms: values from which the latencies of the plans are drawn.
        images: folder for images; None for none.
        standby_ms: median latency of the standby, for a variant with faults.
    """

    variant: str
    route: Route
    latency_ms: Latency
    images: Path | None = None
    standby_ms: float = 0.0


def drive_all(
    manifest: Manifest, jobs: Sequence[Job], processes: int
) -> Generator[tuple[Job, RouteResult], None, None]:
    """Drive every job and yield each when it is finished, in order of completion.

    Closing the iterator, also by Ctrl-C, cancels the running drives and waits for the processes to end.

    Args:
        manifest: holds the variants.
        jobs: variants and routes to drive.
        processes: parallel processes at most; 1 drives in this process.

    Raises:
        AdcpError: a variant that cannot be loaded or fails, or a process that ended unexpectedly.
    """
    if processes <= 1 or len(jobs) <= 1:
        planners = PlannerCache(manifest)
        try:
            for job in jobs:
                yield job, _drive(planners, job)
        finally:
            planners.close()
        return
    yield from _drive_in_processes(manifest, jobs, min(processes, len(jobs)))


def _drive_in_processes(
    manifest: Manifest, jobs: Sequence[Job], processes: int
) -> Generator[tuple[Job, RouteResult], None, None]:
    context = multiprocessing.get_context("spawn")
    canceled = context.Event()
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(manifest, canceled)
    )
    running: dict[Future[RouteResult], Job] = {}
    waiting = iter(jobs)
    try:
        # Submit no more jobs than processes: jobs that wait in the pool cannot be canceled.
        _submit(pool, running, waiting, processes)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                yield job, future.result()
            _submit(pool, running, waiting, processes)
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process ended unexpectedly, perhaps out of memory: run again with fewer jobs"
        ) from error
    finally:
        canceled.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, running: dict[Future[RouteResult], Job], waiting: Iterable[Job], most: int
) -> None:
    with _interrupts_blocked():
        for job in waiting:
            running[pool.submit(_work, job)] = job
            if len(running) >= most:
                return


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT, also in the processes started meanwhile, which cannot handle it yet."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_planners: PlannerCache | None = None
_canceled: Event | None = None


def _begin(manifest: Manifest, canceled: Event) -> None:
    """Initialize a worker: Ctrl-C is handled by the parent, and a process uses one core."""
    global _planners, _canceled
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _planners, _canceled = PlannerCache(manifest), canceled


def _work(job: Job) -> RouteResult:
    assert _planners is not None
    assert _canceled is not None
    return _drive(_planners, job, _canceled)


def _drive(planners: PlannerCache, job: Job, canceled: Event | None = None) -> RouteResult:
    try:
        return drive_route(
            planners.planner(job.variant, job.route.seed, job.standby_ms * 1e-3),
            job.variant,
            job.route,
            job.latency_ms,
            images=job.images,
            is_canceled=canceled.is_set if canceled is not None else lambda: False,
        )
    except DriveCanceledError as error:
        raise DataError(f"route {job.route.seed} of {job.variant} was canceled") from error
