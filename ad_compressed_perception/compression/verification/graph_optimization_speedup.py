# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Speed-up by the graph optimization that a recipe begins with, on the baseline's runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.paired_rounds import paired_ratio
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.verification.difference_images import Snapshot
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline

_MOST_ROUNDS = 60
_LEAST_ROUNDS = 5
_SECONDS = 2.0


@dataclass(frozen=True)
class GraphOptimizationSpeedup:
    """Baseline time / time of the optimized graph, and the number of pairs of inferences."""

    ratio: Interval
    rounds: int


def measure_graph_optimization_speedup(
    baseline: Pipeline,
    optimized: Snapshot,
    options: Mapping[str, Any],
    frames: FrameSample,
    scratch: Path,
    seconds: float = _SECONDS,
) -> GraphOptimizationSpeedup | None:
    """Time baseline and optimized graph interleaved on one frame; None where the latter cannot be run.

    Args:
        baseline: loaded.
        optimized: the graph after the graph optimization.
        options: the baseline's backend options.
        frames: the first of them is the input.
        scratch: folder for the optimized file.
        seconds: time limit once the least number of pairs is done.
    """
    path = scratch / "optimized.onnx"
    path.write_bytes(optimized.data)
    try:
        session = create_backend(baseline.session.info.backend).load(path, options)
    except AdcpError:  # only this figure is missing then
        return None
    finally:
        path.unlink()
    try:
        other = Pipeline(create_task(optimized.manifest), session, "optimized")
        frame = next(iter(FrameSample(frames.source, list(frames.indices[:1]))))
        runs = [_runner(pipeline, pipeline.task.prepare(frame)[0]) for pipeline in (baseline, other)]
        for run in runs:
            run()
        times_ms: tuple[list[float], list[float]] = ([], [])
        end = perf_counter() + seconds
        while len(times_ms[0]) < _LEAST_ROUNDS or (perf_counter() < end and len(times_ms[0]) < _MOST_ROUNDS):
            for which in (0, 1) if len(times_ms[0]) % 2 == 0 else (1, 0):
                start = perf_counter()
                runs[which]()
                times_ms[which].append((perf_counter() - start) * 1e3)
    except AdcpError:
        return None
    finally:
        session.close()
    return GraphOptimizationSpeedup(paired_ratio(*times_ms), len(times_ms[0]))


def _runner(pipeline: Pipeline, feeds: Any) -> Callable[[], Any]:
    copies: dict[str, NDArray[Any]] = {name: np.array(tensor) for name, tensor in feeds.items()}
    return lambda: pipeline.session.infer(copies)
