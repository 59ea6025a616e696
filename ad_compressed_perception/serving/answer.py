# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A frame on its way to an answer, and the answer with where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.guard import AnswerLevel as Level
from ad_compressed_perception.serving.served_model import Before, ModelIdentity
from ad_compressed_perception.tasks.batch import FrameInBatch

Others = Callable[[], Sequence[tuple[str, FrameInBatch]]]


@dataclass(frozen=True)
class Answer:
    """A frame's result and where it comes from.

    Attributes:
        result: in source pixels or meters.
        stages_ms: milliseconds of prepare, infer and post of the model that answered.
        identity: the model that made it.
        level: primary; standby, where the primary did not answer; hold: a result of an earlier frame.
        failure: why no model answered this frame, where an earlier result is held; else empty.
        source: the header of the frame that a held result was made from; else None.
        unjoined: the model's own path, where ``result`` was joined to another model's; else None.
    """

    result: Result
    stages_ms: dict[str, float]
    identity: ModelIdentity
    level: Level = "primary"
    failure: str = ""
    source: Any = None
    unjoined: Result | None = None

    @property
    def own(self) -> Result:
        """What the model gave: to be compared with what other models give."""
        return self.result if self.unjoined is None else self.unjoined

    def texts(self) -> dict[str, str]:
        """Return the fields of NodeReport that say who answered."""
        return {**self.identity.texts(), "level": self.level}


@dataclass(frozen=True)
class Job:
    """A frame and what its models get.

    Attributes:
        frame: the image.
        stamp_ns: its source stamp.
        settings: the task's.
        before: see ServedModel.run.
        turn: of all frames and of threads that took one over.
        camera: whose frame it is; empty where the node has one.
        others: returns the frames that come next, of other cameras, each with its name.
    """

    frame: Frame
    stamp_ns: int
    settings: Any
    before: Before
    turn: int
    camera: str = ""
    others: Others | None = None


@dataclass(frozen=True)
class Held:
    """A published answer with its header and stamp; ``at_s``: when, by the clock."""

    answer: Answer
    header: Any
    stamp_ns: int
    at_s: float
