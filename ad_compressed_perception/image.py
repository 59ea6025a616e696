# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images: from message bytes to arrays, without a copy where the encoding allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

Colour = Literal["BGR", "RGB", "GRAY"]


@dataclass(frozen=True)
class Frame:
    """One camera picture.

    Attributes:
        pixels: (H, W, 3) uint8 for BGR and RGB, (H, W) uint8 or uint16 for GRAY. May be a read-only
            view of the message's bytes and need not be contiguous in rows.
        colour: channel order of ``pixels``.
        stamp_ns: source stamp, nanoseconds.
    """

    pixels: NDArray[Any]
    colour: Colour
    stamp_ns: int = 0
