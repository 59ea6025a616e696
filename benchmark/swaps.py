# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Swaps of the model of a running node under load: ``python -m benchmark.swaps [--task T] [--composed]``.

A node of its own process answers a camera of 20 Hz (640x480 JPEG of the simulated road) with a default model.
First nothing is changed for a while, then its variant is exchanged N times by ``set_parameters``. Every frame
is looked up in the node's ~/timing by its stamp. A frame's delay is its end-to-end time beyond the median of
the variant that answered it; processor time that other programs take is in it, too, so that the frames before
the first swap are printed beside. Memory, files and threads of the process are read half a second after each
swap; "before" and "after" are medians of ten of them. It needs ROS 2.

With ``--composed`` the nodes of all tasks are in one process, on one camera, and exchange at the same time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
RATE_HZ = 20.0
VARIANTS = {
    "detection": ("int8_openvino_small", "int8_onnxruntime"),
    "segmentation": ("baseline", "segmenter_prune_int8"),
    "planning": ("baseline", "prune_int8"),
}
"""Two variants of each default model that keep up with the camera on one core."""
_SETTLED = 10
_PAUSE_S = 0.5
_CONTROL_S = 20.0
_PATIENCE_S = 150.0  # a load is given up after 120 s


@dataclass
class State:
    """Of the node's process."""

    rss_mb: float
    files: int
    threads: int


class Driver:
    """Publishes the camera, records the node's timings and sets its parameters."""

    def __init__(self, tasks: Sequence[str]) -> None:
        """Start ROS and the camera."""
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rcl_interfaces.srv import SetParameters
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CompressedImage

        from ad_compressed_perception.nodes.qos import LATCHED_QOS, TIMING_QOS
        from benchmark.hot_path.frames import camera_frames, images_of

        self.frames = camera_frames(images_of("640x480", 200), "jpeg")
        rclpy.init()
        self.node = rclpy.create_node("swap_driver")
        self._camera = self.node.create_publisher(CompressedImage, "/image/compressed", 10)
        self.sent: list[int] = []
        self.timings: dict[str, list[Any]] = {task: [] for task in tasks}
        self.swaps: dict[str, list[Any]] = {task: [] for task in tasks}
        self._clients = {}
        for task in tasks:
            listen, timings, swaps = self.node.create_subscription, self.timings[task], self.swaps[task]
            listen(DiagnosticArray, f"/{task}/timing", timings.append, TIMING_QOS)
            listen(DiagnosticArray, f"/{task}/swap", swaps.append, LATCHED_QOS)
            self._clients[task] = self.node.create_client(SetParameters, f"/{task}/set_parameters")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._publish, self._spin)]
        for thread in self._threads:
            thread.start()

    def _publish(self) -> None:
        start = time.perf_counter()
        number = 0
        while not self._stop.wait(max(0.0, start + number / RATE_HZ - time.perf_counter())):
            stamp_ns = time.time_ns()
            self.sent.append(stamp_ns)
            self._camera.publish(self.frames[number % len(self.frames)].stamped(stamp_ns))
            number += 1

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def meet(self) -> None:
        """Ask every node for nothing until it answers.

        A client sees a server before the server sees the client, and an answer sent in between is lost.
        """
        from rcl_interfaces.srv import SetParameters

        begin = time.perf_counter()
        asked: dict[str, list[Any]] = {task: [] for task in self._clients}
        while waiting := [task for task, futures in asked.items() if not any(f.done() for f in futures)]:
            if time.perf_counter() - begin > _PATIENCE_S:
                raise TimeoutError(f"{', '.join(waiting)}: no answer to a request for nothing")
            for task in waiting:
                asked[task].append(self._clients[task].call_async(SetParameters.Request()))
            time.sleep(1.0)

    def set_variants(self, names: dict[str, str]) -> dict[str, tuple[str, float]]:
        """Set the variants at once; return for each why it was refused (else empty), and seconds."""
        from rcl_interfaces.msg import Parameter, ParameterValue
        from rcl_interfaces.srv import SetParameters

        begin = time.perf_counter()
        futures, found = {}, {}
        for task, name in names.items():
            given = Parameter(name="variant", value=ParameterValue(type=4, string_value=name))
            futures[task] = self._clients[task].call_async(SetParameters.Request(parameters=[given]))
        while futures:
            time.sleep(0.005)
            took_s = time.perf_counter() - begin
            if took_s > _PATIENCE_S:
                raise TimeoutError(f"no answer to variants {names}")
            for task in [task for task, future in futures.items() if future.done()]:
                result = futures.pop(task).result().results[0]
                found[task] = ("" if result.successful else result.reason), took_s
        return found

    def reports(self, task: str) -> dict[int, Any]:
        """Return a node's report of each frame by its stamp."""
        from ad_compressed_perception.messages.timing import reports_of

        messages = list(self.timings[task])
        return {one.timing.stamp_ns: one for message in messages for one in reports_of(message)}

    def gaps(self, task: str) -> list[int]:
        """Return the published gaps between two models of a node."""
        values = [{each.key: each.value for each in m.status[0].values} for m in self.swaps[task]]
        return [int(each["swap_gap_frames"]) for each in values if each["swap_gap_frames"] != "nan"]

    def close(self) -> None:
        """End ROS."""
        import rclpy

        self._stop.set()
        for thread in self._threads:
            thread.join()
        rclpy.shutdown()


def state_of(process: psutil.Process) -> State:
    """Return memory, files and threads of a process."""
    return State(process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())


def middle(states: list[State]) -> State:
    """Return the medians."""
    return State(
        median(each.rss_mb for each in states),
        int(median(each.files for each in states)),
        int(median(each.threads for each in states)),
    )


def least_rss_mb(states: list[State]) -> list[float]:
    """Return the least memory of each tenth of the swaps.

    A node keeps up to 64 MiB of freed memory for the next images (nodes/memory.py): single values differ by
    that, the least of thirty shows what stays.
    """
    step = max(1, len(states) // 10)
    return [
        round(min(each.rss_mb for each in states[start : start + step]), 1)
        for start in range(0, len(states) - step + 1, step)
    ]


def delays_ms(reports: dict[int, Any], stamps: list[int]) -> list[float]:
    """Return end-to-end times of answered frames beyond the median of their variant."""
    by_variant: dict[str, list[float]] = defaultdict(list)
    answered = [
        (reports[stamp].variant, reports[stamp].timing.end_to_end_ms)
        for stamp in stamps
        if stamp in reports and reports[stamp].timing.outcome == "processed"
    ]
    for variant, time_ms in answered:
        by_variant[variant].append(time_ms)
    medians = {variant: float(np.median(times)) for variant, times in by_variant.items()}
    return [time_ms - medians[variant] for variant, time_ms in answered]


def unanswered(reports: dict[int, Any], stamps: list[int]) -> int:
    """Return how many frames have no result."""
    return sum(stamp not in reports or reports[stamp].timing.outcome != "processed" for stamp in stamps)


def command_of(tasks: Sequence[str], folder: Path) -> list[str]:
    """Return what runs the nodes of some tasks in one process."""
    document: dict[str, Any] = {
        f"/{task}": {
            "ros__parameters": {
                "model": str(REPOSITORY / "models" / f"road_{task}"),
                "transport": "compressed",
                "variant": VARIANTS[task][0],
                "timing_period_s": 0.1,
            }
        }
        for task in tasks
    }
    nodes = [f"{task}_node:/{task}" for task in tasks]
    document["/compose"] = {"ros__parameters": {"nodes": nodes}}
    file = folder / "parameters.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    module = "ad_compressed_perception.nodes.compose"
    return [sys.executable, "-m", module, "--ros-args", "--params-file", str(file)]


def measure(tasks: Sequence[str], swaps: int) -> list[dict[str, Any]]:
    """Run nodes in one process, exchange their variants at the same time and return the figures of each."""
    answered: dict[str, list[tuple[str, float]]] = {task: [] for task in tasks}
    with tempfile.TemporaryDirectory() as folder:
        running = subprocess.Popen(command_of(tasks, Path(folder)), stdout=subprocess.DEVNULL)
        try:
            driver = Driver(tasks)
            begin = time.perf_counter()
            while any(len(driver.reports(task)) < 20 for task in tasks):
                time.sleep(0.2)
                if time.perf_counter() - begin > _PATIENCE_S:
                    raise TimeoutError("no frame was answered")
            driver.meet()
            process = psutil.Process(running.pid)
            control = len(driver.sent)
            alone = state_of(process)
            time.sleep(_CONTROL_S)
            first = len(driver.sent)
            states = []
            for number in range(swaps):
                found = driver.set_variants({task: VARIANTS[task][(number + 1) % 2] for task in tasks})
                for task, one in found.items():
                    answered[task].append(one)
                time.sleep(_PAUSE_S)
                states.append(state_of(process))
            last = len(driver.sent)
            time.sleep(1.5)
            driver.close()
        finally:
            running.terminate()
            running.wait(_PATIENCE_S)
    quiet, swapped = driver.sent[control:first], driver.sent[first:last]
    resources: dict[str, Any] = {
        "alone": vars(alone),
        "before": vars(middle(states[_SETTLED : 2 * _SETTLED])),
        "after": vars(middle(states[-_SETTLED:])),
        "least_rss_mb_by_tenths": least_rss_mb(states),
    }
    return [{**_row(driver, task, answered[task], quiet, swapped), **resources} for task in tasks]


def _row(
    driver: Driver, task: str, answered: list[tuple[str, float]], quiet: list[int], swapped: list[int]
) -> dict[str, Any]:
    reports, gaps = driver.reports(task), driver.gaps(task)
    refusals, times_s = [reason for reason, _ in answered if reason], [took_s for _, took_s in answered]
    late_quiet, late = delays_ms(reports, quiet), delays_ms(reports, swapped)
    return {
        "task": task,
        "swaps": len(answered) - len(refusals),
        "refused": refusals,
        "frames": len(swapped),
        "unanswered": unanswered(reports, swapped),
        "unanswered_before": f"{unanswered(reports, quiet)} of {len(quiet)}",
        "gap_frames": sum(gaps),
        "gaps_known": len(gaps),
        "delay_p99_ms": round(float(np.percentile(late, 99)), 1),
        "delay_max_ms": round(max(late), 1),
        "delay_p99_before_ms": round(float(np.percentile(late_quiet, 99)), 1),
        "delay_max_before_ms": round(max(late_quiet), 1),
        "later_than_a_period": sum(each > 1e3 / RATE_HZ for each in late),
        "swap_s_p50": round(median(times_s), 2),
        "swap_s_max": round(max(times_s), 2),
    }


def main() -> None:
    """Measure and print one table row a task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=sorted(VARIANTS), action="append")
    parser.add_argument("--swaps", type=int, default=300, help="at least 20")
    parser.add_argument(
        "--composed", action="store_true", help="the nodes of all tasks in one process, at once"
    )
    given = parser.parse_args()
    tasks, swaps = given.task or sorted(VARIANTS), max(given.swaps, 2 * _SETTLED)
    for together in [tasks] if given.composed else [[task] for task in tasks]:
        for row in measure(together, swaps):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
