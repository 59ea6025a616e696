# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which faults are injected into which node, how often, and how fast frames are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ad_road_simulation.faults.kinds import LOUD

VARIANTS = {
    "planning": "prune_int8_onnxruntime",
    "segmentation": "int8_small",
    "detection": "int8_onnxruntime",
}
"""Accepted variants of the default models that run on the runtime every installation has."""
HYSTERESIS_S = 0.2
GUARD: dict[str, Any] = {
    "fallback_variant": "baseline",
    "frame_timeout_ms": 250.0,
    "hold_last_ms": 500.0,
    "guard_hysteresis_s": HYSTERESIS_S,
    "guard_probation_frames": 2,
}
"""The guard's parameters; shorter times than on a car, so that the variant is tried again often enough."""


@dataclass(frozen=True)
class Scenario:
    """One node and its faults.

    Attributes:
        name: in tables.
        task: of the node.
        faults: options of the backend, without its log.
        needed: faults, at least one of each kind, after which the scenario ends.
        limit_s: it also ends after this time, and then has a problem.
        patience_s: how long a frame may take before the next is sent; 0: the next is due after the period.
        period_s: least time between two frames.
        parameters: of the node, besides GUARD.
    """

    name: str
    task: str
    faults: Mapping[str, Any]
    needed: int
    limit_s: float = 1200.0
    patience_s: float = 5.0
    period_s: float = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        """Its kinds of faults."""
        kind = self.faults["kind"]
        return [kind] if isinstance(kind, str) else list(kind)


def scenarios(total: int, seed: int) -> list[Scenario]:
    """Return scenarios with about ``total`` faults, most of them exceptions, NaN and wrong shapes."""
    share = {"planning": 0.745, "segmentation": 0.15, "detection": 0.05}
    found = [
        Scenario(
            f"{task}: exception, NaN, shape",
            task,
            {"kind": list(LOUD), "probability": 0.5, "seed": seed},
            max(round(total * part), len(LOUD)),
            # Every frame goes to the variant first, whatever it did before: faults come fast.
            parameters={"guard_level": "primary"},
        )
        for task, part in share.items()
    ]
    found.append(
        Scenario(
            "planning: exception, NaN, shape, with the ladder",
            "planning",
            {"kind": list(LOUD), "probability": 0.05, "seed": seed},
            max(round(total * 0.005), len(LOUD)),
        )
    )
    slow = {"duration_ms": 10_000.0, "slow_factor": 500.0}
    wrong = {"burst": 30}
    for task, kind, part, options in (
        ("planning", "hang", 0.001, slow),
        ("planning", "slow", 0.003, slow),
        ("planning", "memory", 0.04, {"memory_mb": 1}),
        *((task, kind, 0.005, wrong) for task in VARIANTS for kind in ("constant", "implausible")),
    ):
        found.append(
            Scenario(
                f"{task}: {kind}",
                task,
                {"kind": kind, "probability": 0.05, "seed": seed, "from_frame": 20, **options},
                max(round(total * part), 2),
            )
        )
    return found
