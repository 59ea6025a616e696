# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp check`` finds, schema "adcp-check/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.kit.document import Document, field_of_kind
from ad_compressed_perception.report.schemas.fields import Count


class TargetFinding(StrictModel):
    """A node that the target refuses, runs elsewhere, or runs slowly."""

    node: str = Field(description="the node's name, its first output where it has none, or the input's name")
    operator: str = Field(description='its type; "input" for an input of the model')
    consequence: Literal["fails", "falls_back", "slower"] = Field(
        description="the tool refuses the model; the node runs elsewhere or in float; it costs time"
    )
    rule: str = Field(description="name of the rule in the target's file")
    text: str = Field(description="what is wrong, and what follows")
    mend: str = Field(description="the pass, recipe or verb that mends it, or the way out")
    source: str = Field(description="the public document that the rule follows, with its section")
    url: str = Field(description="where that is")


class TargetCheck(Document):
    """A model checked against the rules of a target."""

    schema_: Literal["adcp-check/1"] = field_of_kind("adcp-check/1")
    model: str = Field(description="the model's name and variant, or the file's name")
    file: str = Field(description="the file that was checked")
    sha256: str = Field(description="of the file")
    target: str
    title: str = Field(description="product and versions")
    rules: Count = Field(description="rules that were checked")
    nodes: Count = Field(description="nodes that were looked at, those of branches and loops too")
    counts: dict[str, Count] = Field(description="consequence to nodes, those with several findings once")
    findings: list[TargetFinding] = Field(description="the gravest first, then in the order of the graph")
