# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames a node answers, by their stamps alone, so that all nodes of a camera answer the same; no ROS.

Two rules without memory: what other frames arrived, in which order and how often, changes nothing.

``is_nth`` numbers the frames by stamp * rate of the camera and takes every Nth number. Of N neighbors of a
regular camera exactly one is taken. Jitter and lost frames change how many there are, not which ones.

``rank`` orders the frames for a node that cannot keep up: of those that come while it is busy, it takes the
one that ranks first. Its frames are then among those of any faster node, since the first of many is also the
first of a few of them. Ranks are those of the van der Corput sequence (binary digits reversed: J. van der
Corput, Verteilungsfunktionen, 1935) of the stamp in steps of 10 ms, which spreads any number of first ranks
evenly over time, for a camera of any rate.
"""

from __future__ import annotations

from typing import Protocol

_STEP_NS = 10_000_000
_BITS = 48
_SUSPICIOUS = 10


class Stamped(Protocol):
    """What has a stamp, such as a frame that arrived."""

    @property
    def stamp_ns(self) -> int:
        """Source stamp, ns."""


def is_nth(stamp_ns: int, every_nth: int, camera_rate_hz: float) -> bool:
    """Whether a frame is one of every ``every_nth`` of a camera; a frame without a stamp (0) always is.

    Args:
        stamp_ns: its source stamp.
        every_nth: at least 1.
        camera_rate_hz: above 0; thousandths of it count.
    """
    if stamp_ns == 0:
        return True
    number = (stamp_ns * round(camera_rate_hz * 1e3) + 500_000_000_000) // 1_000_000_000_000
    return number % every_nth == 0


def rank(stamp_ns: int) -> tuple[int, int]:
    """Return the place of a frame in the order of preference; smaller is preferred."""
    step = (stamp_ns // _STEP_NS) % (1 << _BITS)
    return int(f"{step:0{_BITS}b}"[::-1], 2), stamp_ns


def prefers(waiting: Stamped, arrived: Stamped) -> bool:
    """Whether the waiting frame ranks before the one that arrived; one without a stamp never does."""
    return waiting.stamp_ns != 0 and arrived.stamp_ns != 0 and rank(waiting.stamp_ns) < rank(arrived.stamp_ns)


class FrameSelection:
    """Applies ``is_nth`` to arrivals and counts those that it leaves out: they are not among the received.

    Attributes:
        every_nth: one of so many frames is taken.
        not_selected: frames left out.
        in_a_row: frames left out since the last one that was taken.
    """

    def __init__(self, every_nth: int, camera_rate_hz: float) -> None:
        """Take one of ``every_nth`` frames of a camera of ``camera_rate_hz``."""
        self.every_nth, self._camera_rate_hz = every_nth, camera_rate_hz
        self.not_selected = self.in_a_row = 0

    def takes(self, stamp_ns: int) -> bool:
        """Whether a frame is answered."""
        taken = is_nth(stamp_ns, self.every_nth, self._camera_rate_hz)
        self.not_selected += not taken
        self.in_a_row = 0 if taken else self.in_a_row + 1
        return taken

    @property
    def problem(self) -> str:
        """What is wrong, empty otherwise: frames at a fraction of the given rate can all miss the numbers.

        Of frames with any stamps at the right rate, 10 * N in a row are left out once in 20,000 times.
        """
        if self.in_a_row < _SUSPICIOUS * self.every_nth:
            return ""
        return (
            f"none of the last {self.in_a_row} frames is one of every {self.every_nth} by its stamp: "
            f"camera_rate_hz {self._camera_rate_hz:g} is not the camera's rate"
        )
