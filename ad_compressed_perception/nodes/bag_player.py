# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node that publishes the camera topic of a recording, for live comparison without a car.

The serialized messages are published as they were recorded: on ``image`` for sensor_msgs/Image, on
``image/compressed`` for sensor_msgs/CompressedImage.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.data.video_reader import open_recording
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.nodes.callback_guard import GuardedExecutor, answer_parameter_requests
from ad_compressed_perception.nodes.camera_topic import camera_topic
from ad_compressed_perception.nodes.pacer import Pacer
from ad_compressed_perception.nodes.parameters import declare, refuse_change, undeclared_overrides, values
from ad_compressed_perception.nodes.qos import image_qos
from ad_compressed_perception.nodes.run import end_ros, leave_signals_to_ros

_CLOCK_STEP_S = 0.01


class BagPlayerSettings(BaseModel):
    """Parameters of the node."""

    model_config = ConfigDict(extra="forbid")

    bag: str = Field("", description="rosbag2 folder, .mcap, .db3 or video file")
    topic: str = Field("", description="image topic of the bag; empty is the only one there is")
    rate: float = Field(1.0, gt=0.0, le=1000.0, description="bag seconds per second")
    loop: bool = Field(False, description="start again at the end; stamps and clock then jump back")
    publish_clock: bool = Field(False, description="publish the bag's time on /clock")
    wait_for_subscribers: int = Field(
        1, ge=0, le=100, description="subscriptions to the image topic that must exist before the start"
    )
    wait_timeout_s: float = Field(
        0.0, ge=0.0, le=3600.0, description="start without those still missing after this time; 0: never"
    )
    qos_reliability: str = Field(
        "reliable", pattern="^(reliable|best_effort)$", description="reliable or best_effort"
    )
    qos_depth: int = Field(5, ge=1, le=1000, description="frames kept for slow subscriptions")


class BagPlayer(Node):
    """Publishes a recording's frames at the pace they were recorded."""

    def __init__(self, **options: Any) -> None:
        """Declare and read the parameters.

        Raises:
            AdcpError: a parameter is unknown, out of range or of the wrong type, or ``bag`` is empty.
        """
        super().__init__("bag_player", **options)
        declare(self, BagPlayerSettings)
        unknown = undeclared_overrides(self)
        if unknown:
            known = ", ".join(BagPlayerSettings.model_fields)
            raise DataError(f"bag_player: unknown parameter {unknown[0]!r}; known: {known}")
        try:
            self.settings = BagPlayerSettings.model_validate(values(self, BagPlayerSettings))
        except ValidationError as error:
            raise DataError(f"bag_player: {describe_validation_error(error)}") from error
        if not self.settings.bag:
            raise DataError(
                "bag_player: parameter 'bag' is empty: name a rosbag2 folder, .mcap, .db3 or video file"
            )
        refuse_change(self, BagPlayerSettings.model_fields, "player")
        self._clock_publisher = (
            self.create_publisher(Clock, "/clock", QoSProfile(depth=1))
            if self.settings.publish_clock
            else None
        )

    def play(self, wait: Callable[[float], None]) -> int:
        """Publish the whole recording (for ever with ``loop``) and return the frames published.

        Args:
            wait: called with seconds to let pass; may raise to end the playback.

        Raises:
            DataError: the bag cannot be read, has no such topic, or holds fewer messages than it counts.
        """
        settings = self.settings
        published = 0
        with open_recording(settings.bag) as bag:
            topic = bag.resolve_image_topic(settings.topic or None)
            compressed = bag.is_compressed(topic)
            publisher = self.create_publisher(
                *camera_topic(self, "compressed" if compressed else "raw"),
                image_qos(settings.qos_reliability, settings.qos_depth),
            )
            for text in [*bag.problems(topic), *bag.warnings()]:
                self.get_logger().warning(f"{bag.path}: {text}")
            self._wait_for_subscribers(publisher, wait)
            self.get_logger().info(
                f"playing {bag.count(topic)} frames of {topic} on {publisher.topic_name} "
                f"at {settings.rate:g} times the recorded pace"
            )
            while True:
                for cdr in self._paced(bag, topic, wait):
                    publisher.publish(cdr)
                    published += 1
                if settings.loop:
                    continue
                if published != bag.count(topic):
                    damage = "; ".join(bag.problems(topic)) or "no reason is known"
                    raise DataError(
                        f"bag_player: {published} of {bag.count(topic)} messages on {topic} were there to be "
                        f"published: {damage}"
                    )
                return published

    def _paced(self, bag: BagReader, topic: str, wait: Callable[[float], None]) -> Iterator[bytes]:
        """Yield the messages when they are due; the clock ticks while waiting."""
        now_ns = bag.start_ns

        def tick(seconds: float) -> None:
            nonlocal now_ns
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                step = min(left, _CLOCK_STEP_S) if self._clock_publisher else left
                wait(step)
                now_ns += round(step * self.settings.rate * 1e9)
                self._publish_clock(now_ns)

        pacer = Pacer(self.settings.rate, time.monotonic, tick)
        for _, bag_time_ns, cdr in bag.messages([topic]):
            # A late frame is published at once: dropping frames is the subscriber's decision.
            if not pacer.is_due(bag_time_ns):
                wait(0.0)
            now_ns = bag_time_ns
            self._publish_clock(now_ns)
            yield bag.image_cdr(topic, cdr)

    def _publish_clock(self, bag_time_ns: int) -> None:
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=ns_to_stamp(bag_time_ns)))

    def _wait_for_subscribers(self, publisher: Any, wait: Callable[[float], None]) -> None:
        required = self.settings.wait_for_subscribers
        has_logged = False
        end = time.monotonic() + (self.settings.wait_timeout_s or float("inf"))
        while (found := publisher.get_subscription_count()) < required:
            if time.monotonic() >= end:
                self.get_logger().warning(
                    f"{publisher.topic_name} has {found} of {required} subscriptions: starting without "
                    "the others"
                )
                return
            if not has_logged:
                self.get_logger().info(f"waiting for {required} subscriptions to {publisher.topic_name}")
                has_logged = True
            wait(0.1)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ExternalShutdownException:
        pass
    except (AdcpError, ParameterException) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def describe(bag: str, topic: str = "") -> dict[str, str]:
    """Return the image topic that would be played of a recording, and its transport: raw or compressed.

    Raises:
        DataError: the recording cannot be read or has no such topic.
    """
    with open_recording(bag) as opened:
        found = opened.resolve_image_topic(topic or None)
        compressed = opened.is_compressed(found)
    return {"topic": found, "transport": "compressed" if compressed else "raw"}


def main(args: list[str] | None = None) -> None:
    """Play until the end of the recording or SIGINT; exit status 1 after one line on an error.

    With ``--describe BAG [TOPIC]`` print instead what would be played, as one line of JSON.
    """
    given = sys.argv[1:] if args is None else args
    with _one_line_errors():
        if given[:1] == ["--describe"]:
            print(json.dumps(describe(*given[1:3])))
            return
        started = False
        leave_signals_to_ros()
        try:
            rclpy.init(args=args)
            started = True
            player = BagPlayer()
            answer_parameter_requests(player)
            executor = GuardedExecutor()
            executor.add_node(player)

            def wait(seconds: float) -> None:
                end = time.monotonic() + seconds
                while True:
                    executor.spin_once(timeout_sec=max(0.0, end - time.monotonic()))
                    if not rclpy.ok():
                        raise ExternalShutdownException
                    if time.monotonic() >= end:
                        return

            frames = player.play(wait)
            player.get_logger().info(f"end of the recording: {frames} frames published")
            # Reliable delivery of the last frame needs the publisher a moment longer.
            wait(0.5)
        except AdcpError:
            raise
        except Exception:
            # A signal shut the context down during a call: its failure is no error.
            if not started or rclpy.ok():
                raise
        finally:
            end_ros()


if __name__ == "__main__":
    main()
