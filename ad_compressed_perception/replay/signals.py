# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM during a replay: the first ends it in order, further ones only faster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class EndOnSignal:
    """While entered, the first SIGINT or SIGTERM raises KeyboardInterrupt; the next ones call ``on_second``.

    A second KeyboardInterrupt would end the ending: nodes would be left running. In a thread other than the
    main one nothing changes.

    Attributes:
        on_second: kills what the ending waits for; must not wait itself.
    """

    def __init__(self) -> None:
        """Prepare; the handlers are set when the context is entered."""
        self.on_second: Callable[[], None] = lambda: None
        self._has_begun = self._is_held = self._is_pending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> EndOnSignal:
        """Set the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Set the handlers of before again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._has_begun:
            self.on_second()
            return
        self._has_begun = True
        if self._is_held:
            self._is_pending = True
            return
        raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait until the block has ended: what is being written stays whole."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._is_pending:
            self._is_pending = False
            raise KeyboardInterrupt
