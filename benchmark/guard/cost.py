# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Processor time of the guard: of the worker's thread for played frames, and of all its threads in a node."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.guard.played import RATE_HZ, ROOT, VARIANTS, Car, Played, frames_of

_REPEATS = 5


def of_a_frame(variant: Sequence[Played], baseline: Sequence[Played]) -> dict[str, object]:
    """Return the processor time for a frame with a guard beyond that without one, of frames in turn."""
    cars, spent_ms = (Car(has_standby=False), Car()), ([], [])  # type: tuple[Car, Car], tuple[list[float], ...]
    for repeat in range(_REPEATS):
        for number, (one, other) in enumerate(zip(variant, baseline, strict=True)):
            stamp_ns = round((repeat * len(variant) + number + 1) * 1e9 / RATE_HZ)
            for car, spent in zip(cars, spent_ms, strict=True):
                begin = time.thread_time_ns()
                car.drive(one, other, stamp_ns)
                spent.append((time.thread_time_ns() - begin) / 1e6)
    without, with_guard = (float(np.mean(each)) for each in spent_ms)
    return {
        "ms a frame": round(with_guard - without, 3),
        "p99 ms with a guard": round(float(np.quantile(spent_ms[1], 0.99)), 3),
        "share of a core at 20 Hz": f"{(with_guard - without) * RATE_HZ / 1e3:.2%}",
    }


class _Clock:
    """Processor time of functions by name, whichever thread calls them."""

    def __init__(self) -> None:
        self.spent_ns: dict[str, int] = defaultdict(int)

    def measure(self, owner: Any, name: str) -> None:
        """Measure a method of a class from now on."""
        method = getattr(owner, name)

        def measured(*arguments: Any, **options: Any) -> Any:
            begin = time.thread_time_ns()
            try:
                return method(*arguments, **options)
            finally:
                self.spent_ns[f"{owner.__name__}.{name}"] += time.thread_time_ns() - begin

        setattr(owner, name, measured)


def in_a_node(seconds: float, bag: Path | None) -> dict[str, object]:
    """Return the share of a core that the guard's functions take in a planning node at 20 Hz."""
    import rclpy
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from ad_compressed_perception.image.decode import to_bgr8
    from ad_compressed_perception.messages.image import serialize_image
    from ad_compressed_perception.nodes.guard_part import GuardPart
    from ad_compressed_perception.nodes.planning_node import PlanningNode
    from ad_compressed_perception.serving.constant_outputs import ConstantOutputs
    from ad_compressed_perception.serving.frame_server import FrameServer
    from ad_compressed_perception.serving.guard import Guard
    from benchmark.hot_path.stamps import with_stamp

    clock = _Clock()
    for owner, names in (
        (GuardPart, ("watch", "after_frame", "_look")),
        (FrameServer, ("published",)),
        (Guard, ("judge", "join")),
        (ConstantOutputs, ("see",)),
    ):
        for name in names:
            clock.measure(owner, name)
    context = rclpy.Context()
    rclpy.init(context=context)
    values = {
        "model": str(ROOT / "models" / "road_planning"),
        "variant": VARIANTS["planning"],
        "fallback_variant": "baseline",
        "hold_last_ms": 300.0,
    }
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = PlanningNode(context=context, parameter_overrides=overrides)
    camera = rclpy.create_node("guard_cost", context=context)
    publisher = camera.create_publisher(Image, "/image", 1)
    images = [serialize_image(to_bgr8(one), "bgr8", Header()) for one in frames_of(bag, 50)]
    node.autostart()
    begin, spent = time.monotonic(), time.process_time()
    for number in range(round(seconds * RATE_HZ)):
        publisher.publish(with_stamp(images[number % len(images)], time.time_ns()))
        time.sleep(max(0.0, begin + (number + 1) / RATE_HZ - time.monotonic()))
    took_s, process_s = time.monotonic() - begin, time.process_time() - spent
    counters = node._server.guard.counters()
    node.close()
    node.destroy_node()
    camera.destroy_node()
    context.try_shutdown()
    shares = {name: f"{ns / 1e9 / took_s:.2%}" for name, ns in sorted(clock.spent_ns.items())}
    total = sum(clock.spent_ns.values()) / 1e9 / took_s
    frames = counters["frames_primary"] + counters["frames_standby"]
    return {"frames": frames, **shares, "all": f"{total:.2%}", "process": f"{process_s / took_s:.1%}"}
