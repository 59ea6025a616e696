# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Speed of variants, timed interleaved in one process on the same inputs.

Two programs timed one after the other also measure how the load of the machine changes. Here every
round runs each variant once on the same frame, the order changes from round to round, and the speed-up
is the median of the rounds' ratios, with a bootstrap interval over blocks of neighboring rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from math import isqrt
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.output_plausibility import check_outputs, choose_evenly
from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.manifest import Manifest, VerdictStatus
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.metrics.bootstrap import paired_bootstrap
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline

TOTAL = "total"
NOISE_FRAMES = 4
_RESAMPLES = 1000


@dataclass(frozen=True)
class BenchmarkVariant:
    """A variant in a benchmark, on its own backend or on another, with options.

    Attributes:
        label: as written by the user.
        name: the variant's name.
        backend: None for the variant's own.
        options: backend options that override the manifest's.
    """

    label: str
    name: str
    backend: str | None
    options: dict[str, str]


def parse_benchmark_variant(text: str) -> BenchmarkVariant:
    """Read ``VARIANT[@BACKEND][:OPTION=VALUE]...``, such as ``fp32@openvino:precision=bf16``.

    Raises:
        BackendError: no variant, an empty backend, or an option without a value.
    """
    head, *settings = text.strip().split(":")
    variant, at, backend = head.partition("@")
    pairs = [setting.partition("=") for setting in settings]
    if not variant or (at and not backend) or not all(key and value for key, _, value in pairs):
        raise BackendError(
            f"cannot read variant {text!r}: write VARIANT, VARIANT@BACKEND or VARIANT@BACKEND:OPTION=VALUE"
        )
    return BenchmarkVariant(text.strip(), variant, backend or None, {key: value for key, _, value in pairs})


@dataclass(frozen=True)
class Spread:
    """Percentiles of the durations of one stage, milliseconds."""

    p50: float
    p90: float
    p99: float
    min: float
    count: int


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the reference: median of paired ratios, 95% interval of the median."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class VariantFigures:
    """The figures of one variant.

    Attributes:
        variant: what ran.
        info: of the loaded model, by its backend.
        size_bytes: of the model file.
        verdict: of the accept gate; None for a baseline.
        stages_ms: stage name (infer; with frames also prepare, post and total) to its durations.
        speedup: for infer, and with frames total: reference duration / this one's, round by round;
            empty for the reference itself.
    """

    variant: BenchmarkVariant
    info: SessionInfo
    size_bytes: int
    verdict: VerdictStatus | None
    stages_ms: dict[str, Spread]
    speedup: dict[str, Ratio]


@dataclass(frozen=True)
class Benchmark:
    """A finished benchmark; ``reference`` is the label that the others are compared with."""

    model: str
    reference: str
    rounds: int
    source: str
    frames: int
    variants: tuple[VariantFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "model": self.model,
            "reference": self.reference,
            "rounds": self.rounds,
            "source": self.source,
            "frames": self.frames,
            "variants": {
                figures.variant.label: {
                    "variant": figures.variant.name,
                    "backend": figures.info.backend,
                    "backend_version": figures.info.version,
                    "requested_provider": figures.info.requested_provider,
                    "provider": figures.info.provider,
                    "precision": figures.info.precision,
                    "threads": figures.info.threads,
                    "integer_coverage": figures.info.integer_coverage,
                    "size_bytes": figures.size_bytes,
                    "verdict": figures.verdict,
                    "load_ms": figures.info.load_ms,
                    "warmup_ms": figures.info.warmup_ms,
                    "stages_ms": {key: asdict(value) for key, value in figures.stages_ms.items()},
                    "speedup": {key: asdict(value) for key, value in figures.speedup.items()},
                }
                for figures in self.variants
            },
        }


def run_benchmark(
    manifest: Manifest,
    variants: Sequence[BenchmarkVariant],
    *,
    frames: Sequence[Frame] | None = None,
    source: str = "",
    rounds: int = 100,
    warmup_rounds: int = 5,
    options: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Benchmark:
    """Benchmark variants against each other.

    Args:
        manifest: holds all the variants; rejected ones may take part.
        variants: to compare; the reference is the one that runs the manifest's baseline variant, or the
            first.
        frames: camera frames, used cyclically; prepare, infer and post are then timed, end to end. None
            for noise of the model's input size; then only the inference is timed, because decoding
            times on noise are not representative.
        source: where the frames come from, for the report.
        rounds: how often each variant runs, at least 1.
        warmup_rounds: rounds before them that are not counted.
        options: backend options for all variants; a variant's own override them.
        progress: called with the number of finished rounds.

    Raises:
        AdcpError: a variant that cannot be loaded or fails; no or equal variants; no frames.
    """
    labels = [variant.label for variant in variants]
    if not variants or len(set(labels)) != len(labels):
        raise BackendError(f"a benchmark needs different variants, it was given: {', '.join(labels)}")
    if frames is not None and not frames:
        raise BackendError(f"no frames to benchmark with in {source}")
    with ExitStack() as stack:
        pipelines = []
        for variant in variants:
            pipeline = open_pipeline(
                manifest,
                variant.name,
                backend=variant.backend,
                options={**(options or {}), **variant.options},
                allow_rejected=True,
            )
            stack.callback(pipeline.close)
            pipelines.append(pipeline)
            if frames is not None and variant.name == manifest.baseline:
                check_outputs(pipeline, [frames[i] for i in choose_evenly(range(len(frames)))], source)
        images = noise_frames(manifest) if frames is None else frames
        run = _time_inference(pipelines, images) if frames is None else _time_end_to_end(images)
        times = _run_rounds(pipelines, run, rounds, warmup_rounds, progress)
        figures = _figures(manifest, variants, pipelines, times)
    return Benchmark(
        model=manifest.name,
        reference=labels[_reference(manifest, variants)],
        rounds=rounds,
        source=source or "noise",
        frames=len(images),
        variants=tuple(figures),
    )


def noise_frames(manifest: Manifest, count: int = NOISE_FRAMES, seed: int = 0) -> list[Frame]:
    """Return (H, W[, 3]) uint8 noise of the model's input size, the same for the same seed."""
    spec = manifest.input
    rng = np.random.default_rng(seed)
    shape = (spec.height, spec.width) if spec.channels == 1 else (spec.height, spec.width, 3)
    return [Frame(rng.integers(0, 256, shape, dtype=np.uint8), spec.color, index) for index in range(count)]


_Run = Callable[[Pipeline, int], dict[str, float]]


def _time_inference(pipelines: Sequence[Pipeline], frames: Sequence[Frame]) -> _Run:
    # Prepared once for all variants of one input contract; copied, because a task reuses its feed's array.
    prepared: dict[str, list[dict[str, NDArray[Any]]]] = {}
    for pipeline in pipelines:
        contract = pipeline.task.manifest.input.model_dump_json()
        if contract not in prepared:
            prepared[contract] = [
                {name: array.copy() for name, array in pipeline.task.prepare(frame)[0].items()}
                for frame in frames
            ]
    feeds = {id(one): prepared[one.task.manifest.input.model_dump_json()] for one in pipelines}

    def run(one: Pipeline, index: int) -> dict[str, float]:
        chosen = feeds[id(one)][index % len(frames)]
        start = perf_counter()
        one.session.infer(chosen)
        return {"infer": (perf_counter() - start) * 1e3}

    return run


def _time_end_to_end(frames: Sequence[Frame]) -> _Run:
    def run(one: Pipeline, index: int) -> dict[str, float]:
        _, stages_ms = one.run(frames[index % len(frames)])
        return {**stages_ms, TOTAL: sum(stages_ms.values())}

    return run


def interleaved_order(count: int, number: int) -> list[int]:
    """Return the order of round ``number``: rotated every second round, reversed in between."""
    first = (number // 2) % count
    order = [*range(first, count), *range(first)]
    return order[::-1] if number % 2 else order


def _run_rounds(
    pipelines: Sequence[Pipeline],
    run: _Run,
    rounds: int,
    warmup_rounds: int,
    progress: Callable[[int], None] | None,
) -> list[dict[str, list[float]]]:
    times: list[dict[str, list[float]]] = [{} for _ in pipelines]
    for number in range(-warmup_rounds, rounds):
        for index in interleaved_order(len(pipelines), number % (2 * len(pipelines))):
            stages_ms = run(pipelines[index], max(number, 0))
            if number >= 0:
                for stage, duration_ms in stages_ms.items():
                    times[index].setdefault(stage, []).append(duration_ms)
        if progress is not None and number >= 0:
            progress(number + 1)
    return times


def _reference(manifest: Manifest, variants: Sequence[BenchmarkVariant]) -> int:
    for index, variant in enumerate(variants):
        if variant.name == manifest.baseline:
            return index
    return 0


def _figures(
    manifest: Manifest,
    variants: Sequence[BenchmarkVariant],
    pipelines: Sequence[Pipeline],
    times: Sequence[dict[str, list[float]]],
) -> list[VariantFigures]:
    reference = _reference(manifest, variants)
    figures = []
    for index, (variant, pipeline) in enumerate(zip(variants, pipelines, strict=True)):
        entry = manifest.variant(variant.name)
        compared = (
            [] if index == reference else [stage for stage in ("infer", TOTAL) if stage in times[index]]
        )
        figures.append(
            VariantFigures(
                variant=variant,
                info=pipeline.session.info,
                size_bytes=manifest.variant_path(variant.name).stat().st_size,
                verdict=entry.verdict.status if entry.verdict else None,
                stages_ms={stage: _spread(values) for stage, values in times[index].items()},
                speedup={
                    stage: paired_ratio(times[reference][stage], times[index][stage]) for stage in compared
                },
            )
        )
    return figures


def _spread(values: Sequence[float]) -> Spread:
    p50, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
    return Spread(p50, p90, p99, float(min(values)), len(values))


def paired_ratio(reference_ms: Sequence[float], other_ms: Sequence[float]) -> Ratio:
    """Return reference / other over paired rounds, so above 1 means faster than the reference.

    Neighboring rounds run under the same load, so blocks of about sqrt(N) rounds are resampled.
    """
    ratios: NDArray[np.float64] = np.asarray(reference_ms, np.float64) / np.asarray(other_ms, np.float64)
    low, high = paired_bootstrap(
        ratios.size,
        lambda indices: float(np.median(ratios[indices])),
        resamples=_RESAMPLES,
        block_length=max(1, isqrt(ratios.size)),
    )
    return Ratio(float(np.median(ratios)), low, high)
