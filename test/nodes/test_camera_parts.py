# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A part for each camera: frames go to their camera's part, and what is wrong is named by camera."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes.camera_parts import CameraParts
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer

FRAME = Frame(np.zeros((4, 4, 3), np.uint8), "BGR")
ANSWER: Any = Answer(SimpleNamespace(), {}, SimpleNamespace())  # type: ignore[arg-type]


class Stamps(NodePart):
    """Finds a stamp that is earlier than the one before, as drift and others find changes."""

    def __init__(self, camera: str) -> None:
        self.camera, self.last_ns, self.found = camera, 0, 0

    def after_frame(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        self.found += arrival.stamp_ns < self.last_ns
        self.last_ns = arrival.stamp_ns

    def problems(self) -> Problems:
        return [(Level.WARN, f"{self.found} went back")] if self.found else []

    def values(self) -> dict[str, str]:
        return {"last_ns": str(self.last_ns)}


def test_each_camera_is_compared_with_itself_and_named() -> None:
    names = ["front", "left"]
    parts = CameraParts(None, Stamps, lambda: names)
    parts.configure()
    for number in range(10):  # left is an hour behind, which is no jump
        parts.after_frame(FRAME, Arrival(None, 10**12 + number, 0.0, 0.0, "front"), ANSWER)
        parts.after_frame(FRAME, Arrival(None, number, 0.0, 0.0, "left"), ANSWER)
    assert parts.problems() == []
    assert parts.values() == {"front.last_ns": str(10**12 + 9), "left.last_ns": "9"}
    parts.after_frame(FRAME, Arrival(None, 5, 0.0, 0.0, "left"), ANSWER)
    assert parts.problems() == [(Level.WARN, "left: 1 went back")]


def test_one_camera_without_a_name_is_as_before_and_history_outlives_an_equal_configure() -> None:
    names = [""]
    parts = CameraParts(None, Stamps, lambda: names)
    parts.configure()
    parts.after_frame(FRAME, Arrival(None, 5, 0.0), ANSWER)
    parts.after_frame(FRAME, Arrival(None, 4, 0.0), ANSWER)
    assert parts.problems() == [(Level.WARN, "1 went back")]
    assert parts.values() == {"last_ns": "4"}
    parts.configure()
    assert parts.parts[""].found == 1
    names[:] = ["front"]
    parts.configure()
    assert parts.problems() == []
