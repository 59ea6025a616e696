# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures what the latency monitor costs, against a node that receives the same topics and does nothing.

    python benchmark/monitor_cost.py                 two minutes; --quick: half a minute
    python benchmark/monitor_cost.py --seconds 60 --rate 30

Three tasks with two nodes each are played by one process at 20 Hz: masks of 640x480, eight detections, paths
of 20 poses, and timing messages, frame by frame ("each") or in batches as the nodes send them ("batched").
Monitor and receiver get them at the same time, under the same conditions. CPU time is that of their
processes. Writes monitor_cost.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.core.timing import OUTCOMES, STAGES, FrameCounters, FrameTiming
from ad_compressed_perception.replay.environment import replay_environment

TASKS = {"detection": "detections", "segmentation": "mask", "planning": "trajectory"}
SIDES = ("baseline", "compressed")
LABELS = {"detection": ("car", "person"), "segmentation": ("road", "lane", "other"), "planning": ()}
WIDTH, HEIGHT = 640, 480
CASES: dict[str, dict[str, Any]] = {
    "each": {"timing_period_s": 0.0, "monitor": {"read_period_s": 0.0}},
    "batched": {"timing_period_s": None, "monitor": {}},
}
"""Name to how the messages come and are read; None and nothing given: as shipped."""


def main() -> int:
    """Measure and print; return 1 where the monitor compared nothing."""
    parser = argparse.ArgumentParser(description="Measure what the latency monitor costs.")
    parser.add_argument("role", nargs="?", choices=("measure", "publish", "receive"), default="measure")
    parser.add_argument("--rate", type=float, default=20.0, help="frames a second")
    parser.add_argument("--seconds", type=float, default=25.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each case")
    parser.add_argument("--quick", action="store_true", help="one run of 8 seconds each")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/monitor_cost"), help="folder to write to")
    parser.add_argument("--timing-period", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "publish":
        return publish(options.rate, options.timing_period)
    if options.role == "receive":
        return receive()
    if options.quick:
        options.seconds, options.rounds = 8.0, 1
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, replay_environment(message_bytes=1 << 20):
        try:
            results = [
                turn(name, options.rate, options.seconds, Path(folder))
                for _ in range(options.rounds)
                for name in CASES
            ]
        except DataError as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
    (options.out / "monitor_cost.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(render(results))
    return 0 if all(min(each["pairs"].values(), default=0) > 0 for each in results) else 1


def turn(name: str, rate_hz: float, seconds: float, folder: Path) -> dict[str, Any]:
    """Run monitor and receiver on one case; return their cores and what the monitor compared."""
    case = CASES[name]
    parameters: dict[str, Any] = dict(case["monitor"])
    for task in TASKS:
        parameters[task] = {"baseline": f"/baseline/{task}", "compressed": [f"/compressed/{task}"]}
    report = folder / "report.json"
    parameters["report_path"] = str(report)
    file = folder / "monitor.yaml"
    file.write_text(yaml.safe_dump({"latency_monitor": {"ros__parameters": parameters}}))
    me = [sys.executable, __file__]
    publish_arguments = ["publish", "--rate", str(rate_hz)]
    if case["timing_period_s"] is not None:
        publish_arguments += ["--timing-period", str(case["timing_period_s"])]
    monitor = [sys.executable, "-m", "ad_compressed_perception.nodes.latency_monitor_node"]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("w"))
        processes = {
            key: stack.enter_context(_running(command, log))
            for key, command in {
                "monitor": [*monitor, "--ros-args", "--params-file", str(file)],
                "receiver": [*me, "receive"],
                "publisher": [*me, *publish_arguments],
            }.items()
        }
        time.sleep(6.0)  # imports, discovery, and the first pairs
        watched = {key: psutil.Process(process.pid) for key, process in processes.items()}
        before = {key: _cpu_s(process) for key, process in watched.items()}
        began = time.monotonic()
        time.sleep(seconds)
        wall_s = time.monotonic() - began
        for key, process in processes.items():
            if process.poll() is not None:
                raise DataError(f"the {key} ended: {(folder / 'log').read_text().strip()[-400:]}")
        used = {key: (_cpu_s(process) - before[key]) / wall_s for key, process in watched.items()}
    written = json.loads(report.read_text())
    compared = {task: each["comparison"]["compressed"] for task, each in written["tasks"].items()}
    return {
        "case": name,
        "rate_hz": rate_hz,
        "seconds": seconds,
        "cores": used,
        "ratio": used["monitor"] / used["receiver"],
        "pairs": {task: each["pairs"] for task, each in compared.items()},
        "unpaired": {task: each["unpaired"] for task, each in compared.items()},
        "reports_lost": {
            task: sum(variant["reports_lost"] for variant in each["variants"].values())
            for task, each in written["tasks"].items()
        },
    }


def render(results: Sequence[dict[str, Any]]) -> str:
    """Return a table, ratios first."""
    lines = [
        "| timing messages | monitor / receiver | monitor, cores | receiver, cores | pairs | unpaired "
        "| reports lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in results:
        counts = [sum(each[key].values()) for key in ("pairs", "unpaired", "reports_lost")]
        cells = [each["case"], f"{each['ratio']:.2f}"]
        cells += [f"{each['cores'][key]:.3f}" for key in ("monitor", "receiver")]
        lines.append(f"| {' | '.join([*cells, *map(str, counts)])} |")
    return "\n".join(lines)


class _running:  # noqa: N801
    """A process that is stopped at the end, as by Ctrl-C."""

    def __init__(self, command: Sequence[str], log: Any) -> None:
        root = Path(__file__).resolve().parents[1]
        paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": paths}
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def receive() -> int:
    """Subscribe to everything as a plain node does, and do nothing with it."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import ExternalShutdownException

    from ad_compressed_perception.nodes.node_subscriptions import RESULT_TOPICS
    from ad_compressed_perception.nodes.qos import RESULT_QOS, TIMING_QOS

    rclpy.init()
    node = rclpy.create_node("receiver")
    for side in SIDES:
        for task, name in TASKS.items():
            full = f"/{side}/{task}"
            node.create_subscription(DiagnosticArray, f"{full}/timing", lambda _: None, TIMING_QOS)
            kind = RESULT_TOPICS[task].message_type
            node.create_subscription(kind, f"{full}/{name}", lambda _: None, RESULT_QOS)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    return 0


def publish(rate_hz: float, timing_period_s: float | None) -> int:
    """Publish what six nodes publish, until stopped."""
    import rclpy
    from rclpy.executors import ExternalShutdownException

    rclpy.init()
    node = rclpy.create_node("six_nodes")
    players = [_Player(node, side, task, timing_period_s) for side in SIDES for task in TASKS]
    try:
        began, number = time.monotonic(), 0
        while rclpy.ok():
            number += 1
            stamp_ns = time.time_ns()
            for player in players:
                player.play(stamp_ns, number)
            time.sleep(max(began + number / rate_hz - time.monotonic(), 0.0))
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    return 0


class _Player:
    """The topics of one node."""

    def __init__(self, node: Any, side: str, task: str, timing_period_s: float | None) -> None:
        from std_msgs.msg import Header

        from ad_compressed_perception.messages import detection
        from ad_compressed_perception.nodes.node_subscriptions import RESULT_TOPICS
        from ad_compressed_perception.nodes.options import StartOptions
        from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS
        from ad_compressed_perception.nodes.timing_publisher import TimingPublisher

        full = f"/{side}/{task}"
        topic = RESULT_TOPICS[task]
        header = Header(frame_id="camera")
        self._results = node.create_publisher(topic.message_type, f"{full}/{topic.name}", RESULT_QOS)
        self._bytes = bytearray(_serialized(task, header, 0 if side == "baseline" else 1))
        if LABELS[task]:
            self._labels = node.create_publisher(detection.LabelInfo, f"{full}/label_info", LATCHED_QOS)
            self._labels.publish(detection.label_info(LABELS[task], header))
        period_s = StartOptions().timing_period_s if timing_period_s is None else timing_period_s
        self._timing = TimingPublisher(node, task, period_s, topic=f"{full}/timing", name=full)
        self._timing.texts = {
            "model": f"road_{task}", "variant": side, "backend": "onnxruntime",
            "requested_provider": "cpu", "provider": "CPUExecutionProvider", "precision": "fp32",
        }  # fmt: skip
        self._counters = FrameCounters()

    def play(self, stamp_ns: int, number: int) -> None:
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        self._bytes[4:12] = seconds.to_bytes(4, "little") + nanoseconds.to_bytes(4, "little")
        self._results.publish(bytes(self._bytes))
        self._counters.received += 1
        self._counters.complete("processed")
        stages = {stage: 1.0 + 0.1234567 * index + number % 7 for index, stage in enumerate(STAGES)}
        timing = FrameTiming(stamp_ns, OUTCOMES[0], stages, sum(stages.values()))
        counters = FrameCounters(self._counters.received, dict(self._counters.counts))
        self._timing.add(timing, counters)


def _serialized(task: str, header: Any, shift: int) -> bytes:
    from ad_compressed_perception.messages import detection, planning, segmentation

    if task == "detection":
        corners = np.arange(8, dtype=np.float32)[:, None] * 60.0 + np.array([0.0, 100.0, 50.0 + shift, 180.0])
        boxes = Detections(
            corners.astype(np.float32),
            np.linspace(0.9, 0.4, 8).astype(np.float32),
            np.arange(8) % 2,
            LABELS[task],
        )
        return detection.serialize(boxes, header)
    if task == "segmentation":
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[200 + shift :] = 1
        mask[300:, 300 + 5 * shift : 320] = 2
        return segmentation.serialize(LabelMask(mask, LABELS[task]), header)
    steps = np.arange(1.0, 21.0)
    points = np.stack([steps, 0.01 * (1 + shift) * steps**2], axis=1)
    trajectory = Trajectory(points, np.arctan(0.02 * steps), 0.02, 10.0)
    return planning.serialize_path(trajectory, header.stamp, "base_link")


if __name__ == "__main__":
    sys.exit(main())
