# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How long work says how far it is: to a function, which displays it or not."""

from __future__ import annotations

from collections.abc import Callable

Advance = Callable[[int, int], None]
"""Called with how much of one step is done, and of how much; a total of 0 is not known."""
Progress = Callable[[str, int, int], None]
"""Called with the step, and as Advance. What follows a comma in it is a detail of the same step."""


def no_progress(step: str, done: int, total: int) -> None:
    """Display nothing."""


def no_advance(done: int, total: int) -> None:
    """Display nothing, as an Advance."""
