# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures what the guard and the drift alarms of a node cost: share of a core, and the age of its results.

    python benchmark/drift_cost.py                              the default models, five minutes
    python benchmark/drift_cost.py --tasks planning --quick     half a minute

Two nodes of a model, each a process of its own, get a drive of 640x480 JPEG at 20 Hz, alternating: one has
neither guard nor drift alarms; the other has a loaded fallback, a limit of time, a deadline and held results,
and its parameter ``drift`` is switched between blocks. So all three are measured under the same conditions; a
block's CPU time is that of the process, divided by the results and multiplied by 20 Hz, since a busy computer
drops frames. The reference is learned from a drive of the same kind. Prints the medians over the blocks and
writes drift_cost.json; ``statistics_alone_cores`` is the time of a process that compares frames and does
nothing else.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from ad_compressed_perception.analysis.drift_learner import DriftLearner
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.drift.drift_watch import DriftWatch
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.replay.environment import replay_environment
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.default_models import default_models
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.store_references import store_references

WIDTH, HEIGHT, IMAGES = 640, 480, 40
RATE_HZ = 20.0
LEARNED_S = 62
SETTLE_S = 1.0
TARGET = 0.03
VARIANTS = {"planning": "prune_int8", "segmentation": "int8_small", "detection": "int8_openvino_small"}
CONDITIONS = ("neither", "guard", "guard and drift")
GUARDED = {
    "fallback_variant": "baseline",
    "frame_timeout_ms": 500.0,
    "deadline_ms": 200.0,
    "hold_last_ms": 300.0,
}


def main() -> int:
    """Measure and print; return 1 where no frame was compared or the target is not met."""
    parser = argparse.ArgumentParser(
        description="Measure what the guard and the drift alarms of a node cost."
    )
    parser.add_argument("--tasks", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seconds", type=float, default=6.0, help="of a block")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each of the three conditions")
    parser.add_argument("--quick", action="store_true", help="two rounds of four seconds")
    parser.add_argument("--out", type=Path, default=Path("adcp_work/drift_cost"), help="folder to write to")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 4.0, 2
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for task in options.tasks:
        with tempfile.TemporaryDirectory() as folder, replay_environment(message_bytes=1 << 18):
            model, reference = _model_with_reference(task, Path(folder) / "model")
            alone = _statistics_share(reference)
            blocks = _measure(task, model, Path(folder), options.seconds, options.rounds)
        results[task] = _summary(blocks, alone)
        shown = {key: value for key, value in results[task].items() if key != "blocks"}
        print(task, json.dumps(shown, indent=2), flush=True)
    (options.out / "drift_cost.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    is_met = all(one["measured"] > 0 and one["added_cores"] <= TARGET for one in results.values())
    return 0 if is_met else 1


def view(index: int) -> NDArray[np.uint8]:
    """Return a frame of a drive, (HEIGHT, WIDTH, 3) BGR: noise and boxes that wander."""
    rng = np.random.default_rng(index)
    image = np.full((HEIGHT, WIDTH, 3), (150, 140, 130), np.uint8)
    image[HEIGHT // 2 :] = 90
    for box in range(6):
        left = int(WIDTH * (box / 6 + 0.05 * np.sin(index / 9.0 + box))) % (WIDTH - 60)
        image[220 : 220 + 20 * (box + 1), left : left + 50] = rng.integers(0, 255, 3)
    return np.clip(image + rng.normal(0.0, 4.0, image.shape), 0, 255).astype(np.uint8)


def _model_with_reference(task: str, folder: Path) -> tuple[Path, DriftReference]:
    name = VARIANTS[task]
    source = load_manifest(next(one for one in default_models() if one.name == f"road_{task}"))
    for each in (name, source.baseline):
        source.variants[each].file = str(source.variant_path(each))
    save_manifest(source.model_copy(update={"drift_reference": None}), folder)
    described = load_manifest(folder, allow_outside=True)
    pipeline = open_pipeline(described, name, options={"threads": 1})
    learner = DriftLearner(pipeline, described.variant(name).sha256, "drift_cost")
    images = [view(index) for index in range(IMAGES)]
    for index in range(LEARNED_S * 10):
        learner.add(Frame(images[index % IMAGES], "BGR", 10**9 + index * 100_000_000))
    pipeline.close()
    reference = learner.build()
    store_references(folder, {name: reference})
    return folder, reference


def _statistics_share(reference: DriftReference) -> float:
    """Return cores that the comparison takes at RATE_HZ, by the time of a process that does nothing else."""
    images = [view(index) for index in range(IMAGES)]
    errors: list[Exception] = []
    watch = DriftWatch(errors.append)
    watch.use(reference, 0.0, 0.1)
    frames = 200
    began_s = time.process_time()
    for index in range(frames):
        before = watch.state.measured
        watch.offer(Frame(images[index % IMAGES], "BGR"), None, index / RATE_HZ)
        # Of a fast camera not each frame is measured.
        end_s = time.monotonic() + 0.02
        while watch.state.measured == before and not errors and time.monotonic() < end_s:
            time.sleep(0.002)
    used_s = time.process_time() - began_s
    watch.stop()
    if errors:
        raise errors[0]
    return used_s / frames * RATE_HZ


@contextmanager
def _node(
    task: str, model: Path, namespace: str, parameters: Mapping[str, Any], log: Path
) -> Iterator[subprocess.Popen[Any]]:
    command = [sys.executable, "-m", f"ad_compressed_perception.nodes.{task}_node", "--ros-args"]
    command += ["-r", f"__ns:=/{namespace}"]
    values = {"model": model, "variant": VARIANTS[task], "allow_outside": "true", "transport": "compressed"}
    for name, value in {**values, **parameters}.items():
        command += ["-p", f"{name}:={value}"]
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20.0)


class _Driver:
    """Sends the drive to one of the nodes, and keeps what they report."""

    def __init__(self, task: str, namespaces: Sequence[str]) -> None:
        # Imported here: the environment must be complete before the middleware loads.
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rcl_interfaces.srv import SetParameters
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CompressedImage

        from ad_compressed_perception.nodes.qos import LATCHED_QOS, image_qos

        self._jpegs = [encode_jpeg(view(index), 90) for index in range(IMAGES)]
        rclpy.init(args=[])
        node = self._node = rclpy.create_node("drift_cost")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._cameras = {
            name: node.create_publisher(
                CompressedImage, f"/{name}/image/compressed", image_qos("best_effort", 5)
            )
            for name in namespaces
        }
        self._clients = {
            name: node.create_client(SetParameters, f"/{name}/{task}/set_parameters") for name in namespaces
        }
        self._count = 0
        self.figures: dict[str, str] = {}
        self.ages_ms: list[float] = []
        self.outcomes: list[str] = []
        for name in namespaces:
            node.create_subscription(DiagnosticArray, f"/{name}/{task}/timing", self._on_timing, 100)
            node.create_subscription(DiagnosticArray, f"/{name}/{task}/drift", self._on_drift, LATCHED_QOS)

    def _on_drift(self, message: Any) -> None:
        found = {one.key: one.value for one in message.status[0].values}
        if "drift_measured" in found:
            self.figures = found

    def _on_timing(self, message: Any) -> None:
        from ad_compressed_perception.messages.timing import reports_of

        for each in reports_of(message):
            self.outcomes.append(each.timing.outcome)
            if each.timing.outcome == "processed":
                self.ages_ms.append(each.timing.end_to_end_ms)

    def play(self, name: str, duration_s: float) -> None:
        """Send frames to one node."""
        from sensor_msgs.msg import CompressedImage

        from ad_compressed_perception.messages.timing import ns_to_stamp

        due_s = time.monotonic()
        end_s = due_s + duration_s
        while due_s < end_s:
            while (left_s := due_s - time.monotonic()) > 0:
                self._executor.spin_once(timeout_sec=left_s)
            message = CompressedImage(format="jpeg", data=self._jpegs[self._count % IMAGES])
            message.header.stamp = ns_to_stamp(time.time_ns())
            self._cameras[name].publish(message)
            self._count, due_s = self._count + 1, due_s + 1.0 / RATE_HZ

    def set_drift(self, name: str, on: bool) -> None:
        """Switch the drift alarms of a node; raises RuntimeError where it does not answer."""
        from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
        from rcl_interfaces.srv import SetParameters

        if not self._clients[name].wait_for_service(90.0):
            raise RuntimeError(f"node {name} did not start")
        value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=on)
        request = SetParameters.Request(parameters=[Parameter(name="drift", value=value)])
        future = self._clients[name].call_async(request)
        for _ in range(30):
            self.play(name, SETTLE_S)
            if future.done():
                break
        answer = future.result().results[0] if future.done() else None
        if answer is None or not answer.successful:
            raise RuntimeError(f"drift was not set: {answer.reason if answer else 'no answer'}")

    def close(self) -> None:
        """Leave the graph."""
        import rclpy

        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()


def _measure(task: str, model: Path, folder: Path, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Return one entry a block; the order of the conditions changes from round to round."""
    found = []
    with ExitStack() as stack:
        nodes = {"plain": {"drift": "false"}, "guarded": GUARDED}
        processes = {
            name: stack.enter_context(_node(task, model, name, options, folder / f"{name}.log"))
            for name, options in nodes.items()
        }
        driver = _Driver(task, list(nodes))
        stack.callback(driver.close)
        for name in nodes:
            driver.set_drift(name, False)
            driver.play(name, 3.0)
        for block in range(len(CONDITIONS) * rounds):
            number = block // len(CONDITIONS)
            condition = CONDITIONS[(block + number) % len(CONDITIONS)]
            name = "plain" if condition == "neither" else "guarded"
            driver.set_drift(name, condition == "guard and drift")
            process = psutil.Process(processes[name].pid)
            driver.ages_ms.clear()
            driver.outcomes.clear()
            before, began_s = process.cpu_times(), time.monotonic()
            driver.play(name, seconds)
            after, wall_s = process.cpu_times(), time.monotonic() - began_s
            used_s = after.user + after.system - before.user - before.system
            found.append(
                {
                    "condition": condition,
                    "cores": used_s / wall_s,
                    "cores_a_result": used_s / max(driver.outcomes.count("processed"), 1) * RATE_HZ,
                    "measured": int(driver.figures.get("drift_measured", 0)),
                    "skipped": int(driver.figures.get("drift_skipped", 0)),
                    "end_to_end_p50_ms": float(np.percentile(driver.ages_ms, 50)),
                    "end_to_end_p99_ms": float(np.percentile(driver.ages_ms, 99)),
                    "outcomes": dict(Counter(driver.outcomes)),
                }
            )
    return found


def _summary(blocks: list[dict[str, Any]], alone: float) -> dict[str, Any]:
    """Return medians of each condition, and of the differences within each round."""
    sides = {name: [one for one in blocks if one["condition"] == name] for name in CONDITIONS}

    def middle(name: str, key: str) -> float:
        return statistics.median(one[key] for one in sides[name])

    def added(one: str, other: str) -> float:
        key = "cores_a_result"
        return statistics.median(b[key] - a[key] for a, b in zip(sides[one], sides[other], strict=True))

    plain, guard, both = CONDITIONS
    return {
        "rate_hz": RATE_HZ,
        **{f"cores, {name}": round(middle(name, "cores_a_result"), 4) for name in CONDITIONS},
        "added_cores": round(added(plain, both), 4),
        "of it guard": round(added(plain, guard), 4),
        "of it drift": round(added(guard, both), 4),
        "statistics_alone_cores": round(alone, 4),
        "end_to_end_p50_ratio": middle(both, "end_to_end_p50_ms") / middle(plain, "end_to_end_p50_ms"),
        "end_to_end_p99_ratio": middle(both, "end_to_end_p99_ms") / middle(plain, "end_to_end_p99_ms"),
        "measured": min(one["measured"] for one in sides[both]),
        "skipped": max(one["skipped"] for one in sides[both]),
        "blocks": blocks,
    }


if __name__ == "__main__":
    sys.exit(main())
