# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Interleaved execution: every variant of a task gets the same frame, alone, in alternating order.

Variants that run at the same time disturb each other's timing: they share cores, caches and memory
bandwidth. Here only one runs at a time, and the first one changes from frame to frame, so that the
effects of the previous run (warm caches, a heated core) are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ad_compressed_perception.nodes.pacer import Pacer

INTERLEAVING = (
    "The variants of a task were interleaved on the same frames, one at a time, in alternating order; "
    "no two models ran at the same time."
)
"""Description of this measurement in a report."""


class Stamped(Protocol):
    """A frame with a recording time."""

    @property
    def bag_time_ns(self) -> int:
        """When the frame was recorded, nanoseconds."""


FrameT = TypeVar("FrameT", bound=Stamped)


def interleaved_order(names: Sequence[str], frame_index: int) -> list[str]:
    """Return the order in which ``names`` get frame ``frame_index``.

    The order is rotated by one from frame to frame and reversed after each full rotation, so that over
    ``2 n`` frames each name has each position equally often and, for up to three names, follows each
    other name equally often.
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
        pacer: decides which frames are offered.
        offer: ``(task, variant, frame)``; returns when the variant has processed the frame.
        complete: ``(task, frame)``; returns when the task's results of the frame are compared.
        advance: ``(frame, was_offered)``, after each frame.
        count: updated after each frame, so that it is valid when a callback raises.
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
