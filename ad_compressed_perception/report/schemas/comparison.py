# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.json, schema "adcp-report/1": what was compared, how, and the results.

The same document comes from a replayed bag and from the live monitor.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count, Figure
from ad_compressed_perception.report.schemas.host import Host
from ad_compressed_perception.report.schemas.pairs import (
    AccuracyReport,
    Alarm,
    ComparisonReport,
    LimitsReport,
)
from ad_compressed_perception.report.schemas.variant import VariantReport

SCHEMA: Final = "adcp-report/1"


class Source(StrictModel):
    """Where the frames came from."""

    kind: Literal["bag", "live"] = Field(default="bag", description="a replayed bag or a running car")
    bag: str | None = Field(default=None, description="the bag's path; null when live")
    topic: str | None = Field(default=None, description="the image topic; null when live nodes have several")
    frames: Count = Field(default=0, description="frames offered (bag) or distinct source stamps seen (live)")
    duration_s: Figure = Field(default=None, description="from the first to the last frame, s")
    claimed: Count | None = Field(
        default=None, description="replay: messages on the topic by metadata.yaml; null without one"
    )
    index: Count | None = Field(
        default=None, description="replay: messages on the topic by the files' own index; null when live"
    )
    read: Count = Field(default=0, description="replay: messages read of the selected part")
    left_out: Count = Field(default=0, description="replay: messages before and behind the selected part")
    unreadable: dict[str, Count] = Field(
        default_factory=dict,
        description="replay: reason to messages read that are no images and were not sent",
    )
    not_offered: Count = Field(
        default=0,
        description="frames of the bag that came due while others were processed, and were skipped",
    )


class TaskReport(StrictModel):
    """One task: its variants, each compared with the baseline, and all with the ground truth."""

    baseline: str | None = Field(default=None, description="which of the variants is the reference")
    variants: dict[str, VariantReport] = Field(default_factory=dict, description="name to variant")
    comparison: dict[str, ComparisonReport] = Field(
        default_factory=dict, description="variant's name to its comparison with the baseline"
    )
    accuracy: dict[str, AccuracyReport] = Field(
        default_factory=dict,
        description="live: variant's name to its comparison with the ground truth, where that comes",
    )
    limits: dict[str, LimitsReport] = Field(
        default_factory=dict, description="live: variant's name to the limits that it is watched by"
    )
    alarms: list[Alarm] = Field(
        default_factory=list, description="live: figures beyond their limits now, the worst first"
    )


class Report(Document):
    """The whole document."""

    schema_: Literal["adcp-report/1"] = field_of_kind(SCHEMA)
    created: str = Field(default="", description="when it was written, ISO 8601 with time zone")
    measurement: str = Field(
        default="", description="how the variants were run: interleaved, or at the same time"
    )
    age_reference: str = Field(default="", description="what transport age is measured from")
    source: Source = Field(default_factory=Source, description="where the frames came from")
    host: Host = Field(default_factory=Host, description="the machine the figures belong to")
    tasks: dict[str, TaskReport] = Field(
        default_factory=dict,
        description="task name to report; each head of a model with several has one, too, as multi_task.HEAD",
    )
    missing: list[str] = Field(
        default_factory=list, description="live: which nodes are silent or give no result, in sentences"
    )
    problems: list[str] = Field(
        default_factory=list,
        description="why the figures cannot be relied on, in sentences; replay: counts that do not close, "
        "nodes that gave nothing, strangers' frames; live: two nodes of one name",
    )
    notes: list[str] = Field(default_factory=list, description="what a reader must know, in sentences")
    files: list[str] = Field(default_factory=list, description="files written beside the report")


# Names that this document's functions had.
parse_report, read_report, write_report = Report.parse, Report.read, Report.write
