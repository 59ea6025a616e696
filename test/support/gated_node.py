# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node whose frames wait until a test lets them go on."""

from __future__ import annotations

from threading import Event
from typing import Any

from ad_compressed_perception.nodes.detection_node import DetectionNode
from support.ros import PATIENCE_S


class GatedNode(DetectionNode):
    """A detection node whose frames wait for a gate before inference."""

    def __init__(self, **arguments: Any) -> None:
        self.entered, self.gate = Event(), Event()
        self.gate.set()
        super().__init__(**arguments)

    def before_frame(self, pipeline: Any, stamp_ns: int) -> None:
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
