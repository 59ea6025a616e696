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


class Pacer:
    """Decides whether a frame is offered: every one, or those that come due while no variant runs."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float],
        wait: Callable[[float], None],
    ) -> None:
        """Set the pace.

        Args:
            rate: bag seconds per second; None offers every frame as soon as the previous one is done.
            clock: monotonic seconds.
            wait: sleeps for a number of seconds.
        """
        self._rate = rate
        self._clock = clock
        self._wait = wait
        self._start: tuple[float, int] | None = None

    def is_due(self, bag_time_ns: int) -> bool:
        """Wait until a frame comes due; return False when it came due while variants were running."""
        if self._rate is None:
            return True
        if self._start is None:
            self._start = (self._clock(), bag_time_ns)
            return True
        started_s, first_ns = self._start
        ahead_s = started_s + (bag_time_ns - first_ns) / 1e9 / self._rate - self._clock()
        if ahead_s < 0:
            return False
        if ahead_s > 0:
            self._wait(ahead_s)
        return True


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
