# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_OUT = Path("adcp_work/demo")
RATE_HZ = 10.0
"""Of the road camera."""
DRIVE_SEED = 9_000_000
PLACES_SEED = 9_100_000
ROUTES_SEED = 92
"""Seeds of worlds that are not in the training data of the default models (seeds 1000 to a few thousand).

Routes of the closed loop have the seeds 100 000 * ROUTES_SEED and up."""


@dataclass(frozen=True)
class DemoOptions:
    """What the demo runs, and where it writes.

    Attributes:
        out: folder of the report.
        models: model folders, at most one per task; empty for the default models.
        work: work folder for variants compressed here; None for the default one.
        limit: maximum number of replayed frames; None for all.
        frames: images of the drive.
        places: images of independent scenes.
        routes: number of routes driven in closed loop.
        route_m: length of each in meters.
    """

    out: Path = DEFAULT_OUT
    models: tuple[Path, ...] = ()
    work: Path | None = None
    limit: int | None = None
    frames: int = 160
    places: int = 100
    routes: int = 3
    route_m: float = 250.0
