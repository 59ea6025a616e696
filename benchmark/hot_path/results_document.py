# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""hot_path.json, schema "adcp-hot-path/1": everything measured, with every sample."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure
from ad_compressed_perception.report.schemas.host import Host


class PathRatio(StrictModel):
    """Latency of a target over that of a reference, on the same frames; null where one was not measured."""

    p50: Figure
    p99: Figure
    p50_low: Figure = Field(description="lowest p50 ratio of a round")
    p50_high: Figure = Field(description="highest p50 ratio of a round")


class Sample(StrictModel):
    """One frame."""

    round: Count
    frame: Count
    ms: Figure = Field(description="publish call to result received; null: lost")
    stages_ms: dict[str, float] | None = Field(None, description="as ~/timing has them; null without")


class Target(StrictModel):
    """One way to answer the frames."""

    status: str = Field(description="ok, the problem, or whether frames are missing")
    offered: Count = Field(description="frames sent")
    answered: Count
    foreign: Count = Field(description="answers to nothing")
    p50_ms: Figure
    p95_ms: Figure
    p99_ms: Figure
    cores: list[Figure] = Field(description="CPU seconds a second, of each round")
    rss_mb: Figure = Field(description="resident memory of its processes; null where they are not its own")
    pss_mb: Figure = Field(description="their proportional share of shared memory, likewise")
    samples: list[Sample]


class HotPathCell(StrictModel):
    """A combination of tasks, variant, image format, size and rate."""

    tasks: str
    variant: str
    image_format: str
    size: str
    rate_hz: float
    variants: dict[str, str] = Field(description="task to the variant that ran")
    ratios: dict[str, dict[str, PathRatio]] = Field(description="target to reference to ratio")
    targets: dict[str, Target] = Field(description="name to figures")


class HotPath(Document):
    """Latency from a camera image to its result, in nodes and without them."""

    schema_: Literal["adcp-hot-path/1"] = field_of_kind("adcp-hot-path/1")
    indent: ClassVar[int] = 1

    created: str = Field(description="local time")
    host: Host
    load: str = Field(description="what other programs did meanwhile, in a sentence")
    rounds: Count
    block_s: float = Field(description="of a target in a round")
    warm_up_frames: Count = Field(description="first frames of each turn, which do not count")
    cells: list[HotPathCell]
