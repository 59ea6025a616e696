# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether stages pay on this host, against one session with one thread and with as many threads together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ad_compressed_perception.analysis.throughput import Flow, FlowRatio, flow_ratio, measure_flows
from ad_compressed_perception.backends import Session, create_backend
from ad_compressed_perception.backends.stage_file import StageFile, read_stage_file
from ad_compressed_perception.backends.staged_backend import StagedBackend
from ad_compressed_perception.core.host import usable_cores
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.training.pruning.channel_timing import Runtime

STAGED, SINGLE, SAME_THREADS = "staged", "single", "same_threads"
_STAGE_RUNS = 9


@dataclass(frozen=True)
class StagedFlow:
    """Stages measured against single sessions of the whole model.

    Attributes:
        threads: of all stages together, and of ``same_threads``.
        flows: of ``staged``, ``single`` (one thread) and ``same_threads``.
        predicted_latency_ms: sum of the stages' times.
        predicted_hz: by the slowest stage alone.
    """

    threads: int
    flows: Mapping[str, Flow]
    predicted_latency_ms: float
    predicted_hz: float

    def against(self, other: str) -> FlowRatio:
        """Return the stages' latency and throughput as ratios to another session's."""
        return flow_ratio(self.flows[STAGED], self.flows[other])

    @property
    def pays(self) -> bool:
        """Whether the stages give more frames a second than one session, with one thread and with as many."""
        return all(self.against(other).throughput.low > 1.0 for other in (SINGLE, SAME_THREADS))

    def notes(self) -> dict[str, Any]:
        """Return the figures for the report."""
        return {
            "threads": self.threads,
            "predicted_latency_ms": self.predicted_latency_ms,
            "predicted_hz": self.predicted_hz,
            **{name: flow.medians() for name, flow in self.flows.items()},
            "against_single": asdict(self.against(SINGLE)),
            "against_same_threads": asdict(self.against(SAME_THREADS)),
            "pays": self.pays,
        }

    def sentence(self, stages: int) -> str:
        """Return what was measured, and whether it pays, as a sentence."""
        staged, single, same = (self.flows[name].medians() for name in (STAGED, SINGLE, SAME_THREADS))
        cores = usable_cores()
        few = f" This host has {cores} cores for {self.threads} threads." if cores < self.threads else ""
        better = self.threads if same["throughput_hz"] > single["throughput_hz"] else 1
        verdict = (
            "the stages pay where frames come faster than one session computes them"
            if self.pays
            else f"the stages do not pay here: take one session with threads: {better}"
        )
        return (
            f"{stages} stages with {self.threads} threads together: {staged['throughput_hz']:.1f} frames/s "
            f"(predicted {self.predicted_hz:.1f}) at {staged['loaded_ms']:.1f} ms, alone "
            f"{staged['latency_ms']:.1f} ms; one session with {self.threads} threads: "
            f"{same['throughput_hz']:.1f} frames/s at {same['latency_ms']:.1f} ms, with one thread: "
            f"{single['throughput_hz']:.1f} frames/s at {single['latency_ms']:.1f} ms; {verdict}.{few}"
        )


def stage_times_ms(stages: StageFile, folder: Path, feeds: Feeds) -> list[float]:
    """Return the least time of each stage alone, as other load only adds time.

    Raises:
        BackendError: a stage's backend cannot run it.
    """
    tensors, times = dict(feeds), []
    for stage in stages.stages:
        session = create_backend(stage.backend).load(folder / stage.file, stage.options)
        try:
            given = {tensor.name: tensors[tensor.name] for tensor in stage.inputs}
            durations_s = []
            for _ in range(_STAGE_RUNS):
                start = perf_counter()
                outputs = session.infer(given)
                durations_s.append(perf_counter() - start)
            tensors |= outputs
            times.append(min(durations_s) * 1e3)
        finally:
            session.close()
    return times


def measure_staged(
    path: Path,
    whole: Path,
    runtime: Runtime,
    feeds: Sequence[Feeds],
    *,
    options: Mapping[str, Any] | None = None,
    rounds: int = 10,
    seconds: float = 10.0,
) -> StagedFlow:
    """Measure the stages of a ``stages.yaml`` against the whole model, interleaved.

    Args:
        path: the stages.
        whole: the model that they were cut from.
        runtime: of the whole model.
        feeds: frames.
        options: of the backend ``staged``.
        rounds: see measure_flows.
        seconds: likewise.

    Raises:
        BackendError: something cannot be loaded, or failed on a frame.
    """
    with ExitStack() as stack:

        def opened(session: Session) -> Session:
            stack.callback(session.close)
            return session

        staged = StagedBackend().load(path, options or {})
        stack.callback(staged.close)
        threads = getattr(staged, "total_threads", 0) or usable_cores()
        backend, described = create_backend(runtime.backend), read_stage_file(path)
        sessions = {
            STAGED: staged,
            SINGLE: opened(backend.load(whole, {**runtime.options, "threads": 1})),
            SAME_THREADS: opened(backend.load(whole, {**runtime.options, "threads": threads})),
        }
        given = dict.fromkeys(sessions, feeds)
        # Each stage alone, in the same rounds: predicted and measured under the same load.
        tensors = dict(feeds[0])
        alone = [str(number) for number in range(len(described.stages))]
        for name, stage in zip(alone, described.stages, strict=True):
            sessions[name] = opened(
                create_backend(stage.backend).load(path.parent / stage.file, stage.options)
            )
            own = {tensor.name: tensors[tensor.name] for tensor in stage.inputs}
            given[name] = [own]
            tensors |= sessions[name].infer(own)
        flows = measure_flows(sessions, given, rounds=rounds, seconds=seconds)
    costs = [float(np.median(flows.pop(name).latency_ms)) for name in alone]
    return StagedFlow(threads, flows, sum(costs), 1e3 / max(costs))
