# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Raw images from one process to another: what gets lost, where, and how late the rest arrives.

``python benchmark/transport.py`` publishes 300 images of 1920x1080 at 30 Hz, once with Fast DDS as it comes
and once with config/fastdds_large_images.xml. Where images do not arrive:

* lost in transport: the middleware reports a gap when the next image comes (message_lost), and nothing came
  after the last one that arrived; no history would have kept these;
* displaced: the others; a newer image replaced them in the subscription's history before they were taken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.nodes.options import SetupOptions

REPOSITORY = Path(__file__).resolve().parents[1]
PROFILES = {"default": "", "large_images": str(REPOSITORY / "config" / "fastdds_large_images.xml")}
VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
_TOPIC = "transport_benchmark/image"
_SETTLE_S = 1.0
_PATIENCE_S = 20.0


def receive(frames: int, reliability: str, depth: int, keeps_memory: bool) -> dict[str, Any]:
    """Return what arrives until the camera has ended: {"last", "reported_lost", "latencies_ms"}."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image

    from ad_compressed_perception.nodes.memory import keep_freed_memory
    from ad_compressed_perception.nodes.qos import image_qos
    from ad_compressed_perception.nodes.rclpy_compat import SubscriptionEventCallbacks

    if keeps_memory:
        keep_freed_memory()
    rclpy.init()
    node = rclpy.create_node("transport_benchmark_receiver")
    latencies_ms: list[float] = []
    lost, last = [0], [-1]
    last_s = [time.monotonic() + _PATIENCE_S]

    def on_image(message: Image) -> None:
        stamp = message.header.stamp
        latencies_ms.append((time.time_ns() - stamp.sec * 10**9 - stamp.nanosec) / 1e6)
        last[0], last_s[0] = int(message.header.frame_id), time.monotonic()

    def on_lost(event: Any) -> None:
        lost[0] += event.total_count_change

    node.create_subscription(
        Image,
        _TOPIC,
        on_image,
        image_qos(reliability, depth),
        event_callbacks=SubscriptionEventCallbacks(message_lost=on_lost),
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    print("ready", flush=True)
    while len(latencies_ms) < frames and time.monotonic() < last_s[0] + 2 * _SETTLE_S:
        executor.spin_once(timeout_sec=0.1)
    return {"last": last[0], "reported_lost": lost[0], "latencies_ms": latencies_ms}


def publish(frames: int, rate_hz: float, width: int, height: int, reliability: str) -> None:
    """Publish images once there is a subscriber."""
    import rclpy
    from sensor_msgs.msg import Image

    from ad_compressed_perception.messages.timing import ns_to_stamp
    from ad_compressed_perception.nodes.qos import image_qos

    rclpy.init()
    node = rclpy.create_node("transport_benchmark_camera")
    publisher = node.create_publisher(Image, _TOPIC, image_qos(reliability, 10))
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
    message.data = array("B", bytes(3 * width * height))
    limit_s = time.monotonic() + _PATIENCE_S
    while not publisher.get_subscription_count() and time.monotonic() < limit_s:
        time.sleep(0.01)
    time.sleep(_SETTLE_S)  # the subscriber sees the publisher a moment later
    start_s = time.monotonic()
    for index in range(frames):
        time.sleep(max(start_s + index / rate_hz - time.monotonic(), 0.0))
        message.header.frame_id = str(index)
        message.header.stamp = ns_to_stamp(time.time_ns())
        publisher.publish(message)
    time.sleep(_SETTLE_S)


def run(profile: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run camera and receiver with a profile; return figures in frames and ms."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    environment.pop(VARIABLE, None)
    if PROFILES[profile]:
        environment[VARIABLE] = PROFILES[profile]
    command = [sys.executable, __file__, "--frames", str(options.frames), "--rate", str(options.rate)]
    command += ["--width", str(options.width), "--height", str(options.height)]
    command += ["--reliability", options.reliability, "--depth", str(options.depth)]
    command += ["--malloc", options.malloc, "--role"]
    receiver = subprocess.Popen([*command, "receiver"], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        subprocess.run([*command, "camera"], env=environment, check=True)
        received = json.loads(receiver.communicate(timeout=_PATIENCE_S + 10.0)[0])
    finally:
        receiver.kill()
        receiver.wait()
    return figures(options.frames, received)


def figures(frames: int, received: dict[str, Any]) -> dict[str, Any]:
    """Return counts, shares and percentiles of a run; ``received`` is that of receive()."""
    latencies_ms = np.array(received["latencies_ms"])
    missing = frames - latencies_ms.size
    lost = min(received["reported_lost"] + frames - 1 - received["last"], missing)
    found: dict[str, Any] = {
        "sent": frames,
        "arrived": latencies_ms.size,
        "lost_in_transport": lost,
        "displaced": missing - lost,
        "missing_percent": 100.0 * missing / frames,
    }
    for percentile in (50, 95, 99):
        has_any = latencies_ms.size > 0
        found[f"ms_p{percentile}"] = float(np.percentile(latencies_ms, percentile)) if has_any else None
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(
        description="Raw images between two processes, with and without a profile."
    )
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rate", type=float, default=30.0, help="Hz")
    parser.add_argument("--width", type=int, default=1920, help="pixels")
    parser.add_argument("--height", type=int, default=1080, help="pixels")
    parser.add_argument("--reliability", choices=["best_effort", "reliable"], default="best_effort")
    parser.add_argument(
        "--depth",
        type=int,
        default=SetupOptions.model_fields["qos_depth"].default,
        help="history of the subscription; by default that of the nodes",
    )
    parser.add_argument(
        "--malloc",
        choices=["nodes", "default"],
        default="nodes",
        help="of the receiver; nodes: as the nodes of this package set it",
    )
    parser.add_argument("--profiles", default=",".join(PROFILES), help=f"of {', '.join(PROFILES)}")
    parser.add_argument("--role", choices=["camera", "receiver"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.role == "camera":
        publish(options.frames, options.rate, options.width, options.height, options.reliability)
    elif options.role == "receiver":
        keeps_memory = options.malloc == "nodes"
        print(json.dumps(receive(options.frames, options.reliability, options.depth, keeps_memory)))
    else:
        for profile in options.profiles.split(","):
            print(json.dumps({"profile": profile, **run(profile, options)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
