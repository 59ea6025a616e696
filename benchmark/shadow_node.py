# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node with a shadow in a process of its own, a camera for it, and the figures that it publishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ad_compressed_perception.core.errors import DataError
from benchmark.hot_path.frames import CameraFrame, camera_frames, images_of

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("planning", "segmentation", "detection")
SIZE = "640x480"
_START_S = 60.0


class ShadowedNode:
    """Sends camera frames to the node and keeps its last figures."""

    def __init__(self, task: str, frames: Sequence[CameraFrame]) -> None:
        """Connect to the running node of a task."""
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CompressedImage

        from ad_compressed_perception.nodes.qos import LATCHED_QOS

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("shadow_benchmark", context=self._context)
        self._camera = self._node.create_publisher(CompressedImage, "/image/compressed", 5)
        self._frames, self._sent = frames, 0
        self.figures: dict[str, str] = {}
        topic = f"/{task}/shadow/figures"
        self._node.create_subscription(DiagnosticArray, topic, self._take, LATCHED_QOS)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def _take(self, message: Any) -> None:
        self.figures = {pair.key: pair.value for pair in message.status[0].values}

    def drive(self, rate_hz: float, limit_s: float, until: Callable[[dict[str, str]], bool]) -> None:
        """Send frames at a rate until the figures meet a condition; raises DataError after ``limit_s``."""
        began_s, first = time.monotonic(), self._sent
        while not until(self.figures):
            due_s = began_s + (self._sent - first) / rate_hz
            while (left_s := due_s - time.monotonic()) > 0.0:
                self._executor.spin_once(timeout_sec=left_s)
            if time.monotonic() - began_s > limit_s:
                raise DataError(f"waited {limit_s:.0f} s in vain; last figures: {self.figures}")
            frame = self._frames[self._sent % len(self._frames)]
            self._camera.publish(frame.stamped(time.time_ns()))
            self._sent += 1

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


@contextmanager
def shadowed_node(task: str, parameters: Mapping[str, Any], images: int = 60) -> Iterator[ShadowedNode]:
    """Start the node of a task with these parameters beside its model and the transport."""
    frames = camera_frames(images_of(SIZE, images), "jpeg")
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        file = Path(folder) / "node.yaml"
        values = {"model": str(ROOT / "models" / f"road_{task}"), "transport": "compressed", **parameters}
        file.write_text(yaml.safe_dump({f"/{task}": {"ros__parameters": values}}))
        module = f"ad_compressed_perception.nodes.{task}_node"
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", "--params-file", str(file)],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": paths},
        )
        node = ShadowedNode(task, frames)
        try:
            node.drive(5.0, _START_S, lambda figures: bool(figures) or process.poll() is not None)
            if process.poll() is not None:
                raise DataError(f"the node ended: {(Path(folder) / 'log').read_text().strip()[-400:]}")
            yield node
        finally:
            node.close()
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
