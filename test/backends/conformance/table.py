# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What this package's backends cannot do, and why; a lack that is no longer true fails the suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Lack:
    """A check that a backend does not pass.

    Attributes:
        reason: why, for people.
        shows: regular expression that the check's failure must match, so that no other fault hides behind it.
    """

    reason: str
    shows: str


RUNTIMES: Mapping[str, str] = {
    "executorch": "executorch",
    "litert": "ai_edge_litert",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "remote": "tritonclient",
    "staged": "",
    "tensorrt": "tensorrt",
    "torch": "torch",
}
"""Backend to the module without which it cannot run."""

_OWN_THREADS = Lack("each stage has a thread of its own", r"[234] threads are busy, not [12]")
# Of all files that are recorded as a torch program: compression/passes/export/torch_graph.py.
_RECORDED = {
    "dynamic_batch": Lack("the batch is recorded as 1", r"given float32\[2, "),
    "half_precision": Lack("recorded from a graph in single precision", "in half precision|scalar type Half"),
}
_BESIDE = Lack("its pool computes beside the calling thread", r"[23] threads are busy, not [12]")
LACKS: Mapping[str, Mapping[str, Lack]] = {
    "executorch": {
        **_RECORDED,
        "threads": _BESIDE,
        "threads_of_two_sessions": Lack("one pool of threads in a process", "one pool of threads"),
    },
    "litert": _RECORDED,
    "torch": _RECORDED,
    "staged": {
        "dynamic_batch": Lack("what crosses has one size", "size of 'x' is not known"),
        "threads": _OWN_THREADS,
        "threads_of_two_sessions": _OWN_THREADS,
    },
}
"""Backend to check (the name of the suite's method without ``test_``) to lack."""
