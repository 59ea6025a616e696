# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.json of a drive, schema "adcp-drive/1": results on the routes, and paired differences."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from ad_compressed_perception.core.json_values import Plain
from ad_compressed_perception.core.manifest import StrictModel, VerdictStatus
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure
from ad_compressed_perception.report.schemas.host import Host
from ad_compressed_perception.report.schemas.intervals import MeanInterval

SCHEMA: Final = "adcp-drive/1"


class DriveSettings(StrictModel):
    """What was asked for."""

    routes: Count
    length_m: float = Field(description="of each route")
    traffic: float = Field(description="density; 1 is normal")
    weather: str | None = Field(description="null: drawn for each route")
    seed: int
    latency: str = Field(description="of a plan: measured, none, or given")


class PlanLatency(StrictModel):
    """Times from which the latencies of plans were drawn, ms."""

    p50: float
    p99: float


class DrivenVariant(StrictModel):
    """One variant on all its routes."""

    gate: VerdictStatus | None = Field(description="verdict of the accept gate; null without one")
    routes: Count = Field(description="routes driven")
    endings: dict[str, Count] = Field(description="how routes ended to how many did")
    latency_ms: PlanLatency
    images: dict[str, Count] = Field(
        description="taken, planned, dropped, failed; with faults also faults, standby and hold"
    )
    figures: dict[str, MeanInterval] = Field(description="metric to its mean over routes and 95 % interval")


class Comparison(StrictModel):
    """One variant against the first, on the routes that both drove."""

    variant: str
    reference: str
    routes: Count = Field(description="routes that both drove")
    differences: dict[str, MeanInterval] = Field(description="metric to variant - reference, paired by route")
    verdict: Literal["not worse", "worse", "undecided"] = Field(description="on departures and collisions")
    reasons: list[str] = Field(description="the basis of the verdict, and other metrics that are worse")

    @property
    def line(self) -> str:
        """The comparison in one line."""
        return f"{self.variant} against {self.reference}: {self.verdict}: {'; '.join(self.reasons)}"


class DrivenRoute(StrictModel):
    """One route driven by one variant."""

    variant: str
    seed: int = Field(description="of the route")
    ending: str
    figures: dict[str, Figure] = Field(description="metric to value; null where undefined")
    events: list[dict[str, Plain]] = Field(description="each with time_s, s_m from the start, kind and what")
    images: dict[str, Count] = Field(description="as those of the variant")
    latency_ms: Figure = Field(description="mean of the drawn latencies")


class DriveFiles(StrictModel):
    """Plots and images beside the report."""

    offsets: str = Field(description="offset from the lane center along the routes")
    differences: str | None = Field(default=None, description="null where one variant drove alone")
    images: list[str] = Field(default_factory=list, description="camera images with the planned paths")


class Drive(Document):
    """Planner variants in closed loop on the same simulated routes."""

    schema_: Literal["adcp-drive/1"] = field_of_kind(SCHEMA)
    model: str = Field(description="the model's name")
    settings: DriveSettings
    variants: dict[str, DrivenVariant] = Field(description="name to its results, the reference first")
    comparison: list[Comparison] = Field(description="each further variant against the first")
    routes: list[DrivenRoute] = Field(default_factory=list, description="every route of every variant")
    files: DriveFiles
    host: Host = Field(default_factory=Host, description="the machine the figures belong to")


class MeasuredLatencies(Document):
    """Latencies of plans as measured on this host, which the next run in the same folder reuses."""

    schema_: Literal["adcp-latency/1"] = field_of_kind("adcp-latency/1")
    latency_ms: dict[str, list[Annotated[float, Field(ge=0.0, allow_inf_nan=False)]]] = Field(
        description="VARIANT:SHA256 to its times, ms"
    )
