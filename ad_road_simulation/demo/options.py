# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What one may ask of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_OUT = Path("adcp_work/demo")
RATE_HZ = 10.0
"""Of the road camera."""
DRIVE_SEED = 9_000_000
PLACES_SEED = 9_100_000
ROUTES_SEED = 92
"""Worlds that no default model was trained on: training begins at seed 1000 and counts up to a few thousand.

The closed loop's routes are 100 000 times their seed and up."""


@dataclass(frozen=True)
class DemoOptions:
    """What to show and where.

    Attributes:
        out: folder of the report.
        models: model folders, at most one a task; empty for the default models.
        work: work folder for variants that have to be made; None for the default one.
        limit: frames replayed at most; None for all.
        frames: images of the road camera's drive.
        places: images of unrelated places.
        routes: driven in closed loop.
        route_m: length of each.
    """

    out: Path = DEFAULT_OUT
    models: tuple[Path, ...] = ()
    work: Path | None = None
    limit: int | None = None
    frames: int = 160
    places: int = 100
    routes: int = 3
    route_m: float = 250.0
