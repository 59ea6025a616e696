# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp benchmark`` measures, schema "adcp-benchmark/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel, VerdictStatus
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure
from ad_compressed_perception.report.schemas.host import Host
from ad_compressed_perception.report.schemas.intervals import MedianInterval


class Spread(StrictModel):
    """Durations of one stage."""

    p50: float = Field(description="median, ms")
    p90: float = Field(description="90th percentile, ms")
    p99: float = Field(description="99th percentile, ms")
    min: float = Field(description="smallest value, ms")
    count: Count = Field(description="values in the series")


class UnderLoad(StrictModel):
    """Frames submitted as fast as they are taken."""

    depth: Count = Field(description="frames that are computed at the same time")
    throughput_hz: float = Field(description="frames a second, median of the rounds")
    latency_ms: float = Field(description="from taking a frame to its outputs, median, ms")
    throughput_ratio: MedianInterval = Field(
        description="median of the rounds' ratios this one / reference with its 95 % interval"
    )


class VariantTimes(StrictModel):
    """One variant as it ran."""

    variant: str = Field(description="its name in the manifest")
    backend: str = Field(description="runtime")
    backend_version: str = Field(description="its version")
    requested_provider: str = Field(description="device or execution provider asked for")
    provider: str = Field(description="the one that ran it")
    precision: str = Field(description="of the heavy layers as executed")
    threads: Count = Field(description="inside one inference; 0: the runtime's choice")
    integer_coverage: Figure = Field(
        description="share of compute ops that run as integer kernels; null without any"
    )
    size_bytes: Count = Field(description="of the model file")
    verdict: VerdictStatus | None = Field(description="of the accept gate; null for a baseline")
    load_ms: float = Field(description="reading and compiling the model")
    warmup_ms: float = Field(description="the runs before the first round")
    stages_ms: dict[str, Spread] = Field(description="infer; with frames also prepare, post and total")
    speedup: dict[str, MedianInterval] = Field(
        description="infer, and with frames total: median of the rounds' ratios reference / this one with "
        "its 95 % interval; empty for the reference"
    )
    under_load: UnderLoad | None = Field(
        default=None, description="null where no variant computes several frames at the same time"
    )


class Benchmark(Document):
    """Variants timed interleaved on one host."""

    schema_: Literal["adcp-benchmark/1"] = field_of_kind("adcp-benchmark/1")
    model: str = Field(description="the model's name")
    reference: str = Field(description="which of the variants the others are compared with")
    rounds: Count = Field(description="how often each one ran")
    source: str = Field(description="where the frames come from")
    frames: Count = Field(description="different frames")
    variants: dict[str, VariantTimes] = Field(description="as it was asked for, to its figures")
    host: Host
