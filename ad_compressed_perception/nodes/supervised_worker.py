# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node's primary model and the worker that runs it: loaded under a time-out, watched, replaced; no ROS.

Whoever finds that the primary does not return, it is replaced here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes.frame_slot import FrameSlot, FrameSource
from ad_compressed_perception.nodes.watchdog import Action, Watchdog
from ad_compressed_perception.nodes.worker import (
    STOP_LIMIT_S,
    Arrival,
    FrameWorker,
    OnFrameDone,
    Prefers,
    Process,
)
from ad_compressed_perception.serving.loading import Loading
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import ServedModel

_REMEMBERED_S = 60.0
MOST_REPLACEMENTS = 3
"""Primaries replaced while the standby answers, without one that proved itself; each leaves a hung thread."""
_RETRY_S = 10.0
_NEVER = float("inf")


class SupervisedWorker:
    """Owns a node's models and its worker; watch() is called by another thread than the other methods.

    Where the worker's thread is abandoned, the model that it is in goes with it (see ServedModel). With a
    standby the worker goes on at once, and the primary is loaded beside it; without one it waits for that.

    Attributes:
        models: the loaded ones; without a primary where none is loaded, or while a replacement is.
        worker: processes frames; None while the node is not active.
        loading: the load under way.
        replacements: workers replaced since the beginning.
    """

    def __init__(
        self,
        load: Callable[[], ServedModel],
        adopt: Callable[[ServedModel], None],
        process: Process,
        on_frame_done: OnFrameDone,
        log: Callable[[str], object],
    ) -> None:
        """Prepare; open() loads.

        Args:
            load: loads the primary; runs in a thread of its own.
            adopt: called with a loaded model before it is used, not in the loader's thread.
            process: processes a frame, in the worker's thread.
            on_frame_done: see FrameWorker.
            log: takes one line about a hung worker.
        """
        self._load, self._adopt, self._process = load, adopt, process
        self._on_frame_done, self._log = on_frame_done, log
        self._lock = Lock()
        self._watchdog = Watchdog()
        self._load_limit_s = 0.0
        self._event, self._event_s = "", 0.0
        self._is_waiting = False
        self._lost, self._next_load_s, self._problem = 0, _NEVER, ""
        self.models = ModelSet()
        self.worker: FrameWorker | None = None
        self._last_worker: FrameWorker | None = None
        self.loading: Loading[ServedModel] | None = None
        self.replacements = 0

    def open(self, limit_s: float, is_canceled: Callable[[], bool]) -> ServedModel:
        """Load the primary unless there is one, and wait for it.

        Args:
            limit_s: seconds after which the load is abandoned; also for replacements.
            is_canceled: asked meanwhile; True abandons the load.

        Raises:
            BaseException: whatever loading raises; AdcpError where it was abandoned.
        """
        self._load_limit_s = limit_s
        if self.models.primary is not None:
            return self.models.primary
        self.loading = Loading(self._load, self._discard)
        try:
            model = self.loading.wait(limit_s, is_canceled)
        finally:
            self.loading = None
        self.models.exchange(model)
        self._adopt(model)
        return model

    def start(
        self,
        source: FrameSource | None = None,
        prefers: Prefers | None = None,
        max_age_ms: float = 0.0,
        slot: FrameSlot[Arrival] | None = None,
    ) -> FrameWorker:
        """Start a worker on the models that open() has loaded; see FrameWorker for the arguments."""
        if self.models.primary is None:
            raise AdcpError("no model is loaded")
        worker = FrameWorker(self._process, self._on_frame_done, source, slot)
        worker.prefers, worker.max_age_ms = prefers, max_age_ms
        with self._lock:
            self._watchdog, self._event, self.replacements = Watchdog(), "", 0
            self._is_waiting, self._lost, self._next_load_s, self._problem = False, 0, _NEVER, ""
            self.worker = self._last_worker = worker
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
            self._give_up_hung()
            self._log("the runtime does not return: its thread and its model were abandoned")

    def claim(self, arrival: Arrival) -> bool:
        """Return whether a frame's result may be published; see FrameWorker.claim.

        Also while the node is deactivated, which waits for the frame in work, and afterwards.
        """
        worker = self._last_worker
        return worker is not None and worker.claim(arrival)

    def extend(self, arrival: Arrival, seconds: float) -> None:
        """Give the frame in work more time; see FrameWorker.extend."""
        worker = self._last_worker
        if worker is not None:
            worker.extend(arrival, seconds)

    def close(self) -> None:
        """Release all models; in bounded time, too."""
        closing = [
            Thread(target=self._discard, args=(model,), name="adcp-closer", daemon=True)
            for model in self.models.take_all()
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(STOP_LIMIT_S)
            if thread.is_alive():
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
            worker = self.worker
            if worker is None:
                return Action.NONE
            self._load_anew(worker, now_s)
            if self._is_waiting:
                return Action.NONE
            action = self._watchdog.look(worker.progress(), now_s, error_s, exit_s)
            if action is Action.REPLACE and worker.abandon():
                hung_s = self._watchdog.hung_s
                self._note(f"the worker finished no frame for {hung_s:.1f} s and was given up", now_s)
                self._give_up_hung()
                if self.models.primary is None:
                    self._lost, self._next_load_s = self._lost + 1, now_s
                self._is_waiting = self.models.primary is None and self.models.standby is None
                if not self._is_waiting:  # exchanged meanwhile, or the standby answers
                    self._watchdog.replaced(now_s)
                    self._resume(worker, now_s)
                self._load_anew(worker, now_s)
            return action

    def give_up(self, model: ServedModel, text: str, now_s: float) -> bool:
        """Let the primary go, whose thread does not return, and load it anew; False: it is no primary.

        The model is to be closed by the caller; the worker has another thread already.
        """
        with self._lock:
            if not self.models.lose_primary(model):
                return False
            self._lost += 1
            self._problem = f"the primary was given up: {text}"
            self._log(self._problem)
            if self.worker is not None:
                self._next_load_s = now_s
            return True

    @property
    def is_replacing(self) -> bool:
        """Whether the primary hung and is loaded anew, or nobody answers until it is.

        Where that cannot be done while the standby answers, another model may take the place.
        """
        worker = self.worker
        if worker is None or self.models.primary is not None:
            return False
        return self.loading is not None or not worker.progress().is_alive

    def trusted(self) -> None:
        """Note that the primary has proved itself: what was lost before it counts no longer."""
        self._lost = 0

    def _give_up_hung(self) -> None:
        for model in self.models.lose_hung():
            self._discard(model)  # by the thread that is in it, at its end

    def _load_anew(self, worker: FrameWorker, now_s: float) -> None:
        loading = self.loading
        if self.models.primary is not None:
            self._next_load_s, self._problem, self.loading = _NEVER, "", None
            if loading is not None:  # such as by a rollback: no frame waits any longer
                loading.abandon()
            self._end_waiting(worker, now_s)
            return
        if self.models.standby is not None:
            self._end_waiting(worker, now_s)
        if loading is not None:
            if loading.is_done or loading.elapsed_s > self._load_limit_s:
                self._finish_replacement(worker, loading, now_s)
        elif now_s >= self._next_load_s:
            self._next_load_s = _NEVER
            if self._lost > MOST_REPLACEMENTS and not self._is_waiting:
                self._problem = (
                    f"the primary was given up {self._lost} times, and is not loaded again until the node is "
                    "activated anew"
                )
                return
            self.loading = Loading(self._load, self._discard)

    def _finish_replacement(self, worker: FrameWorker, loading: Loading[ServedModel], now_s: float) -> None:
        self.loading = None
        try:
            model = loading.wait(self._load_limit_s)
        except BaseException as error:
            why = describe_error(error)
            if not self._is_waiting:  # the standby answers: there is time
                self._next_load_s = now_s + _RETRY_S
                self._problem = f"the primary cannot be loaded again: {why}"
                self._log(self._problem)
                return
            self._is_waiting = False  # the watchdog decides what comes next
            self._watchdog.replaced(now_s)
            self.replacements += 1
            self._note(f"{self._event}; no replacement: {why}", now_s)
            return
        self._problem = ""
        if self.models.fill(model):
            self._adopt(model)
        else:  # another one took the place meanwhile, and the parameters name that
            self._discard(model)
        self._end_waiting(worker, now_s)

    def _end_waiting(self, worker: FrameWorker, now_s: float) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._watchdog.replaced(now_s)
            self._resume(worker, now_s)

    def _resume(self, worker: FrameWorker, now_s: float) -> None:
        self.replacements += 1
        worker.resume()
        self._note(f"{self._event.partition(';')[0]}; replacement {self.replacements} runs", now_s)

    def _discard(self, model: ServedModel) -> None:
        """Close a model; one that was given up in the thread that used or loaded it."""
        try:
            model.close()
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
        if loading is not None and self._is_waiting:
            line = f"{self._event}; a replacement is loading for {loading.elapsed_s:.0f} s"
            return [(Level.ERROR, line)]
        if self._problem:
            found.append((Level.ERROR, self._problem))
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
