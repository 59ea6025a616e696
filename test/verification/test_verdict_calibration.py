# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The short form of ``benchmark/verdict_calibration.py``: wrong verdicts on simulated drives."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmark" / "verdict_calibration.py"
VARIANTS = 60


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    if not SCRIPT.is_file():
        pytest.skip("benchmark/ is not part of an installation")
    spec = importlib.util.spec_from_file_location("verdict_calibration", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("task", ["detection", "segmentation", "planning"])
def test_few_verdicts_on_drives_of_known_drop_are_wrong(calibration: ModuleType, task: str) -> None:
    """60 variants on four lengths: the long form's rates are below 2.5 % each, 6 of 240.

    The four drives of a variant begin with the same frames, so wrong verdicts come in groups of up to four:
    at a rate of 1.5 % 12 or more have a probability below 1 %.
    """
    judged = list(calibration.simulate(task, VARIANTS, seed=1, follow_up=False))
    found = calibration.summary(judged)
    assert len(judged) == 4 * VARIANTS
    assert found["wrong_accepted"]["count"] <= 11
    assert found["wrong_rejected"]["count"] <= 11
    # A gate that never decides is never wrong.
    assert found["inconclusive"]["share"] <= 0.8
    far = [one for one in judged if one.frames == 500 and not 0.4 <= one.ratio <= 2.5]
    assert far and np.mean([one.status == "inconclusive" for one in far]) <= 0.5


def test_a_drive_repeats_the_variants_frames_equally_often(calibration: ModuleType) -> None:
    """Then the figure over all frames is the true one of any drive: 60,000 draws of 120, 500 each, s = 22."""
    counts = np.bincount(
        calibration.drive(60_000, 0.0, np.random.default_rng(0)), minlength=calibration.FRAMES
    )
    assert len(counts) == calibration.FRAMES
    assert np.abs(counts - 500).max() < 5 * 22


def test_the_series_of_difficulty_is_as_long_correlated_as_it_says(calibration: ModuleType) -> None:
    series = calibration.difficulty(40_000, 5.0, np.random.default_rng(0))
    assert series.std() == pytest.approx(1.0, abs=0.06)
    assert np.corrcoef(series[5:], series[:-5])[0, 1] == pytest.approx(np.exp(-1.0), abs=0.05)
