# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the images of ``~/side_by_side/compressed`` cost: ``python benchmark/side_by_side.py [--live S]``.

Prints the processor time of an image (decoding, comparing, drawing, encoding; one thread) by task and size.
With ``--live`` a monitor of three tasks gets results of both sides at 20 Hz, 640x480, from another process, S
seconds with a viewer and S without, alternately; it needs ROS 2. Printed are medians over the turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.report.comparison_image import Row, Side, draw_comparison
from ad_compressed_perception.tasks.planning import arc_points

LABELS = {"detection": ("car", "person"), "segmentation": ("background", "road", "curb", "marking")}
TASKS = ("detection", "segmentation", "planning")
SIDES = ("baseline", "compressed")
_TURNS = 4


def frame(width: int, height: int) -> np.ndarray:
    """Return (H, W, 3) uint8: blocks of noise, which a JPEG takes about as many bytes for as for a road."""
    noise = np.random.default_rng(0).integers(0, 255, (height // 24, width // 24, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def results(width: int, height: int, seed: int) -> dict[str, Result]:
    """Return a result of each task: 10 boxes, four labels, 20 points."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, height - 60, (10, 2))
    ids = np.zeros((height, width), np.uint8)
    ids[height // 2 :, width // 6 + 9 * seed : -width // 6] = 1
    ids[height // 2 :, -width // 6 : -width // 8] = 2
    ids[height // 2 :, width // 2 : width // 2 + 8] = 3
    return {
        "detection": Detections(
            np.concatenate([corners, corners + 50], 1).astype(np.float32),
            np.full(10, 0.5, np.float32),
            np.zeros(10, np.int64),
            LABELS["detection"],
        ),
        "segmentation": LabelMask(ids, LABELS["segmentation"]),
        "planning": Trajectory(*arc_points(0.01 * seed, 30.0, 20), 0.01 * seed, 10.0),
    }


def cost_ms(tasks: Sequence[str], width: int, height: int, images: int = 15) -> float:
    """Return the median processor time of an image with a row for each task, ms."""
    jpeg = np.frombuffer(encode_jpeg(frame(width, height)), np.uint8)
    one, other = results(width, height, 0), results(width, height, 1)
    rows = [Row(task, Side("baseline", one[task]), Side("compressed", other[task])) for task in tasks]
    times = []
    for _ in range(images):
        begin = time.thread_time()
        bgr = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
        encode_jpeg(draw_comparison(bgr, rows, headline="frame", panel_width=480), 85)
        times.append((time.thread_time() - begin) * 1e3)
    return float(np.median(times))


def publish_results() -> None:
    """Publish a camera and the results of both sides at 20 Hz until the process is ended."""
    import rclpy
    from nav_msgs.msg import Path
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header
    from vision_msgs.msg import Detection2DArray, LabelInfo

    from ad_compressed_perception.messages import detection, planning, segmentation
    from ad_compressed_perception.messages.timing import ns_to_stamp
    from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS

    rclpy.init()
    node = rclpy.create_node("results")
    camera = node.create_publisher(CompressedImage, "/image/compressed", 5)
    jpeg = CompressedImage(format="jpeg", data=encode_jpeg(frame(640, 480)))
    kinds = (("detections", Detection2DArray), ("mask", Image), ("trajectory", Path))
    publishers = {
        side: [
            node.create_publisher(kind, f"/{side}/{task}/{name}", RESULT_QOS)
            for task, (name, kind) in zip(TASKS, kinds, strict=True)
        ]
        for side in SIDES
    }
    latched = [
        (node.create_publisher(LabelInfo, f"/{side}/{task}/label_info", LATCHED_QOS), labels)
        for side in SIDES
        for task, labels in LABELS.items()
    ]
    for publisher, labels in latched:
        publisher.publish(detection.label_info(labels, Header()))
    found = {side: list(results(640, 480, place).values()) for place, side in enumerate(SIDES)}
    next_s = time.monotonic()
    while True:
        jpeg.header = Header(stamp=ns_to_stamp(time.time_ns()), frame_id="camera")
        camera.publish(jpeg)
        for side in SIDES:
            boxes, mask, path = found[side]
            publishers[side][0].publish(detection.serialize(boxes, jpeg.header))
            publishers[side][1].publish(segmentation.serialize(mask, jpeg.header))
            publishers[side][2].publish(planning.serialize_path(path, jpeg.header.stamp, "base_link"))
        next_s += 0.05
        time.sleep(max(0.0, next_s - time.monotonic()))


def measure_live(turn_s: float) -> None:
    """Print the monitor's share of a core and the lateness of its callbacks, with and without a viewer."""
    import rclpy
    from rclpy.clock import Clock, ClockType
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import CompressedImage

    from ad_compressed_perception.nodes.callback_guard import GuardedExecutor
    from ad_compressed_perception.nodes.latency_monitor_node import LatencyMonitorNode
    from ad_compressed_perception.nodes.run import spin

    rclpy.init()
    given: dict[str, Any] = {f"{task}.baseline": f"/baseline/{task}" for task in TASKS}
    given |= {f"{task}.compressed": [f"/compressed/{task}"] for task in TASKS}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    monitor = LatencyMonitorNode(parameter_overrides=overrides)
    late_ms: list[float] = []
    last_s = [time.monotonic()]

    def tick() -> None:
        now_s = time.monotonic()
        late_ms.append((now_s - last_s[0] - 0.01) * 1e3)
        last_s[0] = now_s

    monitor.create_timer(0.01, tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
    spinning = threading.Thread(target=spin, args=(monitor, GuardedExecutor()))
    spinning.start()
    viewer = rclpy.create_node("viewer")
    looking = SingleThreadedExecutor()
    looking.add_node(viewer)
    images: list[CompressedImage] = []
    measured: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
    comparisons = [one for task in monitor.monitor.tasks.values() for one in task.comparisons.values()]
    time.sleep(5.0)
    for _ in range(_TURNS):
        for watched in (False, True):
            topic = "/latency_monitor/side_by_side/compressed"
            taken = viewer.create_subscription(
                CompressedImage, topic, lambda m: images.append(len(m.data)), 1
            )
            if not watched:
                viewer.destroy_subscription(taken)
            time.sleep(1.5)
            late_ms.clear()
            before = sum(one.compared for one in comparisons), len(images)
            begin_s, used_s = time.monotonic(), time.process_time()
            while time.monotonic() - begin_s < turn_s:
                looking.spin_once(timeout_sec=0.1)
            span_s = time.monotonic() - begin_s
            pairs = sum(one.compared for one in comparisons) - before[0]
            measured[watched].append(
                (
                    (time.process_time() - used_s) / span_s,
                    *np.percentile(late_ms, (50, 99)),
                    pairs / span_s,
                    (len(images) - before[1]) / span_s,
                )
            )
            if watched:
                viewer.destroy_subscription(taken)
    print(
        "| monitor | cores | timer late p50, ms | p99, ms | pairs/s | images/s |\n|---|---|---|---|---|---|"
    )
    for watched, rows in measured.items():
        figures = " | ".join(f"{value:.2f}" for value in np.median(rows, axis=0))
        print(f"| {'watched' if watched else 'not watched'} | {figures} |")
    rclpy.try_shutdown()
    spinning.join()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Print what the images side by side cost.")
    parser.add_argument("--live", type=float, metavar="S", help="also measure a monitor, S seconds a turn")
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    if options.publish:
        publish_results()
    print("| ms of one core an image | 640x480 | 1920x1080 |\n|---|---|---|")
    for name, tasks in (*((task, (task,)) for task in TASKS), ("all three", TASKS)):
        print(f"| {name} | {cost_ms(tasks, 640, 480):.0f} | {cost_ms(tasks, 1920, 1080):.0f} |")
    if options.live:
        other = subprocess.Popen([sys.executable, __file__, "--publish"])
        try:
            measure_live(options.live)
        finally:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
