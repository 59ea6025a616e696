# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The machine that figures were measured on, without names of people or hosts."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from ad_compressed_perception import __version__
from ad_compressed_perception.report.schema import Host

_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "opencv-python-headless")
_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
)


def describe_host() -> Host:
    """Return the machine's figures; what cannot be found out stays empty."""
    cpu, flags = _processor()
    packages = {"ad_compressed_perception": __version__}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return Host(
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=cpu,
        cpu_features=[flag for flag in _FEATURES if flag in flags],
        logical_cores=_usable_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        python=platform.python_version(),
        ros_distro=os.environ.get("ROS_DISTRO") or None,
        packages=packages,
    )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 0


def _processor() -> tuple[str, set[str]]:
    """Model name and feature flags of the first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor(), set()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, found, value = line.partition(":")
        if found:
            fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return fields.get("model name", platform.processor()), flags
