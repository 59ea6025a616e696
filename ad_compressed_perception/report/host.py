# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The machine that figures were measured on, without names of people or hosts."""

from __future__ import annotations

import os
import platform

import psutil

from ad_compressed_perception.core.host import read_host, tool_versions, usable_cores
from ad_compressed_perception.report.schemas.host import Host


def describe_host() -> Host:
    """Return the machine's figures; what cannot be found out stays empty."""
    processor = read_host()
    return Host(
        system=f"{platform.system()} {platform.release()}",
        machine=processor.machine,
        cpu=processor.cpu,
        cpu_features=list(processor.isa),
        logical_cores=usable_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        python=platform.python_version(),
        ros_distro=os.environ.get("ROS_DISTRO") or None,
        packages=tool_versions(),
    )
