# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Speed of variants, timed interleaved in one process on the same inputs.

Two programs timed one after the other also measure how the load of the machine changes. Here every
round runs each variant once on the same frame, the order changes from round to round, and the speed-up
is the median of the rounds' ratios, with a bootstrap interval over blocks of neighboring rounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.output_plausibility import check_outputs, choose_evenly
from ad_compressed_perception.analysis.paired_rounds import interleaved_order, paired_ratio
from ad_compressed_perception.analysis.sizes import disk_bytes
from ad_compressed_perception.analysis.throughput import Flow, measure_flows
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.model_files import STAGES_NAME
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.report.host import describe_host
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.benchmark import Benchmark, Spread, UnderLoad, VariantTimes
from ad_compressed_perception.tasks.inputs import with_example_inputs
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline

TOTAL = "total"
NOISE_FRAMES = 4
_LOAD_SECONDS = 20.0


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

    A value may have colons, as ``url=lab-pc:8001``: what has no ``=`` continues the value before it.

    Raises:
        BackendError: no variant, an empty backend, or an option without a value.
    """
    head, *settings = re.split(r":(?=[^:=]*=)", text.strip())
    variant, at, backend = head.partition("@")
    pairs = [setting.partition("=") for setting in settings]
    if (
        not variant
        or ":" in head
        or (at and not backend)
        or not all(key and value for key, _, value in pairs)
    ):
        raise BackendError(
            f"cannot read variant {text!r}: write VARIANT, VARIANT@BACKEND or VARIANT@BACKEND:OPTION=VALUE"
        )
    return BenchmarkVariant(text.strip(), variant, backend or None, {key: value for key, _, value in pairs})


def run_benchmark(
    manifest: Manifest,
    variants: Sequence[BenchmarkVariant],
    *,
    frames: Sequence[Frame] | None = None,
    source: str = "",
    rounds: int = 100,
    warmup_rounds: int = 5,
    options: Mapping[str, Any] | None = None,
    advance: Advance | None = None,
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
        advance: called with the finished rounds and all of them.

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
        times = _run_rounds(pipelines, run, rounds, warmup_rounds, advance)
        figures = _figures(manifest, variants, pipelines, times, _measure_load(pipelines, images))
    return Benchmark(
        model=manifest.name,
        reference=labels[_reference(manifest, variants)],
        rounds=rounds,
        source=source or "noise",
        frames=len(images),
        variants=dict(zip(labels, figures, strict=True)),
        host=describe_host(),
    )


def noise_frames(manifest: Manifest, count: int = NOISE_FRAMES, seed: int = 0) -> list[Frame]:
    """Return (H, W[, 3]) uint8 noise of the model's input size, the same for the same seed."""
    spec = manifest.input
    rng = np.random.default_rng(seed)
    shape = (spec.height, spec.width) if spec.channels == 1 else (spec.height, spec.width, 3)
    frames = [Frame(rng.integers(0, 256, shape, dtype=np.uint8), spec.color, index) for index in range(count)]
    return [with_example_inputs(frame, manifest) for frame in frames]


_Run = Callable[[Pipeline, int], dict[str, float]]


def _prepared(pipelines: Sequence[Pipeline], frames: Sequence[Frame]) -> list[list[dict[str, NDArray[Any]]]]:
    """Return the frames as each pipeline's model takes them."""
    # Prepared once for all variants of one input contract; copied, because a task reuses its feed's array.
    prepared: dict[str, list[dict[str, NDArray[Any]]]] = {}
    for pipeline in pipelines:
        contract = pipeline.task.manifest.input.model_dump_json()
        if contract not in prepared:
            prepared[contract] = [
                {name: array.copy() for name, array in pipeline.task.prepare(frame)[0].items()}
                for frame in frames
            ]
    return [prepared[one.task.manifest.input.model_dump_json()] for one in pipelines]


def _time_inference(pipelines: Sequence[Pipeline], frames: Sequence[Frame]) -> _Run:
    prepared = _prepared(pipelines, frames)
    feeds = {id(one): given for one, given in zip(pipelines, prepared, strict=True)}

    def run(one: Pipeline, index: int) -> dict[str, float]:
        chosen = feeds[id(one)][index % len(frames)]
        start = perf_counter()
        one.session.infer(chosen)
        return {"infer": (perf_counter() - start) * 1e3}

    return run


def _measure_load(pipelines: Sequence[Pipeline], frames: Sequence[Frame]) -> list[Flow]:
    """Return latency and throughput under load; none where no session computes several frames at once."""
    if all(pipeline.session.depth == 1 for pipeline in pipelines):
        return []
    sessions = {str(place): pipeline.session for place, pipeline in enumerate(pipelines)}
    feeds = dict(zip(sessions, _prepared(pipelines, frames[:NOISE_FRAMES]), strict=True))
    return list(measure_flows(sessions, feeds, seconds=_LOAD_SECONDS).values())


def _time_end_to_end(frames: Sequence[Frame]) -> _Run:
    def run(one: Pipeline, index: int) -> dict[str, float]:
        _, stages_ms = one.run(frames[index % len(frames)])
        return {**stages_ms, TOTAL: sum(stages_ms.values())}

    return run


def _run_rounds(
    pipelines: Sequence[Pipeline],
    run: _Run,
    rounds: int,
    warmup_rounds: int,
    advance: Advance | None,
) -> list[dict[str, list[float]]]:
    times: list[dict[str, list[float]]] = [{} for _ in pipelines]
    for number in range(-warmup_rounds, rounds):
        for index in interleaved_order(len(pipelines), number % (2 * len(pipelines))):
            stages_ms = run(pipelines[index], max(number, 0))
            if number >= 0:
                for stage, duration_ms in stages_ms.items():
                    times[index].setdefault(stage, []).append(duration_ms)
        if advance is not None and number >= 0:
            advance(number + 1, rounds)
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
    flows: Sequence[Flow],
) -> list[VariantTimes]:
    reference = _reference(manifest, variants)
    figures = []
    for index, (variant, pipeline) in enumerate(zip(variants, pipelines, strict=True)):
        entry = manifest.variant(variant.name)
        compared = (
            [] if index == reference else [stage for stage in ("infer", TOTAL) if stage in times[index]]
        )
        figures.append(
            copied(
                VariantTimes,
                pipeline.session.info,
                variant=variant.name,
                backend_version=pipeline.session.info.version,
                size_bytes=_size(manifest.variant_path(variant.name)),
                verdict=entry.verdict.status if entry.verdict else None,
                stages_ms={stage: spread(values) for stage, values in times[index].items()},
                speedup={
                    stage: paired_ratio(times[reference][stage], times[index][stage]) for stage in compared
                },
                under_load=_under_load(pipeline, flows[index], flows[reference]) if flows else None,
            )
        )
    return figures


def _under_load(pipeline: Pipeline, flow: Flow, reference: Flow) -> UnderLoad:
    return UnderLoad(
        depth=pipeline.session.depth,
        throughput_hz=float(np.median(flow.throughput_hz)),
        latency_ms=float(np.median(flow.loaded_ms)),
        throughput_ratio=paired_ratio(flow.throughput_hz, reference.throughput_hz),
    )


def _size(path: Path) -> int:
    return disk_bytes(path) if path.name == STAGES_NAME else path.stat().st_size


def spread(values: Sequence[float]) -> Spread:
    """Return the percentiles of durations, milliseconds."""
    p50, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
    return Spread(p50=p50, p90=p90, p99=p99, min=float(min(values)), count=len(values))
