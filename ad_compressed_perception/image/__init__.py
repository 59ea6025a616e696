# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image bytes and messages to frames of pixels."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Return a name of the former module ``image``, now ``image.decode``, with a warning."""
    from ad_compressed_perception.core.renamed import warn_renamed
    from ad_compressed_perception.image import decode

    if name.startswith("_") or not hasattr(decode, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn_renamed("name", f"{__name__}.{name}", f"{__name__}.decode.{name}")
    return getattr(decode, name)
