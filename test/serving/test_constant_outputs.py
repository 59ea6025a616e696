# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs that another scene has given before are found, however long ago that was."""

from __future__ import annotations

import numpy as np
import pytest

from ad_compressed_perception.serving.constant_outputs import ConstantOutputs

LONG_FRAMES = 2000
"""More than are remembered."""


def _see(outputs: ConstantOutputs, scene: int, answered: int) -> None:
    """Show a scene whose answer is that of another one."""
    image = np.random.default_rng(scene).random(300, dtype=np.float32)
    outputs.see({"image": image}, {"boxes": np.random.default_rng(10**6 + answered).random(100)})


@pytest.mark.parametrize("returned", [0, LONG_FRAMES - 1], ids=["first", "last"])
def test_the_first_frame_that_is_given_an_old_result_is_doubtful_after_a_long_drive(returned: int) -> None:
    outputs = ConstantOutputs()
    for scene in range(LONG_FRAMES):
        _see(outputs, scene, scene)
        assert not outputs.is_doubtful

    _see(outputs, LONG_FRAMES, returned)

    assert outputs.is_doubtful


def test_a_result_that_comes_again_and_again_is_remembered_beside_many_others() -> None:
    outputs = ConstantOutputs()
    for scene in range(100):  # the result is none of the first
        _see(outputs, scene, scene)

    # The same scene comes at every second frame, as in a standing car whose camera drops in and out.
    for scene in range(100, LONG_FRAMES):
        _see(outputs, scene, scene)
        _see(outputs, 50, 50)
    _see(outputs, LONG_FRAMES, 50)

    assert outputs.is_doubtful


@pytest.mark.parametrize(
    ("confirmations", "is_doubtful"),
    [((), True), ((False,), True), ((True, False), True), ((True,), False)],
    ids=["nobody looked", "another result", "once another result", "confirmed"],
)
def test_only_what_another_model_confirmed_is_usual(
    confirmations: tuple[bool, ...], is_doubtful: bool
) -> None:
    outputs = ConstantOutputs()
    for scene in range(10):
        _see(outputs, scene, scene)
    _see(outputs, 10, 0)  # a first run of one frame
    for agreed in confirmations:
        outputs.note(agreed=agreed)
    _see(outputs, 11, 11)

    _see(outputs, 12, 0)

    assert outputs.is_doubtful == is_doubtful
