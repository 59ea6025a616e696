# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Profile of an inference on this host by layer and by operator, measured by the runtime.

Profiling costs time itself, so the sum of the layers is larger than an inference without profiling; both
are reported, and shares refer to the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
from ad_compressed_perception.backends.base import LayerTime, Session, SessionInfo
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.costs import LayerCost
from ad_compressed_perception.tasks.pipeline import open_pipeline

DEFAULT_RUNS = 30


@dataclass(frozen=True)
class ProfiledLayer:
    """One executed layer.

    Attributes:
        time: the layer and its median milliseconds.
        share: of the sum over all layers, 0..1.
        macs: multiply-accumulates; None where it has none or they are not known.
    """

    time: LayerTime
    share: float
    macs: int | None

    @property
    def gmacs_per_s(self) -> float | None:
        """Throughput, 10^9 multiply-accumulates per second; low if memory-bound or without a fast kernel."""
        return None if not self.macs or self.time.ms <= 0.0 else self.macs / self.time.ms / 1e6


@dataclass(frozen=True)
class OperatorTotal:
    """All layers of one operator and precision.

    Attributes:
        operator: as the runtime calls it.
        precision: number type.
        count: how many layers.
        ms: their sum, milliseconds.
        share: of the sum over all layers, 0..1.
    """

    operator: str
    precision: str
    count: int
    ms: float
    share: float


@dataclass(frozen=True)
class Profile:
    """A profiled model.

    Attributes:
        name: the variant's name, or the file's.
        info: of the loaded model, by its backend.
        runs: number of inferences behind the medians.
        infer_ms: median of an inference without profiling.
        layers_ms: sum of the layers' medians, with profiling.
        layers: in the order of execution.
        operators: totals by operator, the largest first.
    """

    name: str
    info: SessionInfo
    runs: int
    infer_ms: float
    layers_ms: float
    layers: tuple[ProfiledLayer, ...]
    operators: tuple[OperatorTotal, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "variant": self.name,
            "backend": self.info.backend,
            "backend_version": self.info.version,
            "provider": self.info.provider,
            "threads": self.info.threads,
            "runs": self.runs,
            "infer_ms": round(self.infer_ms, 4),
            "layers_ms": round(self.layers_ms, 4),
            "operators": [
                {**asdict(total), "ms": round(total.ms, 4), "share": round(total.share, 4)}
                for total in self.operators
            ],
            "layers": [
                {
                    "name": layer.time.record.name,
                    "operator": layer.time.record.operator,
                    "precision": layer.time.record.precision,
                    "kernel": layer.time.record.kernel,
                    "ms": round(layer.time.ms, 4),
                    "share": round(layer.share, 4),
                    "macs": layer.macs,
                }
                for layer in self.layers
            ],
        }


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
    layers = tuple(
        ProfiledLayer(time, time.ms / total_ms if total_ms else 0.0, layer.macs)
        for time, layer in zip(times, costed, strict=True)
    )
    return Profile(name, session.info, runs, median(durations_ms), total_ms, layers, _totals(layers))


def _totals(layers: tuple[ProfiledLayer, ...]) -> tuple[OperatorTotal, ...]:
    groups: dict[tuple[str, str], list[ProfiledLayer]] = {}
    for layer in layers:
        record = layer.time.record
        groups.setdefault((record.operator, record.precision), []).append(layer)
    totals = [
        OperatorTotal(
            operator,
            precision,
            len(members),
            sum(layer.time.ms for layer in members),
            sum(layer.share for layer in members),
        )
        for (operator, precision), members in groups.items()
    ]
    return tuple(sorted(totals, key=lambda total: -total.ms))
