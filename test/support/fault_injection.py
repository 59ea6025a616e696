# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backend ``fault_injection`` for processes of a test, also in a checkout that is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_road_simulation.faults.kinds import BACKEND, SWITCH


def enable_fault_injection(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Register the backend as pip would, and enable it."""
    info = folder / "fault_injection_of_a_test-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fault_injection_of_a_test\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[ad_compressed_perception.backends]\n"
        f"{BACKEND} = ad_road_simulation.faults.backend:FaultInjectionBackend\n"
    )
    patch.setenv("PYTHONPATH", str(folder), prepend=":")
    patch.setenv(SWITCH, "1")
