# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loads in a thread of its own, so that who waits for it can stop waiting; no ROS."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.serving.process_watchdog import PROCESS_WATCHDOG

LoadedT = TypeVar("LoadedT")
_POLL_S = 0.1


class Loading(Generic[LoadedT]):
    """A load under way. Abandoned, its thread goes on, and what it then returns is discarded in it."""

    def __init__(self, load: Callable[[], LoadedT], discard: Callable[[LoadedT], object]) -> None:
        """Begin ``load`` in a daemon thread; ``discard`` releases what an abandoned one returns."""
        self._load: Callable[[], LoadedT] | None = load
        self._discard = discard
        self._lock = Lock()
        self._result: LoadedT | None = None
        self._error: BaseException | None = None
        self._abandoned = False
        self._start_s = monotonic()
        self._thread = Thread(target=self._run, name="adcp-loader", daemon=True)
        self._thread.start()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the load began."""
        return monotonic() - self._start_s

    @property
    def is_done(self) -> bool:
        """Whether the load has ended, one way or the other."""
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Discard what the load returns, now or later."""
        with self._lock:
            self._abandoned = True
            result, self._result = self._result, None
        if result is not None:
            self._discard(result)

    def wait(self, limit_s: float, is_canceled: Callable[[], bool] = lambda: False) -> LoadedT:
        """Return the result, or raise what the load raised.

        Args:
            limit_s: seconds since the beginning after which the load is abandoned.
            is_canceled: asked a few times a second; True abandons the load.

        Raises:
            AdcpError: it was abandoned.
        """
        while not self.is_done and self.elapsed_s < limit_s and not is_canceled():
            self._thread.join(min(_POLL_S, max(limit_s - self.elapsed_s, 0.0)))
        with self._lock:
            error, self._error = self._error, None
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # a circle with this frame would keep the node's executor until after ROS
            result, self._result = self._result, None
            self._abandoned = True
        if result is not None:
            return result
        if is_canceled():
            raise AdcpError(f"loading was canceled after {self.elapsed_s:.1f} s")
        raise AdcpError(f"not loaded after {self.elapsed_s:.1f} s (load_timeout_s is {limit_s:g})")

    def _run(self) -> None:
        result = error = None
        # Who loads may hold this object, and a circle would keep models until the next full collection.
        load, self._load = self._load, None
        assert load is not None
        try:
            with PROCESS_WATCHDOG.loading():
                result = load()
        except BaseException as raised:  # handed on to the one who waits
            error = raised
        del load
        with self._lock:
            if not self._abandoned:
                self._result, self._error = result, error
                del error  # see wait()
                return
        if result is not None:
            self._discard(result)
