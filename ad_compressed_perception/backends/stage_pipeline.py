# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stages at work on different frames at the same time: a thread and a queue for each, results in order.

A frame carries its tensors from stage to stage, by reference; a stage adds its outputs and removes what no
later one reads. At most ``depth`` frames are in flight, which bounds the queues.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from queue import SimpleQueue
from threading import BoundedSemaphore, RLock, Thread, current_thread
from time import monotonic

from ad_compressed_perception.backends.base import Outputs, Session, Tensors
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.one_line import describe_error

_LOGGER = logging.getLogger(__name__)
CLOSE_LIMIT_S = 2.0
"""How long closing waits for the stages; one that hangs is released where it returns at last."""
_LOOK_PERIOD_S = 1.0
_CLOSED = "the stages were closed"


@dataclass(frozen=True)
class PipelineStage:
    """A loaded stage.

    Attributes:
        name: how errors name it.
        session: runs it; the pipeline closes it.
        inputs: tensors that it reads.
        outputs: tensors that it computes.
        kept: tensors that are still needed after it.
        stop: ends it at once, whatever it does, where that is possible.
    """

    name: str
    session: Session
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kept: frozenset[str]
    stop: Callable[[], object] = lambda: None


class _Frame:
    def __init__(self, feeds: Tensors) -> None:
        self.tensors: Outputs = dict(feeds)
        self.error: BackendError | None = None
        self.result: futures.Future[Outputs] = futures.Future()
        self.result.set_running_or_notify_cancel()  # it cannot be canceled


class StagePipeline:
    """Runs frames through stages; one thread submits."""

    def __init__(
        self, stages: Sequence[PipelineStage], outputs: Sequence[str], depth: int, timeout_s: float
    ) -> None:
        """Take over the stages and start their threads.

        Args:
            stages: in order.
            outputs: the model's, in its order.
            depth: frames in flight at most.
            timeout_s: time after which a stage counts as hung; 0: never.
        """
        self._stages, self._outputs, self._timeout_s = tuple(stages), tuple(outputs), timeout_s
        self._queues: list[SimpleQueue[_Frame | None]] = [SimpleQueue() for _ in stages]
        self._free = BoundedSemaphore(depth)
        # Reentrant, as a session without references may be closed by whoever collects garbage.
        self._lock = RLock()
        self._in_flight: set[_Frame] = set()
        self._since_s: list[float | None] = [None] * len(stages)
        self._is_closed = False
        self._threads = [
            Thread(name=f"adcp-stage-{number + 1}", target=self._run, args=(number,), daemon=True)
            for number in range(len(stages))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, feeds: Tensors) -> futures.Future[Outputs]:
        """Begin a frame, once fewer than ``depth`` are in flight, and return its outputs to come.

        Raises:
            BackendError: the pipeline is closed, or a stage hangs, which the message names.
        """
        self._refuse_hung()
        while not self._free.acquire(timeout=_LOOK_PERIOD_S):
            self._refuse_hung()
        frame = _Frame(feeds)
        with self._lock:
            if self._is_closed:
                self._free.release()
                raise BackendError(_CLOSED)
            self._in_flight.add(frame)
            self._queues[0].put(frame)
        return frame.result

    def wait(self, result: futures.Future[Outputs]) -> Outputs:
        """Return a frame's outputs; raise BackendError where a stage failed on it or hangs."""
        while not futures.wait([result], _LOOK_PERIOD_S).done:
            self._refuse_hung()
        return result.result()

    def _refuse_hung(self) -> None:
        now_s = monotonic()
        for stage, since_s in zip(self._stages, self._since_s, strict=True):
            if self._timeout_s and since_s is not None and now_s - since_s > self._timeout_s:
                raise BackendError(
                    f"{stage.name} has not returned for {now_s - since_s:.1f} s (timeout_s is "
                    f"{self._timeout_s:g})"
                )

    def _run(self, number: int) -> None:
        stage = self._stages[number]
        try:
            while (frame := self._queues[number].get()) is not None:
                if frame.error is None and not self._is_closed:
                    self._since_s[number] = monotonic()
                    _compute(stage, frame)
                    self._since_s[number] = None
                if number + 1 < len(self._stages):
                    self._queues[number + 1].put(frame)
                else:
                    self._finish(frame, frame.error)
                del frame  # its tensors are not kept until the next one comes
        finally:
            try:
                stage.session.close()
            except Exception as error:
                _LOGGER.warning("closing %s failed: %s", stage.name, describe_error(error))

    def _finish(self, frame: _Frame, error: BackendError | None) -> None:
        with self._lock:
            if frame not in self._in_flight:  # given up when the pipeline was closed
                return
            self._in_flight.discard(frame)
            self._free.release()
        if error is not None:
            frame.result.set_exception(error)
        else:
            frame.result.set_result({name: frame.tensors[name] for name in self._outputs})

    def close(self) -> None:
        """End the threads and release the stages; frames in flight fail. Closing twice does nothing."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            left = list(self._in_flight)
        if was_closed:
            return
        for frame in left:
            self._finish(frame, BackendError(_CLOSED))
        for queue in self._queues:
            queue.put(None)
        for stage in self._stages:
            stage.stop()
        end_s = monotonic() + CLOSE_LIMIT_S
        for thread in self._threads:
            if thread is not current_thread():
                thread.join(max(end_s - monotonic(), 0.0))


def _compute(stage: PipelineStage, frame: _Frame) -> None:
    """Run a stage on a frame; the error is the frame's, so that the next frames go on."""
    try:
        outputs = stage.session.infer({name: frame.tensors[name] for name in stage.inputs})
        lost = [name for name in stage.outputs if name not in outputs]
        if lost:
            raise BackendError(f"it gave no output {lost[0]!r}")
    except BaseException as error:  # whatever a runtime raises, SystemExit too
        frame.error = BackendError(f"{stage.name}: {describe_error(error)}")
        frame.tensors = {}
        return
    frame.tensors |= outputs
    for name in frame.tensors.keys() - stage.kept:
        del frame.tensors[name]
