# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whose frame is next: the newest of each camera, and no camera takes the turn of another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.nodes.fair_slots import MOST_WEIGHT, FairSlots

CAMERAS = ("front", "left", "rear", "right")


@dataclass(frozen=True)
class Frame:
    camera: str
    number: int


STEPS = st.lists(st.one_of(st.sampled_from(CAMERAS), st.none(), st.integers(1, 4)), max_size=200)
WEIGHTS = st.fixed_dictionaries({camera: st.integers(1, MOST_WEIGHT) for camera in CAMERAS})


@given(STEPS, WEIGHTS)
def test_every_frame_has_one_end_and_none_waits_longer_than_the_bound(
    steps: list[str | int | None], weights: dict[str, int]
) -> None:
    """A camera's name: a frame of it comes; None: the worker takes one; a number: so many at once."""
    slots: FairSlots[Frame] = FairSlots(CAMERAS, weights)
    sent: list[Frame] = []
    ended: list[Frame] = []
    waits: dict[str, Counter[str]] = {}  # turns of the others since a camera has a frame
    promised: list[Frame] = []

    def taken(frame: Frame) -> None:
        waits.pop(frame.camera)
        for camera, turns in waits.items():
            turns[frame.camera] += 1
            assert turns[frame.camera] <= ceil(weights[frame.camera] / weights[camera])

    for step in steps:
        if isinstance(step, str):
            sent.append(Frame(step, len(sent)))
            displaced = slots.put(sent[-1])
            assert (displaced is not None) == (step in waits)
            assert displaced is None or displaced.camera == step
            ended += [] if displaced is None else [displaced]
            waits.setdefault(step, Counter())
        elif step is None:
            frame = slots.take()
            assert (frame is None) == (not waits and not promised)
            if frame is not None:
                ended.append(frame)
                if promised:
                    assert frame is promised.pop(0)
                else:
                    taken(frame)
        else:
            found = slots.promise(step)
            for frame in found[len(promised) :]:
                taken(frame)
            assert found[: len(promised)] == promised
            promised = found
            assert not waits or len(found) >= step  # nobody waits while a turn is free
    while (left := slots.close()) is not None:
        ended.append(left)
    assert sorted(ended, key=lambda frame: frame.number) == sent
    assert slots.put(Frame("front", -1)) == Frame("front", -1)
    assert slots.take() is None


@given(WEIGHTS, st.integers(1, 400))
def test_cameras_that_always_have_a_frame_have_turns_by_their_weights(
    weights: dict[str, int], turns: int
) -> None:
    slots: FairSlots[Frame] = FairSlots(CAMERAS, weights)
    counts: Counter[str] = Counter()
    for number in range(turns):
        for camera in CAMERAS:
            slots.put(Frame(camera, number))
        frame = slots.take()
        assert frame is not None and frame.number == number  # the newest one
        counts[frame.camera] += 1
    for camera in CAMERAS:
        share = turns * weights[camera] / sum(weights.values())
        # Fluid sharing differs by less than the frames that are begun at once: one of each camera.
        assert abs(counts[camera] - share) <= len(CAMERAS)


def test_a_camera_that_floods_takes_no_turn_from_the_others() -> None:
    """100 frames of one camera for each of another one: both have every second turn."""
    slots: FairSlots[Frame] = FairSlots(("front", "left"))
    answered = []
    for number in range(10):
        for _ in range(100):
            slots.put(Frame("front", number))
        slots.put(Frame("left", number))
        answered += [slots.take(), slots.take()]
    assert [frame.camera for frame in answered if frame] == ["front", "left"] * 10


def test_a_camera_that_was_away_has_no_claim_on_turns_that_it_missed() -> None:
    """Otherwise a camera that appears late would hold up the others until it has caught up."""
    slots: FairSlots[Frame] = FairSlots(("front", "left"))
    for number in range(100):
        slots.put(Frame("front", number))
        slots.take()
    order = []
    for number in range(6):
        slots.put(Frame("front", number))
        slots.put(Frame("left", number))
        frame = slots.take()
        assert frame is not None
        order.append(frame.camera)
    assert Counter(order) == {"front": 3, "left": 3}


def test_weights_that_change_hold_from_the_next_turn_on() -> None:
    slots: FairSlots[Frame] = FairSlots(("front", "left"))
    counts: Counter[str] = Counter()
    slots.set_weights({"front": 3})
    for number in range(80):
        slots.put(Frame("front", number))
        slots.put(Frame("left", number))
        frame = slots.take()
        assert frame is not None
        counts[frame.camera] += 1
    assert counts["front"] == pytest.approx(60, abs=1)


def test_the_frame_that_ranks_first_stays_and_keeps_its_turn() -> None:
    slots: FairSlots[Frame] = FairSlots(("front", "left"))
    slots.put(Frame("front", 0))
    slots.take()
    slots.put(Frame("left", 1))
    slots.put(Frame("front", 2))
    assert slots.put(Frame("left", 3), lambda waiting, arrived: True) == Frame("left", 3)
    assert [slots.take(), slots.take()] == [Frame("left", 1), Frame("front", 2)]
