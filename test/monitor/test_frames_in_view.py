# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frame is drawn next: one that all nodes answered, or the one that shows who did not."""

from __future__ import annotations

import numpy as np

from ad_compressed_perception.core.results import Detections, LabelMask
from ad_compressed_perception.monitor.frames_in_view import FramesInView

BASELINE, VARIANT = ("detection", "baseline"), ("detection", "compressed")
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("car",))
PATIENCE_S = 1.0


def view(*nodes: tuple[str, str]) -> FramesInView:
    return FramesInView(nodes or (BASELINE, VARIANT), PATIENCE_S)


def taken(frames: FramesInView, now_s: float) -> int | None:
    found = frames.take(now_s)
    return None if found is None else found.stamp_ns


def test_the_newest_frame_that_both_answered_is_taken_once_whatever_came_first() -> None:
    frames = view()
    for stamp in (10, 20, 30):
        frames.add_image(stamp, b"image", 0.0)
    frames.add_result(BASELINE, 40, NOTHING, 0.0)
    frames.add_result(VARIANT, 40, NOTHING, 0.0)
    frames.add_result(("detection", "stranger"), 30, NOTHING, 0.0)
    for stamp in (10, 20, 30):
        frames.add_result(BASELINE, stamp, NOTHING, 0.1)
        assert taken(frames, 0.1) is None
    frames.add_result(VARIANT, 10, NOTHING, 0.2)
    frames.add_result(VARIANT, 20, NOTHING, 0.2)
    assert taken(frames, 0.2) == 20
    assert taken(frames, 0.2) is None, "10 is older than what was drawn"
    frames.add_image(40, b"image", 0.3)  # the results were faster than the image
    assert taken(frames, 0.3) == 40


def test_a_side_without_results_is_shown_when_the_patience_ends() -> None:
    """Pairs alone would let the image stand still when one side dies."""
    frames = view()
    frames.add_image(10, b"image", 0.0)
    frames.add_result(BASELINE, 10, NOTHING, 0.1)
    assert taken(frames, 0.9) is None
    found = frames.take(1.0)
    assert found is not None
    assert found.results.keys() == {BASELINE}


def test_frames_that_no_node_chose_are_not_shown_as_missing_results() -> None:
    """Every 5th frame is answered; the others say nothing about the nodes, unless all are silent."""
    frames = view()
    for index in range(20):
        frames.add_image(index, b"image", index * 0.1)
        if index % 5 == 0:
            frames.add_result(BASELINE, index, NOTHING, index * 0.1)
            frames.add_result(VARIANT, index, NOTHING, index * 0.1)
    assert taken(frames, 1.9) == 15
    frames.add_image(20, b"image", 2.0)
    assert taken(frames, 3.1) is None
    assert taken(frames, 4.0) == 20  # no result of anybody for twice the patience


def test_a_recording_that_starts_again_is_shown_again() -> None:
    frames = view()
    for start_s in (0.0, 1.0):
        for stamp in (100, 200):
            frames.add_image(stamp, b"image", start_s)
            for node in (BASELINE, VARIANT):
                frames.add_result(node, stamp, NOTHING, start_s)
            assert taken(frames, start_s) == stamp


def test_memory_is_bounded_by_frames_and_by_bytes() -> None:
    """1080p: raw images of 6.2 MB and masks of 2.1 MB; 128 MiB hold 16 such frames."""
    frames = view(("segmentation", "baseline"), ("segmentation", "compressed"))
    mask = LabelMask(np.zeros((1080, 1920), np.uint8), ("road",))
    image = bytes(1080 * 1920 * 3)
    for stamp in range(40):
        frames.add_image(stamp, image, 0.0)
        frames.add_result(("segmentation", "baseline"), stamp, mask, 0.0)
    kept = list(frames._frames.values())
    assert [frame.stamp_ns for frame in kept] == list(range(24, 40))
    assert sum(frame.size for frame in kept) <= 128 << 20
    small = view()
    for stamp in range(100):
        small.add_result(BASELINE, stamp, NOTHING, 0.0)
    assert len(small._frames) == 64
