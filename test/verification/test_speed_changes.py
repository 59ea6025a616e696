# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Verdicts on planners that give speeds: a throttle or brake that says nothing must not hide in the path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ad_compressed_perception.compression.verification.gate import Measured, decide
from ad_compressed_perception.compression.verification.planning_score import PlanningScore
from ad_compressed_perception.core.manifest import Manifest, Variant, Verdict
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.pass_api.terms import AcceptSpec
from ad_compressed_perception.tasks import create_task

FRAMES = 200


def verdict(
    change: Callable[[np.ndarray], np.ndarray],
    brakes: bool = False,
    throttle: tuple[float, float] = (0.2, 0.7),
) -> tuple[Verdict, float]:
    """Return the verdict on CARLA-like controls and the drop of the path's agreement."""
    options = {"steer_positive": "right", "max_road_wheel_rad": 1.0}
    task = create_task(
        Manifest(
            name="controls",
            task="planning",
            input={"width": 64, "height": 64},
            output={"decoder": "controls", "options": options},
            baseline="fp32",
            variants={"fp32": Variant(file="none.onnx", sha256="0" * 64)},
        )
    )
    task.decoder.check((TensorSpec("controls", (1, 3), "float32"),))
    rng = np.random.default_rng(0)
    score = PlanningScore(0.1, 0.01)
    for place in range(FRAMES):
        brake = 0.5 * (brakes and place % 20 == 7)
        values = np.array([[rng.normal(0.0, 0.05), rng.uniform(*throttle), brake]], np.float32)
        pair = [
            task.decoder.trajectory({"controls": one}, task.settings, None)
            for one in (values, change(values.copy()))
        ]
        score.add(*pair)
    found = score.figures()
    measured = Measured(
        found.drop, found.drop_low, found.drop_high, found.frames, found.informative_frames,
        found.failed_frames, 1.0, 1.0, 1.0, 1.0, 0.5, 1.0,
        labels=found.labels, label_text=found.label_text, lost=found.lost,
    )  # fmt: skip
    return decide(AcceptSpec(max_drop=0.08), measured), found.drop


def without_throttle(values: np.ndarray) -> np.ndarray:
    values[0, 1] = 0.45
    return values


def stronger(values: np.ndarray) -> np.ndarray:
    values[0, 1] = min(1.0, 1.5 * values[0, 1])
    return values


def rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 255.0) / np.float32(255.0)


@pytest.mark.parametrize("nonsense", [without_throttle, stronger])
def test_a_throttle_that_says_nothing_is_rejected(nonsense: Callable[[np.ndarray], np.ndarray]) -> None:
    """Over three seconds it changes the path's length by less than a fifth: nearly all paths agree."""
    found, drop = verdict(nonsense)
    assert drop < 0.08
    assert found.status == "rejected"
    assert "trait 'change of speed' has no change in common any more" in found.reasons[0]


def test_a_brake_that_is_lost_on_few_frames_is_not_accepted() -> None:
    """On every twentieth frame, which is 5 % of the paths."""

    def without_brake(values: np.ndarray) -> np.ndarray:
        values[0, 2] = 0.0
        return values

    found, drop = verdict(without_brake, brakes=True, throttle=(0.2, 0.3))
    assert drop == pytest.approx(0.05)
    assert found.status != "accepted"


def test_rounded_controls_are_accepted() -> None:
    assert verdict(rounded)[0].status == "accepted"
    assert verdict(rounded, brakes=True)[0].status == "accepted"
