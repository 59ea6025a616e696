# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Interleaving: alternating order, the same frames for every variant, late frames for none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.nodes.pacer import Pacer
from ad_compressed_perception.replay.interleaving import OfferCounts, interleave, interleaved_order

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Frame:
    bag_time_ns: int


class Clock:
    """A simulated clock that advances by waiting and by the work of a variant."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        assert seconds > 0.0
        self.now_s += seconds


def run(
    frames: list[Frame], variants: dict[str, list[str]], rate: float | None, work_s: float
) -> tuple[list[tuple[str, str, int]], OfferCounts, Clock]:
    """Interleave variants that take ``work_s`` a frame; return what was offered, the counts and the clock."""
    clock, offered, count = Clock(), [], OfferCounts()

    def offer(task: str, name: str, frame: Frame) -> None:
        clock.now_s += work_s
        offered.append((task, name, frame.bag_time_ns))

    pacer = Pacer(rate, clock, clock.wait)
    interleave(frames, variants, pacer, offer, lambda task, frame: None, lambda frame, done: None, count)
    return offered, count, clock


def test_two_variants_alternate_in_going_first() -> None:
    assert [interleaved_order(["baseline", "int8"], index)[0] for index in range(4)] == [
        "baseline",
        "int8",
        "baseline",
        "int8",
    ]


@given(st.integers(1, 6))
def test_every_variant_has_every_position_equally_often(count: int) -> None:
    names = [str(index) for index in range(count)]
    orders = [interleaved_order(names, index) for index in range(2 * count)]
    assert all(sorted(order) == names for order in orders)
    positions = Counter((position, name) for order in orders for position, name in enumerate(order))
    assert set(positions.values()) == {2}


def test_three_variants_follow_each_other_equally_often() -> None:
    orders = [interleaved_order(["a", "b", "c"], index) for index in range(6)]
    pairs = Counter(pair for order in orders for pair in zip(order, order[1:], strict=False))
    # Six orders of two steps each over the six ordered pairs: each predecessor twice.
    assert len(pairs) == 6
    assert set(pairs.values()) == {2}


def test_every_variant_of_every_task_gets_every_frame() -> None:
    frames = [Frame(index * SECOND_NS) for index in range(7)]
    variants = {"detection": ["baseline", "int8"], "planning": ["baseline"]}
    offered, count, clock = run(frames, variants, None, work_s=9.0)
    assert count == OfferCounts(offered=7, not_offered=0)
    for task, names in variants.items():
        for name in names:
            seen = [time for each, variant, time in offered if (each, variant) == (task, name)]
            assert seen == [frame.bag_time_ns for frame in frames]
    # Without waiting: 7 frames of 3 inferences of 9 s.
    assert clock.now_s == pytest.approx(100.0 + 7 * 3 * 9.0)


def test_frames_that_come_due_during_inference_are_not_offered() -> None:
    # Ten frames a second apart, two inferences of 0.8 s: while one frame is processed the next comes due.
    frames = [Frame(index * SECOND_NS) for index in range(10)]
    offered, count, _ = run(frames, {"detection": ["baseline", "int8"]}, 1.0, work_s=0.8)
    assert count == OfferCounts(offered=5, not_offered=5)
    times = {name: [time for _, variant, time in offered if variant == name] for name in ("baseline", "int8")}
    assert times["baseline"] == times["int8"] == [index * SECOND_NS for index in (0, 2, 4, 6, 8)]


def test_a_faster_rate_waits_less() -> None:
    frames = [Frame(index * SECOND_NS) for index in range(5)]
    _, count, clock = run(frames, {"planning": ["baseline"]}, 4.0, work_s=0.1)
    assert count.not_offered == 0
    # The last frame comes due 4 s / 4 after the first; its inference takes 0.1 s.
    assert clock.now_s == pytest.approx(100.0 + 1.0 + 0.1)


def test_the_order_alternates_by_offered_frames() -> None:
    # By frames read, skipping every second frame would make the same variant always go first.
    frames = [Frame(index * SECOND_NS) for index in range(10)]
    offered, _, _ = run(frames, {"detection": ["baseline", "int8"]}, 1.0, work_s=0.8)
    first = [name for _, name, _ in offered[::2]]
    assert first == ["baseline", "int8", "baseline", "int8", "baseline"]


def test_the_count_is_valid_when_offering_fails() -> None:
    count = OfferCounts()

    def offer(task: str, name: str, frame: Frame) -> None:
        if frame.bag_time_ns == 2:
            raise RuntimeError("the node ended")

    with pytest.raises(RuntimeError):
        interleave(
            [Frame(0), Frame(1), Frame(2)],
            {"planning": ["baseline"]},
            Pacer(None, Clock(), lambda seconds: None),
            offer,
            lambda task, frame: None,
            lambda frame, offered: None,
            count,
        )
    assert count.offered == 2
