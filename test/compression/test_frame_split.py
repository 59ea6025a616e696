# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration and verification frames: disjoint, even, apart in time, the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.compression.frame_split import FrameSample, split_frames
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import open_frames
from support.compression import write_images


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 500), st.integers(1, 8))
def test_the_two_kinds_have_nothing_in_common(
    calibration: int, verification: int, spare: int, periods: int
) -> None:
    total = calibration + verification + spare
    first, second = split_frames(total, calibration, verification, periods)
    assert (len(first), len(second)) == (calibration, verification)
    assert not set(first) & set(second)
    for chosen in (first, second):
        assert chosen == sorted(set(chosen))
        assert chosen[0] >= 0
        assert chosen[-1] < total
    assert split_frames(total, calibration, verification, periods) == (first, second)


def test_frames_cover_the_recording_with_gaps_between_the_kinds() -> None:
    """400 frames of 50 ms: five periods of 80 frames; neighbors of the two kinds are 3 frames apart."""
    first, second = split_frames(400, 25, 25)
    assert first[0] < 20
    assert second[-1] > 380
    nearest = min(abs(a - b) for a in first for b in second)
    assert nearest >= 3


@given(st.integers(1, 50), st.integers(1, 50))
def test_too_few_frames_are_an_error_with_numbers(calibration: int, verification: int) -> None:
    with pytest.raises(DataError, match=f"{calibration} for calibration and {verification}"):
        split_frames(calibration + verification - 1, calibration, verification)


def test_the_hash_is_of_the_pixels_in_order(tmp_path: Path) -> None:
    source = open_frames(str(write_images(tmp_path / "images", 4)))
    assert FrameSample(source, [0, 1]).sha256() == FrameSample(source, [0, 1]).sha256()
    assert FrameSample(source, [0, 1]).sha256() != FrameSample(source, [0, 2]).sha256()
