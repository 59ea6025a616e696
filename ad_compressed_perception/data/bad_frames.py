# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that cannot be read: left out, counted by reason, and limited, so that one never ends a long job."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, NonNegativeInt

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import StrictModel

OPTION = "max_bad_frames"
_NAMED = 3
_LISTED = 8
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class BadFrame:
    """A frame that cannot be read.

    Attributes:
        index: its place in the source.
        reason: why, one line.
    """

    index: int
    reason: str


@dataclass(frozen=True)
class BadFrameLimit:
    """How many frames a job may leave out.

    Attributes:
        text: ``N`` frames, or ``N%`` of those that the job asked for, rounded up.
    """

    text: str = "10%"

    def __post_init__(self) -> None:
        """Refuse what is neither a number of frames nor a share."""
        number = self.text.removesuffix("%")
        try:
            value = float(number) if self.text.endswith("%") else int(number)
        except ValueError:
            value = math.nan
        if not (0 <= value < math.inf) or (self.text.endswith("%") and value > 100.0):
            raise DataError(
                f"{OPTION} {self.text!r}: expected a number of frames such as 5, or a share such as 10%"
            )

    def of(self, total: int) -> int:
        """Return how many of ``total`` frames may be bad."""
        if not self.text.endswith("%"):
            return int(self.text)
        return math.ceil(total * float(self.text[:-1]) / 100.0 - 1e-9)


def parse_limit(value: Any) -> BadFrameLimit:
    """Return a limit from an option's text, a recipe's number or text, or None for the default.

    Raises:
        DataError: it is neither a number of frames nor a share.
    """
    return BadFrameLimit() if value is None else BadFrameLimit(str(value).strip())


class FrameAccount(StrictModel):
    """What became of the frames of a source: those that were asked for are read or bad."""

    source: str = Field(description="where the frames come from")
    index: NonNegativeInt = Field(
        description="frames that the source has, by its index, after stride and limit"
    )
    checked: NonNegativeInt = Field(description="frames of these that were asked for")
    bad: dict[str, NonNegativeInt] = Field(
        default_factory=dict,
        description="reason to number of frames that could not be read and were left out",
    )
    ignored_files: list[str] = Field(
        default_factory=list, description="files of the folder that are no images by their names"
    )
    problems: list[str] = Field(
        default_factory=list, description="what contradicts itself in a recording, in sentences"
    )

    notes: list[str] = Field(
        default_factory=list, description="what was assumed about the frames, in sentences"
    )

    def sentences(self) -> list[str]:
        """Return what a reader must know; empty where every frame was read."""
        found = [*self.problems]
        if self.bad:
            total = sum(self.bad.values())
            reasons = "; ".join(f"{count} x {reason}" for reason, count in self.bad.items())
            found.append(f"{total} of {self.checked} frames of {self.source} were left out: {reasons}.")
        if self.ignored_files:
            names = ", ".join(self.ignored_files[:_NAMED])
            more = len(self.ignored_files) - _NAMED
            found.append(
                f"{len(self.ignored_files)} files of {self.source} were ignored: {names}"
                f"{f' and {more} more' if more > 0 else ''}."
            )
        return [*found, *self.notes]


@dataclass
class BadFrames:
    """The bad frames of one source, each counted once however often it is asked for.

    Attributes:
        source: what the source is called in messages.
        limit: how many may be left out.
        checked: indices that were asked for.
        reasons: index to reason.
        stride: frames of the recording for each index, to name places in it.
    """

    source: str
    limit: BadFrameLimit = field(default_factory=BadFrameLimit)
    checked: set[int] = field(default_factory=set)
    reasons: dict[int, str] = field(default_factory=dict)
    stride: int = 1

    def note(self, indices: Collection[int], bad: Iterable[BadFrame]) -> None:
        """Record frames that were asked for and those of them that are bad.

        Raises:
            DataError: more are bad than the limit allows, or all of them; the first ones are named.
        """
        self.checked.update(indices)
        found = {frame.index: frame.reason for frame in bad}
        self.reasons.update(found)
        if len(found) > self.limit.of(len(indices)) or (found and len(found) == len(indices)):
            raise DataError(
                f"{len(found)} of {len(indices)} frames of {self.source} cannot be read, {OPTION} "
                f"{self.limit.text} allows {self.limit.of(len(indices))}: {self._named(found)}"
            )

    def _named(self, found: dict[int, str]) -> str:
        """Return the first bad frames, those of one reason together."""
        parts = []
        for reason in list(count_reasons(found.values()))[:_NAMED]:
            alike = [index for index, text in found.items() if _pattern(text) == _pattern(reason)]
            places = ", ".join(str(index * self.stride) for index in alike[:_NAMED])
            more = f" and {len(alike) - _NAMED} more" if len(alike) > _NAMED else ""
            parts.append(f"frame{'s' if len(alike) > 1 else ''} {places}{more}: {reason}")
        return " | ".join(parts)

    def by_reason(self) -> dict[str, int]:
        """Return reason to count, the most frequent first."""
        counts = count_reasons(self.reasons[index] for index in sorted(self.reasons))
        shown = dict(list(counts.items())[:_LISTED])
        others = sum(counts.values()) - sum(shown.values())
        return shown | ({"other reasons": others} if others else {})


def count_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """Return reason to count, the most frequent first; reasons that differ in numbers only are one.

    The text is that of the first of them.
    """
    texts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        counts[texts.setdefault(_pattern(reason), reason)] += 1
    return dict(counts.most_common())


def _pattern(reason: str) -> str:
    return _NUMBER.sub("#", reason)
