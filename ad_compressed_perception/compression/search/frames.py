# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of a search: for calibration, for comparing candidates, and for the verdict alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ad_compressed_perception.compression.frame_split import FrameSample, segment_capacity, split_by_shares
from ad_compressed_perception.compression.recipe import SplitSpec
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import FrameSource

SPLIT = SplitSpec(calibration=0.4, search=0.25)
DEFAULT_CALIBRATION = 64
MAX_TRAINING_IMAGES = 1000
MOST_SEARCH = 240
MOST_VERIFICATION = 400
LEAST = 20
"""Fewer frames than this leave agreement undecided (``min_frames`` of a recipe's terms)."""


@dataclass(frozen=True)
class SearchFrames:
    """The split of one recording for one search.

    Attributes:
        source: the recording.
        calibration: number of frames for quantizing passes.
        training_images: number of frames for training passes.
        search: indices of the frames that candidates are compared on; disjoint from the other sets.
        verification: number of frames that the winner alone is verified on.
    """

    source: FrameSource
    calibration: int
    training_images: int
    search: Sequence[int]
    verification: int

    def subset(self, count: int) -> FrameSample:
        """Return so many of the search frames, evenly over the recording."""
        chosen = min(count, len(self.search))
        picked = [self.search[(2 * step + 1) * len(self.search) // (2 * chosen)] for step in range(chosen)]
        return FrameSample(self.source, picked)


def split_recording(source: FrameSource, calibration: int | None) -> SearchFrames:
    """Split a recording: as many frames of each kind as it has, up to the most a search uses.

    Args:
        source: the recording.
        calibration: frames for quantizing passes; None for 64 or what there is.

    Raises:
        DataError: too few frames to select on one part and verify on another.
    """
    total = len(source)
    room = [segment_capacity(total, SPLIT.calibration, SPLIT.search, kind) for kind in range(3)]
    if min(room[1:]) < LEAST or room[0] < 1:
        raise DataError(
            f"{total} frames are too few for a search: it compares candidates on a quarter of them and "
            f"verifies the winner on a third, at least {LEAST} each; give a source of 120 frames or more"
        )
    if calibration is not None and calibration > room[0]:
        raise DataError(
            f"{calibration} frames to calibrate on are too many: a search calibrates on {room[0]} "
            f"of {total} frames at most, the others are for comparison and verification"
        )
    calibrating = calibration or min(DEFAULT_CALIBRATION, room[0])
    search, verification = min(MOST_SEARCH, room[1]), min(MOST_VERIFICATION, room[2])
    _, indices, _ = split_by_shares(
        total, (calibrating, search, verification), SPLIT.calibration, SPLIT.search
    )
    # Checked once: every candidate is compared on the same readable frames.
    indices = source.readable(indices)
    return SearchFrames(source, calibrating, min(MAX_TRAINING_IMAGES, room[0]), indices, verification)
