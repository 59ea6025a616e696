# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How long a node takes from the start of its process to its first result, while a camera publishes already.

``python benchmark/node_start.py`` starts the default planner ten times. With ``--kill`` each start follows on
one whose process was ended by SIGKILL, as after a crash. ``--against CHECKOUT`` starts another checkout's
node after each of this one's, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
_TOPIC = "/node_start_benchmark/image_raw"
_RATE_HZ = 20.0
_SIZE = (640, 480)
_PATIENCE_S = 60.0


class Driver:
    """Publishes JPEG images of 640x480 at 20 Hz and waits for the planner's first path."""

    def __init__(self) -> None:
        """Join the graph."""
        import rclpy
        from nav_msgs.msg import Path as PathMessage
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CompressedImage

        from ad_compressed_perception.image.encode import encode_jpeg
        from ad_compressed_perception.nodes.qos import RESULT_QOS, image_qos

        rclpy.init()
        node = rclpy.create_node("node_start_benchmark")
        topic = f"{_TOPIC}/compressed"
        self._publisher = node.create_publisher(CompressedImage, topic, image_qos("best_effort", 1))
        noise = np.random.default_rng(0).integers(0, 256, (_SIZE[1] // 16, _SIZE[0] // 16, 3), np.uint8)
        image = np.ascontiguousarray(noise.repeat(16, 0).repeat(16, 1))
        self._message = CompressedImage(format="bgr8; jpeg compressed bgr8", data=encode_jpeg(image))
        self._first_s: float | None = None
        self._start_ns = 0
        node.create_timer(1.0 / _RATE_HZ, self._publish)
        node.create_subscription(PathMessage, "/planning/trajectory", self._on_path, RESULT_QOS)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def _publish(self) -> None:
        from ad_compressed_perception.messages.timing import ns_to_stamp

        self._message.header.stamp = ns_to_stamp(time.time_ns())
        self._publisher.publish(self._message)

    def _on_path(self, message: Any) -> None:
        stamp = message.header.stamp
        if stamp.sec * 10**9 + stamp.nanosec >= self._start_ns:  # otherwise of the node before
            self._first_s = self._first_s or time.monotonic()

    def spin(self, seconds: float) -> None:
        """Publish for a while."""
        limit_s = time.monotonic() + seconds
        while time.monotonic() < limit_s:
            self._executor.spin_once(timeout_sec=0.05)

    def start_node(self, checkout: Path, model: Path, variant: str, end_by: int) -> tuple[float, float]:
        """Start a node and end it; return seconds and processor seconds up to its first result."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), *sys.path[1:]])}
        command = [sys.executable, "-m", "ad_compressed_perception.nodes.planning_node", "--ros-args"]
        command += ["-p", f"model:={model}", "-p", f"variant:={variant}", "-p", "transport:=compressed"]
        command += ["-r", f"image/compressed:={_TOPIC}/compressed"]
        self._first_s, self._start_ns, start_s = None, time.time_ns(), time.monotonic()
        with subprocess.Popen(
            command, env=environment, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while self._first_s is None and time.monotonic() < start_s + _PATIENCE_S:
                self._executor.spin_once(timeout_sec=0.02)
            times = psutil.Process(process.pid).cpu_times()
            process.send_signal(end_by)
            while process.poll() is None:
                self._executor.spin_once(timeout_sec=0.05)
        if self._first_s is None:
            raise SystemExit(f"error: no result within {_PATIENCE_S:.0f} s: {' '.join(command)}")
        return self._first_s - start_s, times.user + times.system


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description="Time from a node's start to its first result.")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "models" / "road_planning")
    parser.add_argument("--variants", default="baseline,prune_int8", help="names, separated by commas")
    parser.add_argument("--kill", action="store_true", help="after a node that was ended by SIGKILL")
    parser.add_argument("--against", type=Path, help="another checkout, started after this one each time")
    options = parser.parse_args(arguments)
    checkouts = [REPOSITORY, *([options.against.resolve()] if options.against else [])]
    cases = [(variant, checkout) for variant in options.variants.split(",") for checkout in checkouts]
    driver = Driver()
    driver.spin(1.0)
    measured: dict[tuple[str, Path], list[tuple[float, float]]] = {case: [] for case in cases}
    for _ in range(options.runs):
        for variant, checkout in cases:
            start = partial(driver.start_node, checkout, options.model.resolve(), variant)
            if options.kill:  # of the same checkout: what a killed process leaves behind depends on it
                start(signal.SIGKILL)
            measured[variant, checkout].append(start(signal.SIGINT))
            driver.spin(0.5)
    print("variant | checkout | median s | fastest s | slowest s | processor s")
    for (variant, checkout), all_runs in measured.items():
        wall_s, cpu_s = zip(*all_runs, strict=True)
        name = "this" if checkout == REPOSITORY else str(checkout)
        print(
            f"{variant} | {name} | {statistics.median(wall_s):.2f} | {min(wall_s):.2f} | {max(wall_s):.2f} "
            f"| {statistics.median(cpu_s):.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
