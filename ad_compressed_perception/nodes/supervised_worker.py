# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A loaded model and the worker that runs it: loaded under a time-out, watched, replaced; no ROS."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock, Thread

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes.frame_slot import FrameSource
from ad_compressed_perception.nodes.loading import Loading
from ad_compressed_perception.nodes.watchdog import Action, Watchdog
from ad_compressed_perception.nodes.worker import STOP_LIMIT_S, Arrival, FrameWorker, OnFrameDone, Prefers
from ad_compressed_perception.tasks.pipeline import Pipeline

_REMEMBERED_S = 60.0


class SupervisedWorker:
    """Owns a pipeline and its worker; watch() is called by another thread than the other methods.

    A pipeline belongs to one worker thread. Where that thread is abandoned, the pipeline goes with it: it is
    closed by the thread itself, if that ever returns, because a session in use must not be freed.

    Attributes:
        pipeline: the loaded model; None where none is, or while a replacement is loaded.
        worker: processes frames; None while the node is not active.
        loading: the load under way.
        replacements: workers replaced since the beginning.
    """

    def __init__(
        self,
        load: Callable[[], Pipeline],
        adopt: Callable[[Pipeline], None],
        process: Callable[[Pipeline, Arrival], dict[str, float]],
        on_frame_done: OnFrameDone,
        log: Callable[[str], object],
    ) -> None:
        """Prepare; open() loads.

        Args:
            load: opens a pipeline; runs in a thread of its own.
            adopt: called with a loaded pipeline before it is used, not in the loader's thread.
            process: processes a frame on a pipeline, in the worker's thread.
            on_frame_done: see FrameWorker.
            log: takes one line about a hung worker.
        """
        self._load, self._adopt, self._process = load, adopt, process
        self._on_frame_done, self._log = on_frame_done, log
        self._lock = Lock()
        self._watchdog = Watchdog()
        self._load_limit_s = 0.0
        self._event, self._event_s = "", 0.0
        self.pipeline: Pipeline | None = None
        self.worker: FrameWorker | None = None
        self.loading: Loading[Pipeline] | None = None
        self.replacements = 0

    def open(self, limit_s: float, is_canceled: Callable[[], bool]) -> Pipeline:
        """Load the pipeline unless there is one, and wait for it.

        Args:
            limit_s: seconds after which the load is abandoned; also for replacements.
            is_canceled: asked meanwhile; True abandons the load.

        Raises:
            BaseException: whatever loading raises; AdcpError where it was abandoned.
        """
        self._load_limit_s = limit_s
        if self.pipeline is None:
            self.loading = Loading(self._load, self._discard)
            try:
                self.pipeline = self.loading.wait(limit_s, is_canceled)
            finally:
                self.loading = None
            self._adopt(self.pipeline)
        return self.pipeline

    def start(
        self, source: FrameSource | None = None, prefers: Prefers | None = None, max_age_ms: float = 0.0
    ) -> FrameWorker:
        """Start a worker on the pipeline that open() has loaded; see FrameWorker for the arguments."""
        if self.pipeline is None:
            raise AdcpError("no model is loaded")
        release = partial(self._discard, self.pipeline)
        worker = FrameWorker(partial(self._process, self.pipeline), self._on_frame_done, release, source)
        worker.prefers, worker.max_age_ms = prefers, max_age_ms
        with self._lock:
            self._watchdog, self._event, self.replacements = Watchdog(), "", 0
            self.worker = worker
            worker.start()  # after it is known as the one that frames are offered to
        return worker

    def stop(self) -> None:
        """End the worker; in bounded time, whatever its runtime does."""
        with self._lock:
            worker, self.worker = self.worker, None
            loading, self.loading = self.loading, None
        if loading is not None:
            loading.abandon()
        if worker is not None and not worker.stop():
            self.pipeline = None
            self._log("the runtime does not return: its thread and its model were abandoned")

    def close(self) -> None:
        """Release the pipeline; in bounded time, too."""
        pipeline, self.pipeline = self.pipeline, None
        if pipeline is not None:
            closing = Thread(target=self._discard, args=(pipeline,), name="adcp-closer", daemon=True)
            closing.start()
            closing.join(STOP_LIMIT_S)
            if closing.is_alive():
                self._log("the runtime does not return from closing its model, which was abandoned")

    def watch(self, now_s: float, error_s: float, exit_s: float) -> Action:
        """Look at the worker; give it up and load its replacement where it hangs.

        Args:
            now_s: monotonic seconds.
            error_s: see Watchdog.look.
            exit_s: see Watchdog.look.

        Returns:
            EXIT where the process has to end, otherwise what was done.
        """
        with self._lock:
            worker, loading = self.worker, self.loading
            if worker is None:
                return Action.NONE
            if loading is not None:
                if loading.is_done or loading.elapsed_s > self._load_limit_s:
                    self._finish_replacement(worker, loading, now_s)
                return Action.NONE
            action = self._watchdog.look(worker.progress(), now_s, error_s, exit_s)
            if action is Action.REPLACE and worker.abandon():
                hung_s = self._watchdog.hung_s
                self._note(f"the worker finished no frame for {hung_s:.1f} s and was given up", now_s)
                self.pipeline = None
                self.loading = Loading(self._load, self._discard)
            return action

    def _finish_replacement(self, worker: FrameWorker, loading: Loading[Pipeline], now_s: float) -> None:
        self.loading = None
        self.replacements += 1
        self._watchdog.replaced(now_s)
        try:
            pipeline = loading.wait(self._load_limit_s)
        except BaseException as error:
            self._note(f"{self._event}; no replacement: {describe_error(error)}", now_s)
            return
        self._adopt(pipeline)
        self.pipeline = pipeline
        worker.resume(partial(self._process, pipeline), partial(self._discard, pipeline))
        self._note(f"{self._event.partition(';')[0]}; replacement {self.replacements} runs", now_s)

    def _discard(self, pipeline: Pipeline) -> None:
        """Close a pipeline; one that was given up in the thread that used or loaded it."""
        try:
            pipeline.close()
        except Exception as error:
            self._log(f"closing the model failed: {describe_error(error)}")

    def _note(self, event: str, now_s: float) -> None:
        self._event, self._event_s = event, now_s
        self._log(event)

    def problems(self, now_s: float, error_s: float) -> Problems:
        """Return what is wrong with the load or the worker; the arguments are those of watch()."""
        found: Problems = []
        loading, watchdog = self.loading, self._watchdog
        if self.worker is None:
            if loading is not None:
                found.append((Level.WARN, f"loading for {loading.elapsed_s:.0f} s"))
            return found
        if loading is not None:
            line = f"{self._event}; a replacement is loading for {loading.elapsed_s:.0f} s"
            return [(Level.ERROR, line)]
        if watchdog.is_hung or (watchdog.hung_s and watchdog.unfinished_s >= error_s):
            line = f"no frame finished for {watchdog.unfinished_s:.1f} s: the worker hangs"
            if watchdog.given_up:
                line += "; so did its replacements, and no more are made until the node is activated again"
            found.append((Level.ERROR, line))
        elif watchdog.hung_s >= error_s / 2:
            found.append((Level.WARN, f"no frame finished for {watchdog.hung_s:.1f} s"))
        if self._event and now_s - self._event_s < _REMEMBERED_S:
            found.append((Level.WARN, self._event))
        return found
