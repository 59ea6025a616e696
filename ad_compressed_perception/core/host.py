# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Processors and their features for low-precision arithmetic, and the installed versions of the tools."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Instruction sets that decide how fast and how exactly 8-bit products are summed.
_RELEVANT = re.compile(r"^(avx2|avx512f|avx512bw|\w*vnni|amx_\w+|avx512_bf16|asimd|asimddp|i8mm|bf16|sve2?)$")
_TOOLS = (
    *("ad_compressed_perception", "ai-edge-litert", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu"),
    *("onnxslim", "opencv-python-headless", "openvino", "safetensors", "torch", "torch-pruning"),
)


@dataclass(frozen=True)
class HostInfo:
    """The processor that a model is compressed and measured on.

    Attributes:
        machine: architecture, such as x86_64 or aarch64.
        cpu: the processor's name, empty where the system does not report it.
        isa: its instruction sets for low-precision arithmetic, sorted.
    """

    machine: str
    cpu: str
    isa: tuple[str, ...]


def usable_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_host(cpuinfo: Path = Path("/proc/cpuinfo")) -> HostInfo:
    """Describe this processor from /proc/cpuinfo; unknown parts stay empty."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    name = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    found = {flag for flag in (flags[1].split() if flags else []) if _RELEVANT.match(flag)}
    cpu = name[1].strip() if name else platform.processor()
    return HostInfo(platform.machine(), cpu, tuple(sorted(found)))


def tool_versions() -> dict[str, str]:
    """Return the installed versions of this package and of the libraries it computes with."""
    found = {}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
