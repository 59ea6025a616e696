# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image bytes and messages to frames of pixels, and back."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Return a name of the former module ``image``, now in ``decode`` or ``encode``, with a warning."""
    from ad_compressed_perception.core.renamed import warn_renamed

    for place in ("decode", "encode") if not name.startswith("_") else ():
        module = import_module(f"{__name__}.{place}")
        if hasattr(module, name):
            warn_renamed("name", f"{__name__}.{name}", f"{module.__name__}.{name}")
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
