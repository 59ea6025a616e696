# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the clean-up at a recipe's beginning brought in speed, all else being the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.benchmark import Ratio, paired_ratio
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.verification.difference_images import Snapshot
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline

_MOST_ROUNDS = 60
_LEAST_ROUNDS = 5
_SECONDS = 2.0


@dataclass(frozen=True)
class GraphOptimizationSpeedup:
    """Baseline time / time of the cleaned graph, and from how many pairs of inferences."""

    ratio: Ratio
    rounds: int


def measure_graph_optimization_speedup(
    baseline: Pipeline,
    cleaned: Snapshot,
    options: Mapping[str, Any],
    frames: FrameSample,
    scratch: Path,
    seconds: float = _SECONDS,
) -> GraphOptimizationSpeedup | None:
    """Run the baseline and the cleaned graph in turns on one frame; None where the latter cannot be run.

    Args:
        baseline: loaded.
        cleaned: the graph after the clean-up.
        options: the baseline's backend options.
        frames: the first of them is fed.
        scratch: for the cleaned file.
        seconds: how long at most, after the least number of pairs.
    """
    path = scratch / "cleaned.onnx"
    path.write_bytes(cleaned.data)
    try:
        session = create_backend(baseline.session.info.backend).load(path, options)
    except AdcpError:  # only a figure is missing then
        return None
    finally:
        path.unlink()
    try:
        other = Pipeline(create_task(cleaned.manifest), session, "cleaned")
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
