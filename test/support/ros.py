# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs nodes as processes and records their topics."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.messages.timing import ns_to_stamp

SERVICES: dict[str, type] = {
    "set_parameters": SetParameters,
    "set_parameters_atomically": SetParametersAtomically,
    "get_parameters": GetParameters,
    "list_parameters": ListParameters,
    "get_state": GetState,
    "change_state": ChangeState,
    **dict.fromkeys(("load", "rollback", "promote"), Trigger),
}
_END_S = 3.0
PATIENCE_S = 60.0
"""How long to wait for something that must come: long, since a loaded machine is slow, not wrong."""


def wait_for_output(process: subprocess.Popen[Any], log: Path, has_come: Callable[[str], bool]) -> None:
    """Wait until what a process has printed meets a condition; fail where it ends before."""
    end = time.monotonic() + PATIENCE_S
    while not has_come(log.read_text()):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


class NodeProcess:
    """One of the package's executables in a process of its own."""

    def __init__(self, executable: str, *arguments: str, log: Path) -> None:
        package = "ad_road_simulation" if executable == "road_camera_node" else "ad_compressed_perception"
        module = f"{package}.nodes.{executable}"
        self._log = log
        self._stream = log.open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", *arguments],
            stdout=self._stream,
            stderr=subprocess.STDOUT,
        )

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, wait, return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def wait(self) -> int:
        """Wait until it ends by itself; return the exit code."""
        return self.process.wait(PATIENCE_S)

    @property
    def log(self) -> str:
        """What it printed."""
        return self._log.read_text()

    def end(self) -> None:
        """Make sure that nothing is left.

        It is asked first: one that is killed may hold a lock in the shared memory that it sends to, and
        Fast DDS 2 waits for that without an end.
        """
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(PATIENCE_S)
        self._stream.close()


@contextmanager
def node_process(executable: str, *arguments: str, log: Path) -> Iterator[NodeProcess]:
    """Run an executable; whatever happens, no process survives."""
    running = NodeProcess(executable, *arguments, log=log)
    try:
        yield running
    finally:
        running.end()


class Recorder:
    """A node that publishes a test's messages and records the received ones, by topic."""

    def __init__(self, context: Any, name: str = "test_recorder") -> None:
        self.node: Node = rclpy.create_node(name, context=context)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._clients: dict[str, Any] = {}
        self._made: dict[str, Any] = {}
        self._ready_s: dict[str, float] = {}
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)

    def listen(self, topic: str, kind: type, qos: QoSProfile | int = 100) -> None:
        """Record every message of a topic."""
        self.node.create_subscription(kind, topic, self.received[topic].append, qos)

    def wait_for(self, condition: Callable[[], Any], doing: Callable[[], Any] | None = None) -> Any:
        """Spin until the condition is true and return it; ``doing`` is called about every 0.1 s."""
        deadline = time.monotonic() + PATIENCE_S
        again = 0.0
        while not (value := condition()):
            now = time.monotonic()
            assert now < deadline, f"waited {PATIENCE_S:.0f} s in vain; received {self.counts()}"
            if doing is not None and now >= again:
                doing()
                again = now + 0.1
            self._note_ready()
            self._executor.spin_once(timeout_sec=0.05)
        return value

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service and return its response."""
        if service not in self._clients:
            node = service.rpartition("/")[0]
            self.meet(node)
            client = self._made.get(service) or self._make(kind, service)
            if not client.service_is_ready():
                self._ready_s.pop(service, None)  # of an earlier node by this name
                assert client.wait_for_service(timeout_sec=PATIENCE_S), service
            self._note_ready()
            # The client sees the server before the server sees the client, and a response sent in
            # between is lost: the middleware offers no event for the second half, so give it a moment.
            self.wait_for(lambda: time.monotonic() > self._ready_s[service] + 1.0)
            self._clients[service] = client
        future = self._clients[service].call_async(request)
        self.wait_for(future.done)
        return future.result()

    def meet(self, *nodes: str) -> None:
        """Make the clients of nodes' usual services: the moment that each needs is the same one then."""
        for node in nodes:
            for name, kind in SERVICES.items():
                if f"{node}/{name}" not in self._made:
                    self._make(kind, f"{node}/{name}")

    def _make(self, kind: type, service: str) -> Any:
        client = self._made[service] = self.node.create_client(kind, service)
        return client

    def _note_ready(self) -> None:
        for service, client in self._made.items():
            if service not in self._ready_s and client.service_is_ready():
                self._ready_s[service] = time.monotonic()

    def counts(self) -> dict[str, int]:
        """Number of messages received on each topic."""
        return {topic: len(messages) for topic, messages in self.received.items()}

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()


def image_message(image: NDArray[np.uint8], stamp_ns: int, frame_id: str = "camera") -> Image:
    """Return a BGR image as sensor_msgs/Image."""
    height, width = image.shape[:2]
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = frame_id
    data = array("B")
    data.frombytes(image.tobytes())
    message.data = data
    return message


def jpeg_message(image: NDArray[np.uint8], stamp_ns: int) -> CompressedImage:
    """Return a BGR image as sensor_msgs/CompressedImage."""
    message = CompressedImage(format="jpeg")
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = "camera"
    message.data = array("B", encode_jpeg(image, 95))
    return message


def as_ns(stamp: Time) -> int:
    """Return a stamp in nanoseconds."""
    return stamp.sec * 10**9 + stamp.nanosec
