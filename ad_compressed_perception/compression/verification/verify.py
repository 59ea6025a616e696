# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Baseline and variant interleaved on the same held-out frames: agreement and inference times."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.verification.frame_log import FrameLog
from ad_compressed_perception.compression.verification.scores import (
    AgreementFigures,
    AgreementScore,
)
from ad_compressed_perception.compression.verification.slices import SliceRule, choose_slices
from ad_compressed_perception.core.errors import ModelFileError, ResultError
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.metrics.bootstrap import vector_bootstrap
from ad_compressed_perception.metrics.share_interval import widening
from ad_compressed_perception.tasks.pipeline import Pipeline


@dataclass(frozen=True)
class LatencyFigures:
    """Times of both, measured interleaved on the same frames; milliseconds and ratios.

    A speed-up is baseline time / variant time: above 1 the variant is faster. The times are those of the
    inference; the end-to-end times, frame to result, matter where a variant has moved work into its graph
    or out of it.
    """

    baseline_p50_ms: float
    baseline_p99_ms: float
    variant_p50_ms: float
    variant_p99_ms: float
    speedup_p50: float
    speedup_p50_low: float
    speedup_p50_high: float
    speedup_p99: float
    baseline_end_to_end_p50_ms: float
    variant_end_to_end_p50_ms: float
    speedup_end_to_end_p50: float
    speedup_p99_low: float
    speedup_p99_high: float
    speedup_end_to_end_p50_low: float
    speedup_end_to_end_p50_high: float

    def as_dict(self) -> dict[str, float]:
        """Return the fields for YAML and JSON."""
        return asdict(self)


@dataclass(frozen=True)
class FrameTimes:
    """Milliseconds of every frame: of the inference, and end to end from frame to result."""

    baseline_ms: list[float] = field(default_factory=list)
    variant_ms: list[float] = field(default_factory=list)
    baseline_end_to_end_ms: list[float] = field(default_factory=list)
    variant_end_to_end_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Verification:
    """The comparison on the held-out frames.

    Attributes:
        agreement: over all of them.
        latency: percentiles and ratios.
        times: of every frame.
        slices: agreement in each slice of the frames; empty where no frames were logged.
    """

    agreement: AgreementFigures
    latency: LatencyFigures
    times: FrameTimes = field(default_factory=FrameTimes)
    slices: dict[SliceRule, AgreementFigures] = field(default_factory=dict)

    def of_head(self, name: str) -> Verification:
        """Return the same comparison with the agreement of one head of several."""
        slices = {rule: one.heads[name] for rule, one in self.slices.items()}
        return replace(self, agreement=self.agreement.heads[name], slices=slices)


def verify(
    baseline: Pipeline,
    variant: Pipeline,
    frames: FrameSample,
    score: AgreementScore,
    advance: Advance = no_advance,
    log: FrameLog | None = None,
) -> Verification:
    """Run both on every frame, alternating which one runs first, and compare.

    Each prepares the frame for itself, since a variant may have an input and output of its own. The
    inference is timed, and the time end to end with it.

    Args:
        baseline: the reference.
        variant: the model compared; an invalid result (NaN) counts as a failed frame.
        frames: held-out frames, at least one.
        score: the task's agreement score, empty.
        advance: progress callback (done, total).
        log: records each frame, for slices and images.

    Raises:
        ModelFileError: the baseline itself gives no valid result.
        AdcpError: a frame cannot be read, a runtime failed.
    """
    times_ms: tuple[list[float], list[float]] = ([], [])
    end_to_end_ms: tuple[list[float], list[float]] = ([], [])
    pair = (baseline, variant)
    distinct: set[bytes] = set()
    for index, frame in enumerate(frames):
        distinct.add(hashlib.blake2b(np.ascontiguousarray(frame.pixels).data, digest_size=16).digest())
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
        compared: Result | None
        try:
            compared = variant.task.decode(outputs[1], prepared[1][1])
        except ResultError:
            compared = None
        around_ms[1] += (perf_counter() - start) * 1e3
        for which in (0, 1):
            end_to_end_ms[which].append(around_ms[which] + times_ms[which][-1])
        # Decoded again as the score needs it, outside of what is timed.
        scored = score.decode(baseline.task, outputs[0], prepared[0][1])
        other = score.decode_variant(variant.task, outputs[1], prepared[1][1], failed=compared is None)
        score.add(scored, other)
        if log is not None:
            log.add(frame, reference, compared, score.differences[-1])
        advance(index + 1, len(frames))
    times = FrameTimes(*times_ms, *end_to_end_ms)
    slices = {} if log is None else choose_slices(log.attributes())
    # Copies of an image are one piece of evidence, whatever the baseline says of them.
    agreement = _informative_at_most(score.figures(), len(distinct))
    return Verification(
        agreement,
        latency_figures(*times_ms, *end_to_end_ms),
        times,
        {rule: score.figures(places) for rule, places in slices.items()},
    )


def _informative_at_most(figures: AgreementFigures, distinct: int) -> AgreementFigures:
    return replace(
        figures,
        informative_frames=min(figures.informative_frames, distinct),
        heads={name: _informative_at_most(one, distinct) for name, one in figures.heads.items()},
    )


def latency_figures(
    baseline_ms: list[float],
    variant_ms: list[float],
    baseline_end_to_end_ms: list[float],
    variant_end_to_end_ms: list[float],
) -> LatencyFigures:
    """Return percentiles and ratios of paired times.

    The intervals are a bootstrap over pairs, widened, as ratios, for times that drift (``widening``).
    """
    b, v = np.asarray(baseline_ms), np.asarray(variant_ms)
    total_b, total_v = np.asarray(baseline_end_to_end_ms), np.asarray(variant_end_to_end_ms)

    def ratios(drawn: NDArray[np.int64]) -> tuple[float, float, float]:
        b50, b99 = np.percentile(b[drawn], (50, 99))
        v50, v99 = np.percentile(v[drawn], (50, 99))
        return (b50 / v50, b99 / v99, np.median(total_b[drawn]) / np.median(total_v[drawn]))

    values = ratios(np.arange(len(b)))
    wider = [widening(np.log(one / other)) for one, other in ((b, v), (total_b, total_v))]
    p50, p99, total = (
        (value * (low / value) ** factor, value * (high / value) ** factor)
        for value, (low, high), factor in zip(
            values, vector_bootstrap(len(b), ratios), (wider[0], wider[0], wider[1]), strict=True
        )
    )
    b50, b99 = (float(value) for value in np.percentile(b, (50, 99)))
    v50, v99 = (float(value) for value in np.percentile(v, (50, 99)))
    total_b50, total_v50 = float(np.median(total_b)), float(np.median(total_v))
    total_ratio = total_b50 / total_v50
    return LatencyFigures(
        b50, b99, v50, v99, b50 / v50, *p50, b99 / v99, total_b50, total_v50, total_ratio, *p99, *total
    )
