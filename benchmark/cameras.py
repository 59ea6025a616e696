# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras on one session against a session each: ``python -m benchmark.cameras [--quick]``.

For 1, 2, 4 and 6 cameras in three arrangements: ``one`` node with the parameter ``cameras``, ``nodes`` for
each camera in processes of their own, and these ``composed`` in one process. Topics are the same. Two runs:

* overload: every camera sends at ``--rate``, the first one at ``--flood``: frames answered by camera, Jain's
  index of fairness over them (R. Jain, D. Chiu, W. Hawe, 1984), and whether the sums close at the end;
* half of the throughput found there: end-to-end latency by camera.

Memory is that of all processes together after the overload, from ``/proc/PID/smaps_rollup``: PSS, in which a
page that processes share counts in parts, and RSS, in which it counts in each. It needs ROS 2.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.timing import NodeReport
from benchmark.hot_path.frames import CameraFrame, camera_frames, images_of

ROOT = Path(__file__).resolve().parents[1]
ARRANGEMENTS = ("one", "composed", "nodes")
SIZE = "640x480"
_START_S, _END_S, _SETTLE_S = 90.0, 20.0, 1.0


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index: 1 for equal shares, 1 / n where one has all; NaN without any."""
    values = np.asarray(shares, np.float64)
    total = float((values**2).sum()) * len(values)
    return float(values.sum() ** 2 / total) if total else float("nan")


def memory_mb(pids: Sequence[int]) -> dict[str, float]:
    """Return PSS and RSS of processes together, MB (1e6 bytes)."""
    found = {"pss_mb": 0.0, "rss_mb": 0.0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            key, _, rest = line.partition(":")
            if key in ("Pss", "Rss"):
                found[f"{key.lower()}_mb"] += int(rest.split()[0]) * 1024 / 1e6
    return found


class Cameras:
    """Sends frames to all cameras and keeps what the nodes report of each."""

    def __init__(self, task: str, names: Sequence[str], frames: Sequence[CameraFrame]) -> None:
        """Connect."""
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CompressedImage

        from ad_compressed_perception.nodes.qos import TIMING_QOS, image_qos

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("cameras_benchmark", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._frames, self._number = frames, 0
        self.reports: dict[str, list[NodeReport]] = {name: [] for name in names}
        self.sent = dict.fromkeys(names, 0)
        self._publishers = {
            name: self._node.create_publisher(
                CompressedImage, f"/{name}/image/compressed", image_qos("reliable", 50)
            )
            for name in names
        }
        for name in names:
            topic = f"/{name}/{task}/timing"
            self._node.create_subscription(DiagnosticArray, topic, self._taker(name), TIMING_QOS)

    def _taker(self, name: str) -> Any:
        from ad_compressed_perception.messages.timing import reports_of

        return lambda message: self.reports[name].extend(reports_of(message))

    def wait_for_nodes(self, processes: Sequence[subprocess.Popen[Any]]) -> None:
        """Wait until all cameras have a subscription, and a first frame of each was answered."""
        end_s = time.monotonic() + _START_S
        while not all(each.get_subscription_count() for each in self._publishers.values()) or not all(
            self.reports.values()
        ):
            if any(process.poll() is not None for process in processes) or time.monotonic() > end_s:
                raise DataError("the nodes do not start")
            for name in self._publishers:
                if not self.reports[name]:
                    self._send(name)
            self.spin(0.2)

    def _send(self, name: str) -> None:
        self._publishers[name].publish(self._frames[self._number % len(self._frames)].stamped(time.time_ns()))
        self._number += 1
        self.sent[name] += 1

    def spin(self, seconds: float) -> None:
        """Receive for a time."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=left_s)

    def drive(self, rates_hz: Mapping[str, float], seconds: float) -> dict[str, list[NodeReport]]:
        """Send at these rates; return the reports of the frames sent meanwhile, but for the last ones."""
        before = {name: len(reports) for name, reports in self.reports.items()}
        begin_s = time.monotonic()
        phase = {name: place / len(rates_hz) / rates_hz[name] for place, name in enumerate(rates_hz)}
        due = {name: begin_s + phase[name] for name in rates_hz}
        while (now_s := time.monotonic()) < begin_s + seconds:
            name = min(due, key=lambda each: due[each])
            if due[name] <= now_s:
                self._send(name)
                due[name] = max(due[name] + 1.0 / rates_hz[name], now_s - 1.0 / rates_hz[name])
            else:
                self._executor.spin_once(timeout_sec=min(due[name] - now_s, 0.01))
        self.spin(_SETTLE_S)
        return {name: reports[before[name] :] for name, reports in self.reports.items()}

    def deactivate(self, nodes: Sequence[str]) -> None:
        """Deactivate lifecycle nodes, and receive their last reports; raises DataError where one refuses."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
        for node in nodes:
            client = self._node.create_client(ChangeState, f"{node}/change_state")
            if not client.wait_for_service(timeout_sec=_END_S):
                raise DataError(f"{node} is not there")
            self.spin(_SETTLE_S)  # the server has to know of the client, too
            answer = client.call_async(request)
            self._executor.spin_until_future_complete(answer, timeout_sec=_END_S)
            if not answer.done() or not answer.result().success:
                raise DataError(f"{node} was not deactivated")
        self.spin(_SETTLE_S)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


@contextmanager
def running(
    arrangement: str, task: str, names: Sequence[str], values: Mapping[str, Any]
) -> Iterator[list[subprocess.Popen[Any]]]:
    """Start the nodes of an arrangement."""
    parameters: dict[str, Any] = {"/**": {"ros__parameters": dict(values)}}
    calls: list[tuple[str, list[str]]] = []
    if arrangement == "one":
        parameters[f"/{task}"] = {"ros__parameters": {"cameras": list(names)}}
        calls.append((f"{task}_node", []))
    elif arrangement == "composed":
        entries = [f"{task}_node:/{name}/{task}" for name in names]
        parameters["/compose"] = {"ros__parameters": {"nodes": entries}}
        calls.append(("compose", []))
    else:
        calls += [(f"{task}_node", ["-r", f"__ns:=/{name}"]) for name in names]
    processes: list[subprocess.Popen[Any]] = []
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        file = Path(folder) / "nodes.yaml"
        file.write_text(yaml.safe_dump(parameters))
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        try:
            for executable, more in calls:
                module = f"ad_compressed_perception.nodes.{executable}"
                command = [sys.executable, "-m", module, "--ros-args", *more, "--params-file", str(file)]
                environment = {**os.environ, "PYTHONPATH": paths}
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
            yield processes
        except DataError as error:
            raise DataError(f"{error}: {(Path(folder) / 'log').read_text().strip()[-600:]}") from error
        finally:
            for process in processes:
                process.send_signal(signal.SIGINT)
            for process in processes:
                try:
                    process.wait(_END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def measure(arrangement: str, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of an arrangement."""
    values = {
        "model": str(options.model),
        "variant": options.variant,
        "threads": 1,
        "transport": "compressed",
        "qos_reliability": "reliable",
        "qos_depth": 50,
    }
    cameras = Cameras(options.task, names, camera_frames(images_of(SIZE, 20), "jpeg"))
    found: dict[str, Any] = {"arrangement": arrangement, "cameras": len(names)}
    try:
        with running(arrangement, options.task, names, values) as processes:
            cameras.wait_for_nodes(processes)
            rates = dict.fromkeys(names, options.rate) | {names[0]: options.flood}
            reports = cameras.drive(rates, options.seconds)
            found |= memory_mb([process.pid for process in processes])
            answered = [sum(one.timing.outcome == "processed" for one in reports[name]) for name in names]
            found |= {
                "answered": answered,
                "throughput_hz": sum(answered) / options.seconds,
                "jain": jain(answered),
            }
            calm = min(found["throughput_hz"] / 2.0 / len(names), options.rate)
            if not options.quick:
                reports = cameras.drive(dict.fromkeys(names, calm), options.seconds)
                found |= {
                    "calm_rate_hz": calm,
                    "latency_ms": {name: _latency(reports[name]) for name in names},
                }
            nodes = (
                [f"/{options.task}"]
                if arrangement == "one"
                else [f"/{name}/{options.task}" for name in names]
            )
            cameras.deactivate(nodes)  # what was in work or waited is reported then
        found["sums_close"], found["lost_before_node"] = _sums(cameras, names)
    finally:
        cameras.close()
    return found


def _latency(reports: Sequence[NodeReport]) -> list[float]:
    """Return p50 and p95 of the end-to-end times, ms."""
    times = [one.timing.end_to_end_ms for one in reports if one.timing.outcome == "processed"]
    return [round(float(np.percentile(times, q)), 2) for q in (50, 95)] if times else []


def _sums(cameras: Cameras, names: Sequence[str]) -> tuple[bool, int]:
    """Return whether every received frame of every camera has one outcome, and how many were not received."""
    closes, lost = True, 0
    for name in names:
        totals = [sum(one.counts.values()) for one in cameras.reports[name]]
        last = max(cameras.reports[name], key=lambda one: sum(one.counts.values()))
        # After the deactivation nothing is pending; from the first report that came on each came once.
        closes &= last.received == max(totals) and sorted(totals) == list(range(min(totals), max(totals) + 1))
        lost += cameras.sent[name] - last.received
    return closes, lost


def main() -> None:
    """Print a table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cameras", default="1,2,4,6")
    parser.add_argument("--arrangements", default=",".join(ARRANGEMENTS))
    parser.add_argument("--task", default="detection")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road_detection")
    parser.add_argument("--variant", default="")
    parser.add_argument("--rate", type=float, default=60.0, help="of each camera in the overload, Hz")
    parser.add_argument("--flood", type=float, default=100.0, help="of the first camera, Hz")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--quick", action="store_true", help="six cameras, no latencies")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/cameras.json"))
    options = parser.parse_args()
    counts = [6] if options.quick else [int(each) for each in options.cameras.split(",")]
    found = []
    print("| cameras | arrangement | PSS, MB | RSS, MB | answered a second | Jain | sums close | lost |")
    print("|---|---|---|---|---|---|---|---|")
    for count in counts:
        names = [f"camera_{number}" for number in range(1, count + 1)]
        for arrangement in options.arrangements.split(","):
            one = measure(arrangement, names, options)
            found.append(one)
            print(
                f"| {count} | {arrangement} | {one['pss_mb']:.0f} | {one['rss_mb']:.0f} | "
                f"{one['throughput_hz']:.1f} | {one['jain']:.4f} | {one['sums_close']} | "
                f"{one['lost_before_node']} |",
                flush=True,
            )
    for one in found:
        if one.get("latency_ms"):
            times = "; ".join(f"{p50:g} / {p95:g}" for p50, p95 in filter(None, one["latency_ms"].values()))
            rate = f"{one['calm_rate_hz']:.1f} Hz each"
            print(f"{one['cameras']} {one['arrangement']}, {rate}, ms p50/p95: {times}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
