# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is: every variant of a task gets the same frame, alone, and the order alternates.

Two variants that run at the same time measure each other: they share cores, caches and memory
bandwidth. Here each one has the machine to itself while it works, and who goes first changes from frame
to frame, so that what the first leaves behind (warm caches, a heated core) falls on all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ad_compressed_perception.nodes.pacer import Pacer

INTERLEAVING = (
    "The variants of a task took turns on the same frame, one at a time, in alternating order; "
    "no two models ran at the same time."
)
"""The sentence a report states its way of measuring with."""


class Stamped(Protocol):
    """What a frame must have to be offered."""

    @property
    def bag_time_ns(self) -> int:
        """When the frame was recorded, nanoseconds."""


FrameT = TypeVar("FrameT", bound=Stamped)


def interleaved_order(names: Sequence[str], frame_index: int) -> list[str]:
    """Return in which order ``names`` get frame ``frame_index``.

    The first place goes round; the direction turns after each round, so that over ``2 n`` frames each
    name holds each place equally often and, for up to three names, follows each other equally often.
    """
    count = len(names)
    if count == 0:
        return []
    first = frame_index % count
    order = [*names[first:], *names[:first]]
    if count > 2 and (frame_index // count) % 2:
        order[1:] = reversed(order[1:])
    return order


@dataclass
class OfferCounts:
    """Frames read from the bag: offered to every variant, or not offered to any."""

    offered: int = 0
    not_offered: int = 0


def interleave(
    frames: Iterable[FrameT],
    variants: Mapping[str, Sequence[str]],
    pacer: Pacer,
    offer: Callable[[str, str, FrameT], None],
    complete: Callable[[str, FrameT], None],
    advance: Callable[[FrameT, bool], None],
    count: OfferCounts,
) -> None:
    """Give each frame to each variant of each task, one at a time.

    Args:
        frames: in the order of the recording.
        variants: task to its variants' names.
        pacer: says which frames are offered.
        offer: ``(task, variant, frame)``; returns when the variant is done with the frame.
        complete: ``(task, frame)``; returns when the task's results of the frame are compared.
        advance: ``(frame, was_offered)``, after each frame.
        count: kept up to date, so that it holds when a callback raises.
    """
    for frame in frames:
        offered = pacer.is_due(frame.bag_time_ns)
        if offered:
            for task, names in variants.items():
                for name in interleaved_order(names, count.offered):
                    offer(task, name, frame)
                complete(task, frame)
            count.offered += 1
        else:
            count.not_offered += 1
        advance(frame, offered)
