# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a node's own status says of its latency; timing messages with levels and steps of the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("diagnostic_msgs")

import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.time import Time

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.timing import FrameTiming, NodeReport
from ad_compressed_perception.messages.timing import reports_of, to_message
from ad_compressed_perception.nodes.frame_age import FrameAge
from ad_compressed_perception.nodes.node_latency import NodeLatency
from ad_compressed_perception.nodes.vehicle_speed import VehicleSpeed

TEXTS = {"model": "tiny", "variant": "int8", "backend": "x", "provider": "cpu", "precision": "int8"}


def test_the_status_of_a_node_is_of_its_primary_and_names_what_it_does_not_know() -> None:
    latency = NodeLatency(now_s=0.0)
    latency.set_deadline(50.0, 0.0)
    levels = ["primary"] * 3 + ["standby"] * 2
    for stamp, level in enumerate(levels, start=1):
        ms = 10.0 if level == "primary" else 45.0
        stages_ms = {"transport_age": 2.0, "infer": ms}
        timing = FrameTiming(stamp, "processed", stages_ms, ms + 2.0, answered_by={**TEXTS, "level": level})
        latency.add(timing, stamp * 0.05)
    for stamp in (6, 7):
        latency.add(FrameTiming(stamp, "failed", {}, reason="x"), stamp * 0.05)
    latency.note_step(-3000.0, 7)

    counts = {"processed": 5, "dropped_stale": 0, "dropped_busy": 0, "failed": 2}
    found = latency.values(0.5, counts, {"infer": 9.0}, None)  # type: ignore[arg-type]
    assert found["by_level"] == "3 primary, 2 standby"
    assert found["budget_infer"] == "p50 20%, p99 20% of the deadline, 9.0 ms allowed", "of the primary alone"
    assert found["over_budget"] == "infer p99 10.0 ms of 9.0"
    assert (found["longest_miss_run"], found["longest_miss_run_stamps_ns"]) == ("2", "6 to 7")
    assert (found["ros_clock_steps"], found["distance_during_p99"]) == (
        "1",
        "unknown: the vehicle's speed is not known",
    )
    assert found["end_to_end_p99_9"].startswith("not enough frames: 3 results, a bound on p99.9 needs 2995")
    assert latency.values(0.5, counts, {}, 0.0)["distance_during_p99"] == "0.00 m at 0.0 m/s"  # type: ignore[arg-type]


def test_another_deadline_forgets_no_gap_and_no_step_of_the_clock() -> None:
    """Failed before: `ros2 param set deadline_ms` hid that the node had been without a result for 10 s."""
    latency = NodeLatency(now_s=0.0)
    latency.add(
        FrameTiming(1, "processed", {"infer": 5.0}, 6.0, answered_by={**TEXTS, "level": "primary"}), 10.0
    )
    latency.note_step(-3000.0, 1)

    latency.set_deadline(50.0, 10.1)

    found = latency.values(10.2, {"processed": 1}, {}, None)  # type: ignore[dict-item]
    assert (found["longest_gap_s"], found["ros_clock_steps"]) == ("10.00", "1")


@pytest.fixture
def node(ros_context: Any) -> Iterator[Node]:
    found = rclpy.create_node("latency_test", context=ros_context)
    yield found
    found.destroy_node()


@pytest.mark.ros
def test_an_age_from_before_a_step_of_the_clock_is_not_known(node: Node) -> None:
    """Failed before: after a jump of /clock ahead, frames on their way had ages of minutes."""
    clock: Any = node.get_clock()
    clock._set_ros_time_is_active(True)
    ages = FrameAge(node, by_publish_time=False)

    def age_at(now_s: int, stamp_s: float) -> float:
        clock.set_ros_time_override(Time(nanoseconds=now_s * 1_000_000_000, clock_type=clock.clock_type))
        for _ in range(100):  # an interrupted reading finds no step: the next one does
            found = ages.of(int(stamp_s * 1e9), None)
            if ages.step_ms or now_s == 100:
                break
        return found

    assert age_at(100, 99.5) == 500.0
    assert math.isnan(age_at(700, 99.9)) and ages.step_ms == 600_000.0
    assert ages.of(int(700e9), None) == 0.0
    age_at(50, 49.0)
    assert ages.step_ms == -650_000.0


@pytest.mark.ros
def test_a_speed_is_known_while_odometry_comes(node: Node, ros_context: Any) -> None:
    assert VehicleSpeed(node, "").now() is None
    speed = VehicleSpeed(node, "odometry")
    assert speed.now() is None, "not 0"
    publisher = node.create_publisher(Odometry, "odometry", 1)
    executor = SingleThreadedExecutor(context=ros_context)
    executor.add_node(node)
    message = Odometry()
    message.twist.twist.linear.x = 12.5
    end_s = time.monotonic() + 30.0
    while speed.now() is None and time.monotonic() < end_s:
        publisher.publish(message)
        executor.spin_once(timeout_sec=0.1)
    assert speed.now() == 12.5
    executor.shutdown()


def test_a_step_of_the_clock_and_the_level_go_through_the_timing_message() -> None:
    timing = FrameTiming(5, "processed", {"infer": 1.0}, 2.0)
    counts = {"processed": 1, "dropped_stale": 0, "dropped_busy": 0, "failed": 0}
    report = NodeReport(
        "/n", "detection", requested_provider="cpu", timing=timing, received=1, counts=counts, **TEXTS
    )  # type: ignore[arg-type]
    sent = replace(report, level="standby", clock_step_ms=-3000.5)
    assert reports_of(to_message(sent)) == [sent]
    with pytest.raises(ResultError, match="level"):
        reports_of(to_message(replace(report, level="whoever")))
