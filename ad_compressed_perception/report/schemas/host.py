# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The machine that a document's figures belong to."""

from __future__ import annotations

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.report.schemas.fields import Count, Figure


class Host(StrictModel):
    """The machine and the versions the figures belong to."""

    system: str = Field(default="", description="operating system and kernel")
    machine: str = Field(default="", description="instruction set, such as x86_64")
    cpu: str = Field(default="", description="processor model")
    cpu_features: list[str] = Field(
        default_factory=list, description="vector extensions that matter to inference"
    )
    logical_cores: Count = Field(default=0, description="processors this process may use")
    memory_gib: Figure = Field(default=None, description="main memory, GiB")
    python: str = Field(default="", description="Python version")
    ros_distro: str | None = Field(default=None, description="ROS 2 distribution; null without ROS")
    packages: dict[str, str] = Field(default_factory=dict, description="package name to version")
