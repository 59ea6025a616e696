# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Baseline and variant on the same held-out frames, taking turns: agreement and inference times."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.passes.base import Advance
from ad_compressed_perception.compression.samples import FrameSample
from ad_compressed_perception.compression.scores import (
    AgreementFigures,
    AgreementScore,
    block_length,
)
from ad_compressed_perception.errors import ModelFileError, ResultError
from ad_compressed_perception.metrics.bootstrap import paired_bootstrap
from ad_compressed_perception.pipeline import Pipeline
from ad_compressed_perception.results import Result


@dataclass(frozen=True)
class LatencyFigures:
    """Times of both, measured in turns on the same frames; milliseconds and ratios.

    A speed-up is baseline time / variant time: above 1 the variant is faster. The times are those of the
    inference; the whole way, frame to result, counts where a variant has moved work into its graph or
    out of it.
    """

    baseline_p50_ms: float
    baseline_p99_ms: float
    variant_p50_ms: float
    variant_p99_ms: float
    speedup_p50: float
    speedup_p50_low: float
    speedup_p50_high: float
    speedup_p99: float
    baseline_whole_p50_ms: float
    variant_whole_p50_ms: float
    speedup_whole_p50: float

    def as_dict(self) -> dict[str, float]:
        """Return the fields for YAML and JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Verification:
    """What the held-out frames said."""

    agreement: AgreementFigures
    latency: LatencyFigures


def verify(
    baseline: Pipeline,
    variant: Pipeline,
    frames: FrameSample,
    score: AgreementScore,
    advance: Advance = lambda done, total: None,
) -> Verification:
    """Run both on every frame, each first on every other one, and compare.

    Each prepares the frame for itself, since a variant may have an input and output of its own. The
    inference is timed, and the whole way with it.

    Args:
        baseline: judges.
        variant: is judged; a result that means nothing (NaN) counts as a failed frame.
        frames: held-out frames, at least one.
        score: the task's measure, empty.
        advance: tells the progress bar (done, total).

    Raises:
        ModelFileError: the baseline itself gives a result that means nothing.
        AdcpError: a frame cannot be read, a runtime failed.
    """
    times_ms: tuple[list[float], list[float]] = ([], [])
    whole_ms: tuple[list[float], list[float]] = ([], [])
    pair = (baseline, variant)
    for index, frame in enumerate(frames):
        order = (0, 1) if index % 2 == 0 else (1, 0)
        around_ms = [0.0, 0.0]
        prepared: list[Any] = [None, None]
        for which in order:
            start = perf_counter()
            prepared[which] = pair[which].task.prepare(frame)
            around_ms[which] += (perf_counter() - start) * 1e3
        outputs: list[dict[str, NDArray[Any]]] = [{}, {}]
        for which in order:
            start = perf_counter()
            outputs[which] = pair[which].session.infer(prepared[which][0])
            times_ms[which].append((perf_counter() - start) * 1e3)
        start = perf_counter()
        try:
            reference: Result = baseline.task.decode(outputs[0], prepared[0][1])
        except ResultError as error:
            raise ModelFileError(
                f"the baseline gives no result on frame {index + 1} of {frames.source.describe}: {error}"
            ) from error
        around_ms[0] += (perf_counter() - start) * 1e3
        start = perf_counter()
        judged: Result | None
        try:
            judged = variant.task.decode(outputs[1], prepared[1][1])
        except ResultError:
            judged = None
        around_ms[1] += (perf_counter() - start) * 1e3
        for which in (0, 1):
            whole_ms[which].append(around_ms[which] + times_ms[which][-1])
        score.add(reference, judged)
        advance(index + 1, len(frames))
    return Verification(score.figures(), latency_figures(*times_ms, *whole_ms))


def latency_figures(
    baseline_ms: list[float],
    variant_ms: list[float],
    baseline_whole_ms: list[float],
    variant_whole_ms: list[float],
) -> LatencyFigures:
    """Return percentiles and ratios of paired times; the interval draws pairs again in runs."""
    b, v = np.asarray(baseline_ms), np.asarray(variant_ms)
    low, high = paired_bootstrap(
        len(b),
        lambda drawn: float(np.median(b[drawn]) / np.median(v[drawn])),
        block_length=block_length(len(b)),
    )
    b50, b99 = (float(value) for value in np.percentile(b, (50, 99)))
    v50, v99 = (float(value) for value in np.percentile(v, (50, 99)))
    whole_b50, whole_v50 = float(np.median(baseline_whole_ms)), float(np.median(variant_whole_ms))
    return LatencyFigures(
        b50, b99, v50, v99, b50 / v50, low, high, b99 / v99, whole_b50, whole_v50, whole_b50 / whole_v50
    )
