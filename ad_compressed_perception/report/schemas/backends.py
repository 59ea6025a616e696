# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp backends`` lists, schema "adcp-backends/1"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.kit.document import Document, field_of_kind


class BackendEntry(StrictModel):
    """A registered runtime on this host."""

    name: str
    available: bool = Field(description="whether it can be used here")
    version: str = Field(description="of the runtime; empty where it is missing")
    providers: list[str] = Field(description="devices and execution providers")
    detail: str = Field(description="a remark, or why it cannot be used")
    install: str = Field(description="what installs it; empty where it can be used, or nothing does")
    converter_install: str = Field(
        description="what installs the converter that writes its files; empty where nothing is missing"
    )


class Backends(Document):
    """The runtimes of this host."""

    schema_: Literal["adcp-backends/1"] = field_of_kind("adcp-backends/1")
    backends: list[BackendEntry]
