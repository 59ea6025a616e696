# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A camera before a guarded detection node, and what the node says of its guard."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import Image

from ad_compressed_perception.messages.timing import reports_of
from support.models import draw_scene
from support.ros import Recorder, image_message

NODE = "/detection"


class Camera:
    """Publishes a frame when the one before is completed; returns its report, and keeps all."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._publisher = recorder.node.create_publisher(Image, "/image", 1)
        recorder.wait_for(self._publisher.get_subscription_count)
        recorder.wait_for(lambda: recorder.node.count_publishers(f"{NODE}/timing"))
        self.sent = 0
        self.reports: list[Any] = []

    def send(self) -> Any:
        stamp_ns = time.time_ns()
        self._publisher.publish(image_message(draw_scene(self.sent), stamp_ns))
        self.sent += 1
        self.reports.append(self._recorder.wait_for(lambda: self._report(stamp_ns)))
        return self.reports[-1]

    def _report(self, stamp_ns: int) -> Any:
        for message in self._recorder.received[f"{NODE}/timing"]:
            for report in reports_of(message):
                if report.timing.stamp_ns == stamp_ns:
                    return report
        return None

    def send_until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < end
            self.send()
            time.sleep(0.02)


def state(recorder: Recorder) -> dict[str, str]:
    received = recorder.received[f"{NODE}/availability"]
    return {pair.key: pair.value for pair in received[-1].values} if received else {}
