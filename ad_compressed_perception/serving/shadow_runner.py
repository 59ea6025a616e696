# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a shadow model in a thread of its own: whatever it does, nobody waits for it unasked."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.served_model import Before, ServedModel
from ad_compressed_perception.tasks.inputs import with_example_inputs

_LOGGER = logging.getLogger(__name__)
_REHEARSALS = 4


@dataclass(frozen=True)
class ShadowJob:
    """A frame for the shadow.

    Attributes:
        frame: the decoded image that the primary got.
        stamp_ns: its source stamp.
        header: of its message.
        settings: the task's settings that the primary had.
        before: gives the shadow's own task what the primary's was given.
        number: the frame's place among those of this activation.
        primary: the primary's result; None where the shadow runs first.
        primary_ms: its stages.
        weight: see shadow_schedule.Due.
        answer: what the shadow gave already, where it ran first.
        camera: whose frame it is; empty where the node has one.
    """

    frame: Frame
    stamp_ns: int
    header: Any
    settings: Any
    before: Before
    number: int
    primary: Result | None = None
    primary_ms: Mapping[str, float] = field(default_factory=dict)
    weight: float = 1.0
    answer: ShadowAnswer | None = None
    camera: str = ""


@dataclass(frozen=True)
class ShadowAnswer:
    """What came of a job.

    Attributes:
        result: None where the shadow failed.
        stages_ms: milliseconds of prepare, infer and post.
        reason: why it failed; empty otherwise.
    """

    result: Result | None
    stages_ms: dict[str, float]
    reason: str = ""


def rehearse(model: ServedModel) -> list[float]:
    """Return the seconds that a model needs, of a few runs on an empty image; none where it refuses that."""
    image = Frame(np.zeros((480, 640, 3), np.uint8), "BGR")
    image = with_example_inputs(image, model.pipeline.task.manifest)
    took_s = []
    try:
        for _ in range(_REHEARSALS):
            start_s = perf_counter()
            model.run(image)
            took_s.append(perf_counter() - start_s)
    except AdcpError:
        return []
    return took_s[1:]  # the first one allocates


class ShadowRunner:
    """Has one job in work and none waiting; a hung one is given up with its thread and its model.

    Attributes:
        model: the shadow.
        is_closed: no more jobs are taken or reported.
    """

    def __init__(
        self,
        model: ServedModel,
        finish: Callable[[ShadowJob, ShadowAnswer], None],
        ran: Callable[[float, float], None],
    ) -> None:
        """Start the thread.

        Args:
            model: the shadow; released by close().
            finish: called with each answer, in the thread; not after end().
            ran: called with the end of a job and its finish(), by perf_counter, and the seconds of both.
        """
        self.model, self._finish, self._ran = model, finish, ran
        self._condition = Condition()
        self._job: ShadowJob | None = None
        self._since_s = math.nan
        self.is_closed = False
        self._thread = Thread(target=self._work, name="adcp-shadow", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether a job would be taken."""
        return self._job is None and not self.is_closed

    def offer(self, job: ShadowJob) -> bool:
        """Give a job to the thread and return at once; False where one is in work."""
        with self._condition:
            if not self.is_idle:
                return False
            self._job, self._since_s = job, monotonic()
            self._condition.notify_all()
        return True

    def wait(self, limit_s: float) -> bool:
        """Wait until no job is in work; False after ``limit_s`` seconds, or once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._job is None or self.is_closed, limit_s)
            return self.is_idle

    def busy_s(self, now_s: float) -> float:
        """Return for how long the present job has been in work; 0 without one. ``now_s``: monotonic."""
        with self._condition:
            return 0.0 if self._job is None else now_s - self._since_s

    def end(self) -> None:
        """End the thread, after the job in work; the model stays open, for another use."""
        with self._condition:
            self.is_closed = True
            self._condition.notify_all()

    def close(self) -> None:
        """End the thread and release the model; where it is in work, at the end of that. Waits for nobody."""
        self.end()
        try:
            self.model.close()
        except Exception as error:
            _LOGGER.warning("closing the shadow failed: %s", describe_error(error))

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._job is not None or self.is_closed)
                job = self._job
            if job is None or self.is_closed:
                return
            start_s = perf_counter()
            answer = job.answer or self._answer(job)
            try:
                if not self.is_closed:
                    self._finish(job, answer)
            except BaseException:
                # The next frame must be compared whatever went wrong with this one. After end() what finish()
                # publishes on may be gone.
                if not self.is_closed:
                    _LOGGER.exception("reporting the shadow's frame %d failed", job.stamp_ns)
            end_s = perf_counter()
            self._ran(end_s, end_s - start_s)
            with self._condition:
                self._job = None
                self._condition.notify_all()

    def _answer(self, job: ShadowJob) -> ShadowAnswer:
        try:
            result, stages_ms = self.model.run(job.frame, job.settings, job.before)
        except BaseException as error:
            # Whatever a runtime raises, SystemExit too; tasks refuse results that are not finite.
            return ShadowAnswer(None, {}, describe_error(error))
        return ShadowAnswer(result, stages_ms)
