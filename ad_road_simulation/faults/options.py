# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options of the backend that injects faults."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from ad_compressed_perception.backends.base import BackendOptions
from ad_road_simulation.faults.kinds import KINDS


class FaultOptions(BackendOptions):
    """What is injected, and into which inferences; inferences are counted from 0, warm-up not included."""

    inner: str = Field("onnxruntime", description="the runtime that runs the model")
    inner_options: dict[str, Any] = Field(default_factory=dict, description="options of that runtime")
    threads: int = Field(1, ge=0, le=1024, description="inside one inference, of that runtime")
    kind: list[str] = Field(default_factory=list, description="kinds, drawn with equal probability")
    probability: float = Field(
        0.0, ge=0.0, le=1.0, description="share of the bursts in which a fault is injected, drawn by seed"
    )
    seed: int = Field(0, ge=0, description="of the draws; equal seeds inject equally")
    burst: int = Field(1, ge=1, description="inferences in sequence that have the same fault")
    frames: list[int] = Field(default_factory=list, description="inferences with a fault, by number")
    from_frame: int = Field(0, ge=0, description="first inference that may have a drawn fault")
    to_frame: int | None = Field(None, ge=0, description="first one that may not any more; none: no end")
    duration_ms: float = Field(10_000.0, ge=0.0, le=3.6e6, description="how long a hang lasts")
    slow_factor: float = Field(50.0, ge=1.0, le=1e4, description="duration of a slow inference to its own")
    load_ms: float = Field(
        0.0, ge=0.0, le=3.6e6, description="time that loading waits before it reads the file"
    )
    memory_mb: int = Field(64, ge=1, le=4096, description="memory that each fault of this kind keeps")
    log: str = Field("", description="file to which each injected fault is appended, a line of JSON")

    @field_validator("kind", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("kind")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        unknown = [kind for kind in value if kind not in KINDS]
        if unknown:
            raise ValueError(f"unknown kind {unknown[0][:40]!r}; known: {', '.join(KINDS)}")
        return value

    @model_validator(mode="after")
    def _injects_something(self) -> FaultOptions:
        if bool(self.probability > 0.0 or self.frames) != bool(self.kind):
            raise ValueError("kind and one of probability, frames belong together: nothing would be injected")
        return self
