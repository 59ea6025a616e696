# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Profile of an inference on this host by layer and by operator, measured by the runtime.

Profiling costs time itself, so the sum of the layers is larger than an inference without profiling; both
are reported, and shares refer to the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.benchmark import noise_frames
from ad_compressed_perception.analysis.costs import file_costs
from ad_compressed_perception.analysis.inspect import DEFAULT_BACKEND, with_costs
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.base import Session
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.costs import LayerCost
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.inspection import LayerTime, OperatorTime, Profile
from ad_compressed_perception.tasks.pipeline import open_pipeline

DEFAULT_RUNS = 30


def profile_variant(
    manifest: Manifest,
    name: str,
    *,
    backend: str | None = None,
    options: Mapping[str, Any] | None = None,
    runs: int = DEFAULT_RUNS,
) -> Profile:
    """Profile a variant, also a rejected one, on noise images of its input's size.

    Raises:
        AdcpError: the variant cannot be loaded, or its backend cannot profile layers.
    """
    pipeline = open_pipeline(manifest, name, backend=backend, options=options, allow_rejected=True)
    try:
        (frame,) = noise_frames(manifest.for_variant(name), count=1)
        feeds, _ = pipeline.task.prepare(frame)
        spec = manifest.for_variant(name).input
        costs = file_costs(manifest.variant_path(name), {spec.name: spec.shape} if spec.name else None)
        return _profile(name, pipeline.session, feeds, costs.layers, runs)
    finally:
        pipeline.close()


def profile_file(
    path: Path,
    *,
    backend: str = DEFAULT_BACKEND,
    options: Mapping[str, Any] | None = None,
    runs: int = DEFAULT_RUNS,
) -> Profile:
    """Profile an ONNX file on noise; dynamic dimensions become 1.

    Raises:
        BackendError: the file cannot be loaded, or the backend cannot profile layers.
    """
    costs = file_costs(path)
    session = create_backend(backend).load(path, options or {})
    try:
        return _profile(path.name, session, noise_feeds(session.info.inputs), costs.layers, runs)
    finally:
        session.close()


def noise_feeds(inputs: tuple[TensorSpec, ...], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return noise for every input: 0..255 for uint8, 0..1 otherwise. Zeros may run at another speed."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, NDArray[Any]] = {}
    for spec in inputs:
        shape = [size or 1 for size in spec.shape]
        if spec.dtype == "uint8":
            feeds[spec.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            feeds[spec.name] = rng.random(shape).astype(spec.dtype)
    return feeds


def _profile(
    name: str, session: Session, feeds: Mapping[str, NDArray[Any]], costs: tuple[LayerCost, ...], runs: int
) -> Profile:
    session.infer(feeds)
    durations_ms = []
    for _ in range(runs):
        start = perf_counter()
        session.infer(feeds)
        durations_ms.append((perf_counter() - start) * 1e3)
    times = session.profile(feeds, runs)
    total_ms = sum(time.ms for time in times)
    costed = with_costs([time.record for time in times], costs)
    layers = [
        copied(LayerTime, time.record, time, share=time.ms / total_ms if total_ms else 0.0, macs=layer.macs)
        for time, layer in zip(times, costed, strict=True)
    ]
    return copied(
        Profile,
        session.info,
        variant=name,
        backend_version=session.info.version,
        runs=runs,
        infer_ms=median(durations_ms),
        layers_ms=total_ms,
        layers=layers,
        operators=_totals(layers),
    )


def _totals(layers: Sequence[LayerTime]) -> list[OperatorTime]:
    groups: dict[tuple[str, str], list[LayerTime]] = {}
    for layer in layers:
        groups.setdefault((layer.operator, layer.precision), []).append(layer)
    totals = [
        OperatorTime(
            operator=operator,
            precision=precision,
            count=len(members),
            ms=sum(layer.ms for layer in members),
            share=sum(layer.share for layer in members),
        )
        for (operator, precision), members in groups.items()
    ]
    return sorted(totals, key=lambda total: -total.ms)
