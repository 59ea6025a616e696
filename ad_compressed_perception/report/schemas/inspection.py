# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp inspect`` finds, schema "adcp-inspect/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel, Verdict
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure


class FloatLayer(StrictModel):
    """A convolution or matrix product that stays in float, and why."""

    name: str
    why: str


class Memory(StrictModel):
    """What a model adds to a process's memory, bytes."""

    loaded_bytes: Count = Field(description="after loading")
    running_bytes: Count = Field(description="after a first inference")
    peak_bytes: Count | None = Field(description="peak during both; null: an older manifest has none")
    measured_here: bool = Field(description="true: by this inspection, false: the manifest's figures")


class InspectedVariant(StrictModel):
    """A model file as written and as executed."""

    file: str
    size_bytes: Count
    opset: int | None = Field(description="of the default domain")
    ir_version: int | None
    operators: dict[str, Count] = Field(description="operator of the file to how many there are")
    macs: Count = Field(description="multiply-accumulates of one inference, counted on the file")
    layers_without_macs: Count = Field(description="layers whose sizes are not known before it runs")
    parameters: Count = Field(description="elements of weights, biases and other float constants")
    denormal_weights: Count = Field(description="weights below 1.2e-38, which slow some runtimes down")
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    backend: str = Field(description="runtime")
    backend_version: str
    requested_provider: str = Field(description="device or execution provider asked for")
    provider: str = Field(description="the one that ran it")
    precision: str = Field(description="of the heavy layers as executed")
    integer_coverage: Figure = Field(description="share of compute ops in integer kernels; null without any")
    compute_layers: Count = Field(description="convolutions and matrix products that are executed")
    integer_layers: Count = Field(description="how many of them run as integer kernels")
    load_ms: float
    memory: Memory | None = Field(description="of a process of its own; null where it was not measured")
    float_layers: list[FloatLayer] = Field(description="compute ops that stay in float beside integer ones")
    verdict: Verdict | None = Field(description="of the accept gate; null without one")


class ExecutedLayer(StrictModel):
    """One layer of the executed graph."""

    name: str
    operator: str = Field(description="as the runtime calls it")
    precision: str
    kernel: str
    is_compute: bool = Field(description="whether it is a convolution or a matrix product")
    is_integer: bool = Field(description="whether it runs as an integer kernel")
    macs: Count | None = Field(description="multiply-accumulates; null: none, or its origin is unknown")


class Layers(StrictModel):
    """The layers of one variant."""

    variant: str
    rows: list[ExecutedLayer] = Field(description="in the order of execution")


class OperatorTime(StrictModel):
    """All layers of one operator and precision."""

    operator: str = Field(description="as the runtime calls it")
    precision: str
    count: Count = Field(description="layers")
    ms: float = Field(description="their sum")
    share: float = Field(description="of the sum over all layers, 0..1")


class LayerTime(StrictModel):
    """One executed layer and its median time."""

    name: str
    operator: str
    precision: str
    kernel: str
    ms: float
    share: float = Field(description="of the sum over all layers, 0..1")
    macs: Count | None = Field(description="multiply-accumulates; null where it has none")

    @property
    def gmacs_per_s(self) -> float | None:
        """Throughput, 10^9 multiply-accumulates per second; low if memory-bound or without a fast kernel."""
        return None if not self.macs or self.ms <= 0.0 else self.macs / self.ms / 1e6


class Profile(StrictModel):
    """Times of the layers, measured by the runtime."""

    variant: str
    backend: str
    backend_version: str
    provider: str
    threads: Count
    runs: Count = Field(description="inferences behind the medians")
    infer_ms: float = Field(description="median of an inference without profiling")
    layers_ms: float = Field(description="sum of the layers' medians, with profiling")
    operators: list[OperatorTime] = Field(description="the largest first")
    layers: list[LayerTime] = Field(description="in the order of execution")


class InspectionReport(Document):
    """Contents of a model's files, and the layers that the runtimes execute."""

    schema_: Literal["adcp-inspect/1"] = field_of_kind("adcp-inspect/1")
    model: str = Field(description="the model's name, or the file's")
    variants: dict[str, InspectedVariant] = Field(description="name to what was found")
    errors: dict[str, str] = Field(description="variant that could not be inspected to the reason")
    layers: Layers
    profile: Profile | None = Field(default=None, description="with --profile")
