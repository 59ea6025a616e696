# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compress camera perception models and compare them, live, with their baselines."""

import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from ad_compressed_perception.core.telemetry import opt_out

__version__ = "0.1.0"
opt_out()  # here, since any module or plug-in may import a runtime, also by way of another library


def _find_old_path(fullname: str, *_: Any) -> Any:
    """Find a module by its old path; called by Python for what no other finder has found."""
    if not fullname.startswith(f"{__name__}."):
        return None
    return import_module(f"{__name__}.core.old_paths").find_spec(fullname)


sys.meta_path.append(SimpleNamespace(find_spec=_find_old_path))

# Of api.py, which is imported when one of them is used; __init__.pyi has them for type checkers.
_API = (
    *("AdcpError", "Classification", "Detections", "Evaluation", "HeadResults", "LabelMask"),
    *("Model", "RawOutputs", "Result", "Trajectory", "compare", "compress", "evaluate", "load"),
)


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
