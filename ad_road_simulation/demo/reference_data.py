# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The reference recordings and models next to a checkout, if any."""

from __future__ import annotations

import os
from pathlib import Path

DRIVE = Path("bags") / "udacity_ch2_20s"
CALIBRATION = Path("data") / "udacity_ch2" / "images"


def find_shared() -> Path | None:
    """Return the folder of the reference data: ``$AD_SHARED``, or ``shared`` beside a checkout."""
    named = os.environ.get("AD_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared"
    return folder.resolve() if (folder / "models").is_dir() else None


def use_shared() -> Path | None:
    """Set ``$AD_SHARED`` to the reference data for manifests and child processes; return it, or None."""
    shared = find_shared()
    if shared is not None:
        os.environ["AD_SHARED"] = str(shared)
    return shared
