# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A thread that looks at the frame in work when its time is up; it needs no word of each frame. No ROS."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic, sleep

_LOGGER = logging.getLogger(__name__)
_STOP_LIMIT_S = 1.0
_STALL_S = 0.1


class FrameTimeout:
    """Calls a function that returns the seconds until it is to be called again; infinite: after wake()."""

    def __init__(self, look: Callable[[], float]) -> None:
        """Begin."""
        self._look = look
        self._woken = Event()
        self._is_stopped = False
        self._thread = Thread(target=self._run, name="adcp-timeout", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread."""
        self._is_stopped = True
        self._woken.set()
        self._thread.join(_STOP_LIMIT_S)

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                wait_s = self._look()
            except Exception:
                # Later frames may hang, too.
                _LOGGER.exception("looking at the frame in work failed")
                wait_s = 0.1
            begin_s = monotonic()
            is_woken = self._woken.wait(None if wait_s == float("inf") else max(wait_s, 0.001))
            self._woken.clear()
            if not is_woken and monotonic() - begin_s - wait_s > _STALL_S:
                sleep(_STALL_S)  # the whole process stood still: the frame in work gets time to go on
