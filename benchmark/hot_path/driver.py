# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The driver: publishes frames to one target and takes its answers, both as serialized bytes.

It waits on the result topics with one wait set and no executor: little of what it measures is its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import rclpy
from rclpy.callback_groups import CallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.messages import timing
from benchmark.hot_path.arithmetic import cores, pair_by_stamp
from benchmark.hot_path.block import Block, without_collector
from benchmark.hot_path.frames import CameraFrame
from benchmark.hot_path.result_topics import RESULTS, image_topic
from benchmark.hot_path.stamps import stamp_of

_IMAGE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_RESULT_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
_TIMING_QOS = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
DRAIN_S = 1.5
"""How long answers may come after the last frame of a block."""
_TIMINGS_S = 1.5


class _Unspun(CallbackGroup):
    """Subscriptions that no executor waits for."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


class Driver:
    """One ROS node that drives one target after another."""

    def __init__(self) -> None:
        """Start ROS; the environment of the process holds."""
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("hot_path_driver", context=self.context, start_parameter_services=False)
        self.group = _Unspun()

    def close(self) -> None:
        """End ROS."""
        self.node.destroy_node()
        self.context.try_shutdown()


class Connection:
    """Image publisher and result subscriptions of one target."""

    def __init__(
        self, driver: Driver, namespace: str, tasks: Sequence[str], transport: str, *, has_timing: bool
    ) -> None:
        """Publish on /NAMESPACE/image and subscribe to /NAMESPACE/TASK/RESULT.

        Args:
            driver: whose node it is.
            namespace: of the target.
            tasks: each has a node of its name.
            transport: "raw" or "compressed".
            has_timing: whether the nodes report the stages of their frames.
        """
        self._driver, self._tasks = driver, tasks
        kind, topic = image_topic(transport)
        node = driver.node
        self._publisher = node.create_publisher(kind, f"/{namespace}/{topic}", _IMAGE_QOS)
        self._results = {
            task: self._subscribe(RESULTS[task][1], f"/{namespace}/{task}/{RESULTS[task][0]}", _RESULT_QOS)
            for task in tasks
        }
        self._timings = [
            self._subscribe(timing.DiagnosticArray, f"/{namespace}/{task}/timing", _TIMING_QOS)
            for task in (tasks if has_timing else ())
        ]
        self._wait_set = rclpy_implementation.WaitSet(len(tasks), 0, 0, 0, 0, 0, driver.context.handle)
        self.last_answers: dict[str, bytes] = {}

    def _subscribe(self, kind: Any, topic: str, qos: QoSProfile) -> Any:
        return self._driver.node.create_subscription(
            kind, topic, lambda _: None, qos, callback_group=self._driver.group, raw=True
        )

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in (*self._results.values(), *self._timings):
            self._driver.node.destroy_subscription(subscription)
        self._driver.node.destroy_publisher(self._publisher)

    def is_connected(self, subscribers: int) -> bool:
        """Whether as many nodes take the images and one publishes each result, as far as is known here."""
        count = self._driver.node.count_publishers
        return self._publisher.get_subscription_count() >= subscribers and all(
            count(each.topic_name) > 0 for each in (*self._results.values(), *self._timings)
        )

    def run(
        self, frames: Sequence[CameraFrame], rate_hz: float, processes: Sequence[psutil.Process]
    ) -> Block:
        """Publish frames at a rate and return what came back.

        Args:
            frames: in order.
            rate_hz: frames a second.
            processes: whose CPU time is counted.
        """
        sent: dict[int, float] = {}
        answers: dict[str, list[tuple[int, float]]] = {task: [] for task in self._tasks}
        self._discard()
        before_s = _cpu_s(processes)
        with without_collector():
            start = time.perf_counter() + 0.01
            for number, frame in enumerate(frames):
                self._receive(answers, start + number / rate_hz)
                stamp = time.time_ns()
                message = frame.stamped(stamp)
                sent[stamp] = time.perf_counter()
                self._publisher.publish(message)
            self._receive(answers, start + len(frames) / rate_hz)
            used = cores(before_s, _cpu_s(processes), time.perf_counter() - start)
            end = time.perf_counter() + DRAIN_S
            while time.perf_counter() < end and any(len(each) < len(sent) for each in answers.values()):
                self._receive(answers, time.perf_counter() + 0.05)
        account = pair_by_stamp(sent, answers)
        stages = self._stages(list(sent), account.latency_ms) if self._timings else []
        return Block(account.latency_ms, used, stages, account.foreign + account.repeated)

    def answer(self, frame: CameraFrame, limit_s: float) -> bool:
        """Publish one frame and wait for all answers; return whether they came."""
        stamp = time.time_ns()
        answers: dict[str, list[tuple[int, float]]] = {task: [] for task in self._tasks}
        self._publisher.publish(frame.stamped(stamp))
        end = time.perf_counter() + limit_s
        while time.perf_counter() < end:
            self._receive(answers, time.perf_counter() + 0.05)
            if all(any(each == stamp for each, _ in answers[task]) for task in self._tasks):
                return True
        return False

    def _receive(self, answers: Mapping[str, list[tuple[int, float]]], until_s: float) -> None:
        """Take answers until a time."""
        wait_set = self._wait_set
        while (left_s := until_s - time.perf_counter()) > 0.0:
            wait_set.clear_entities()
            for subscription in self._results.values():
                wait_set.add_subscription(subscription.handle)
            wait_set.wait(int(left_s * 1e9))
            for task, subscription in self._results.items():
                while (taken := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                    at_s = time.perf_counter()
                    self.last_answers[task] = taken[0]
                    answers[task].append((stamp_of(taken[0]), at_s))

    def _discard(self) -> None:
        for subscription in (*self._results.values(), *self._timings):
            while subscription.handle.take_message(subscription.msg_type, True) is not None:
                pass

    def _stages(self, stamps: Sequence[int], latency_ms: Sequence[float]) -> list[dict[str, float]]:
        """Return the stages of each frame as its slowest node reports them, and what is left."""
        by_stamp: dict[int, dict[str, float]] = {}
        reported = 0
        end = time.monotonic() + _TIMINGS_S
        while reported < len(stamps) * len(self._timings) and time.monotonic() < end:
            for subscription in self._timings:
                while (taken := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                    for report in _reports(taken[0]):
                        reported += 1
                        stages, stamp = report.timing.stages_ms, report.timing.stamp_ns
                        if sum(stages.values()) > sum(by_stamp.get(stamp, {}).values()):
                            by_stamp[stamp] = stages
            time.sleep(0.02)
        found = []
        for stamp, total_ms in zip(stamps, latency_ms, strict=True):
            stages = dict(by_stamp.get(stamp, {}))
            if stages and total_ms < float("inf"):
                stages["return"] = total_ms - sum(stages.values())
            found.append(stages)
        return found


def _reports(cdr: bytes) -> list[Any]:
    try:
        return timing.reports_of(deserialize_message(cdr, timing.DiagnosticArray))
    except AdcpError:
        return []


def _cpu_s(processes: Sequence[psutil.Process]) -> list[float]:
    found = []
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue  # it ended: the lengths differ, and the share is unknown
        found.append(float(times.user + times.system))
    return found
