# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A further duty of an inference node, such as its guard: parameters, topics and a look at every frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.frame_health import Problems
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer


class NodePart:
    """Does nothing; a part overrides what it needs. The node calls these methods, in the order of its parts.

    Attributes:
        options_type: its fields are live parameters of the node; None: no parameters.
    """

    options_type: ClassVar[type[StrictModel] | None] = None

    def configure(self) -> None:
        """Create topics and load models, after the node's own; what it raises refuses the transition."""

    def activate(self) -> None:
        """Begin, before frames come; what it raises refuses the transition."""

    def deactivate(self) -> None:
        """End, after the last frame; may be called in any state."""

    def cleanup(self) -> None:
        """Release what configure() made; may be called in any state."""

    def before_answer(self, frame: Frame, arrival: Arrival) -> None:
        """Look at a frame before the primary does, which waits; in the worker's thread. Raises are logged."""

    def after_frame(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        """Look at a frame whose result is published; in the worker's thread. What it raises is logged."""

    def watch(self, now_s: float) -> None:
        """Do what is due; in the watch's thread, ten times a second. ``now_s``: monotonic seconds."""

    def check(self, values: Mapping[str, Any]) -> None:
        """Look at parameters before they are set, after all other checks; raise AdcpError to refuse them."""

    def apply(self, names: Collection[str]) -> None:
        """Let parameters of these names take effect, which were set."""

    def settings_changed(self) -> None:
        """Note that a user set settings of the task, before they take effect."""

    def problems(self) -> Problems:
        """Return what is wrong, for /diagnostics."""
        return []

    def values(self) -> dict[str, str]:
        """Return figures for /diagnostics."""
        return {}
