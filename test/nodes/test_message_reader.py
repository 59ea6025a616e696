# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Many topics read together: all that came, in the order of arrival, without a busy executor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Int32

from ad_compressed_perception.nodes.callback_guard import new_failures
from ad_compressed_perception.nodes.message_reader import MessageReader
from ad_compressed_perception.nodes.qos import RESULT_QOS
from support.ros import PATIENCE_S

pytestmark = pytest.mark.ros


@pytest.fixture
def node(ros_context: Any) -> Iterator[Node]:
    node = rclpy.create_node("reading", context=ros_context)
    yield node
    node.destroy_node()


class Spin:
    """Spins a node until a condition holds."""

    def __init__(self, node: Node, ros_context: Any) -> None:
        self._executor = SingleThreadedExecutor(context=ros_context)
        self._executor.add_node(node)

    def until(self, condition: Any) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            self._executor.spin_once(timeout_sec=0.05)


@pytest.mark.parametrize("period_s", [0.0, 0.3])
def test_every_message_comes_with_the_time_of_its_arrival(
    node: Node, ros_context: Any, period_s: float
) -> None:
    """Two topics alternate; a callback that raises on "3" takes no other message with it."""
    got: list[tuple[int, float]] = []

    def take(message: Int32, at_s: float) -> None:
        if message.data == 3 and period_s:  # without a period the executor guards it
            raise RuntimeError("three")
        got.append((message.data, at_s))

    reader = MessageReader(node, period_s)
    publishers = []
    for topic in ("/even", "/odd"):
        reader.subscribe(Int32, topic, take, RESULT_QOS)
        publishers.append(node.create_publisher(Int32, topic, RESULT_QOS))
    spin = Spin(node, ros_context)
    spin.until(lambda: all(each.get_subscription_count() for each in publishers))
    began_s = time.monotonic()
    for number in range(8):
        publishers[number % 2].publish(Int32(data=number))
        time.sleep(0.02)
    sent_s = time.monotonic()
    expected = {0, 1, 2, 4, 5, 6, 7} if period_s else set(range(8))
    spin.until(lambda: {number for number, _ in got} >= expected)
    times = [at_s for _, at_s in got]
    assert times == sorted(times)
    if period_s:
        assert [number for number, _ in got] == sorted(expected)
        # The arrival, not the reading: with a loaded machine the last may be late, the first is not early.
        assert began_s <= times[0] < sent_s
        assert "three" in new_failures(node)


def test_a_reader_that_was_held_up_keeps_the_order_of_a_topic(node: Node, ros_context: Any) -> None:
    """Failed before: messages that had waited ten periods came last, and the monitor saw a restarted node."""
    got: list[int] = []
    reader = MessageReader(node, 0.02)
    reader.subscribe(Int32, "/numbers", lambda message, _: got.append(message.data), RESULT_QOS)
    publisher = node.create_publisher(Int32, "/numbers", RESULT_QOS)
    spin = Spin(node, ros_context)
    spin.until(publisher.get_subscription_count)
    for number in range(20):
        publisher.publish(Int32(data=number))
        time.sleep(0.02)  # nobody spins: the first ones are 0.4 s old in the end, the last ones are not
    spin.until(lambda: len(got) == 20)
    assert got == list(range(20))


def test_unread_messages_do_not_keep_the_executor_busy(node: Node, ros_context: Any) -> None:
    """Fast DDS wakes whoever waits for a subscription's events as long as a message is unread."""
    got: list[int] = []
    reader = MessageReader(node, 0.5)
    reader.subscribe(Int32, "/numbers", lambda message, _: got.append(message.data), RESULT_QOS)
    publisher = node.create_publisher(Int32, "/numbers", RESULT_QOS)
    spin = Spin(node, ros_context)
    spin.until(publisher.get_subscription_count)
    publisher.publish(Int32(data=-1))
    spin.until(lambda: got)
    used_s, wall_s = 0.0, 0.0
    for number in range(3):
        publisher.publish(Int32(data=number))
        began_s, before_s = time.monotonic(), time.thread_time()
        spin.until(lambda number=number: number in got)
        used_s += time.thread_time() - before_s
        wall_s += time.monotonic() - began_s
    assert wall_s > 0.5, "the messages were not read one by one as they came"
    assert used_s < 0.3 * wall_s, (
        "a busy executor uses all of it, also on a loaded machine nearly all it gets"
    )


def test_a_publisher_whose_qos_does_not_fit_is_still_reported(
    node: Node, ros_context: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """A ground truth sent best effort: rclpy's own warning, though nobody waits for the messages."""
    reader = MessageReader(node, 0.1)
    reader.subscribe(Int32, "/ground_truth", lambda *_: None, RESULT_QOS)
    lossy = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    other = rclpy.create_node("other", context=ros_context)
    other.create_publisher(Int32, "/ground_truth", lossy)
    printed: list[str] = []

    def has_warned() -> bool:
        printed.append(capfd.readouterr().err)
        return "incompatible QoS" in "".join(printed)

    Spin(node, ros_context).until(has_warned)
    assert "/ground_truth" in "".join(printed)
    other.destroy_node()


def test_a_message_read_while_a_signal_ends_the_process_is_no_failure(
    node: Node, ros_context: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Failed before: Ctrl-C sometimes left an ERROR behind, "publisher's context is invalid"."""
    reader = MessageReader(node, 0.01)

    def take(message: Int32, at_s: float) -> None:
        ros_context.try_shutdown()
        node.create_publisher(Int32, "/late", RESULT_QOS)

    reader.subscribe(Int32, "/number", take, RESULT_QOS)
    publisher = node.create_publisher(Int32, "/number", RESULT_QOS)
    deadline_s = time.monotonic() + PATIENCE_S
    while ros_context.ok() and time.monotonic() < deadline_s:
        publisher.publish(Int32(data=1))
        time.sleep(0.02)
        reader.read()
    assert not ros_context.ok()
    assert new_failures(node) == ""
    assert "invalid" not in capfd.readouterr().err
