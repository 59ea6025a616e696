# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Topics, services, parameters and diagnostics of the nodes, as another ROS process sees them."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from behavior_checkout import MODELS, PATIENCE_S, Checkout

QUIET_S = 1.5  # the ROS graph is complete when nothing new came for so long


START_S = 2.0  # a process that refuses its parameters has ended by then


DIAGNOSTICS_S = 3.0


OBSERVER = "record_behavior_observer"


def record_nodes(checkout: Checkout) -> dict[str, Any]:
    """Return what each executable shows to other nodes, and how it ends."""
    os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST", ROS_LOG_DIR=str(checkout.work / "log"))
    bag = f"bag:={checkout.camera_bag()}"
    composed = 'nodes:=["planning_node:/a/planning", "latency_monitor_node:/a/monitor"]'
    cases: dict[str, tuple[str, ...]] = {
        **{f"{task}_node": ("autostart:=false",) for task in MODELS},
        **dict.fromkeys(("road_camera_node", "latency_monitor_node", "compose", "bag_player"), ()),
        "planning_node without a model": (),
        "latency_monitor_node of a planner": ("planning.baseline:=/a/planning",),
        "compose of two": (composed, "autostart:=false", "planning.baseline:=/a/planning"),
        "bag_player of a bag": (bag,),
    }
    found = {}
    for case, parameters in cases.items():
        print(f"  {case}", flush=True)
        found[case] = record_process(checkout, case.partition(" ")[0], parameters)
    return found


def record_process(checkout: Checkout, executable: str, parameters: tuple[str, ...]) -> dict[str, Any]:
    """Start an executable, look at its nodes, let it load a model if it can, and interrupt it."""
    arguments = ["--ros-args", *(word for parameter in parameters for word in ("-p", parameter))]
    model = MODELS.get(executable.removesuffix("_node")) if parameters else None
    found: dict[str, Any] = {}
    with claimed_domain() as domain, tempfile.TemporaryFile("w+") as stream:
        process = subprocess.Popen(
            [*checkout.command(executable), *arguments],
            cwd=checkout.root,
            env={**checkout.environment, "ROS_DOMAIN_ID": str(domain)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            with observer(domain) as eye:
                if eye.wait_for_nodes(process):
                    found["started"] = eye.nodes()
                    if model:
                        found["active"] = eye.activate(checkout.root / model)
                    found["diagnostics"] = eye.diagnostics()
                    process.send_signal(signal.SIGINT)
                found["exit"] = process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
        stream.seek(0)
        output = [re.sub(r"\[\d+\.\d+\]", "[TIME]", line) for line in stream.read().splitlines()]
        return {**found, "output": output} if found["exit"] else found


@contextmanager
def claimed_domain() -> Iterator[int]:
    """Yield a ROS domain that no test on this machine uses: they claim the same address."""
    for domain in random.SystemRandom().sample(range(1, 101), 100):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
            try:
                claim.bind(f"\0ad_compressed_perception-test-domain-{domain}")
            except OSError:
                continue
            yield domain
            return


@contextmanager
def observer(domain: int) -> Iterator[Observer]:
    """Yield a node in a ROS domain that looks at the others."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    try:
        yield Observer(context)
    finally:
        context.try_shutdown()


class Observer:
    """A node that looks at the others of its domain."""

    def __init__(self, context: Any) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor

        self._node = rclpy.create_node(OBSERVER, context=context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._received: list[Any] = []
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._received.append, 100)

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)

    def _names(self) -> list[tuple[str, str]]:
        return sorted(
            (name, space)
            for name, space in self._node.get_node_names_and_namespaces()
            if name != OBSERVER and not name.startswith("_")
        )

    def wait_for_nodes(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the process has nodes; False when it ended without, or soon after."""
        end = time.monotonic() + PATIENCE_S
        while not self._names() and process.poll() is None and time.monotonic() < end:
            self._spin(0.1)
        if process.poll() is None:
            self._spin(START_S)
        return process.poll() is None

    def _settle(self) -> None:
        """Wait until nothing new has come to the graph for a while."""
        before: Any = None
        for _ in range(40):
            now = [(name, self._interface(*name)) for name in self._names()]
            if now and now == before:
                return
            before = now
            self._spin(QUIET_S)

    def nodes(self) -> dict[str, Any]:
        """Return every node with its topics, services and parameters."""
        self._settle()
        return {
            f"{space.rstrip('/')}/{name}": {
                **self._interface(name, space),
                "parameters": self._parameters(f"{space.rstrip('/')}/{name}"),
            }
            for name, space in self._names()
        }

    def _interface(self, name: str, space: str) -> dict[str, Any]:
        node = self._node
        publishers, subscriptions = node.get_publishers_info_by_topic, node.get_subscriptions_info_by_topic
        published = dict(node.get_publisher_names_and_types_by_node(name, space))
        subscribed = dict(node.get_subscriber_names_and_types_by_node(name, space))
        return {
            "publishes": self._with_qos(published, publishers, (name, space)),
            "subscribes": self._with_qos(subscribed, subscriptions, (name, space)),
            "services": dict(node.get_service_names_and_types_by_node(name, space)),
        }

    def _with_qos(
        self, topics: dict[str, list[str]], look_up: Callable[[str], list[Any]], owner: tuple[str, str]
    ) -> dict[str, list[str]]:
        return {
            topic: sorted(
                f"{end.topic_type} {end.qos_profile.reliability.name} {end.qos_profile.durability.name}"
                for end in look_up(topic)
                if (end.node_name, end.node_namespace) == owner
            )
            for topic in topics
        }

    def _call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service; once more when the first answer was lost while both sides met."""
        client = self._node.create_client(kind, service)
        client.wait_for_service(timeout_sec=PATIENCE_S)
        self._spin(0.5)
        for _ in range(3):
            future = client.call_async(request)
            self._executor.spin_until_future_complete(future, timeout_sec=PATIENCE_S / 4)
            if future.done():
                return future.result()
        raise RuntimeError(f"no answer from {service}")

    def _parameters(self, node: str) -> dict[str, Any]:
        from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters
        from rclpy.parameter import parameter_value_to_python

        names = self._call(ListParameters, f"{node}/list_parameters", ListParameters.Request()).result.names
        asked = DescribeParameters.Request(names=names)
        described = self._call(DescribeParameters, f"{node}/describe_parameters", asked).descriptors
        request = GetParameters.Request(names=names)
        values = self._call(GetParameters, f"{node}/get_parameters", request).values
        found = {}
        for name, descriptor, value in zip(names, described, values, strict=True):
            plain = parameter_value_to_python(value)
            found[name] = {
                "value": plain if isinstance(plain, str | int | float | None) else list(plain),
                "type": descriptor.type,
                "description": descriptor.description,
                "constraints": descriptor.additional_constraints,
                "read only": descriptor.read_only,
                "dynamic": descriptor.dynamic_typing,
                "ranges": [
                    [limit.from_value, limit.to_value, limit.step]
                    for limit in (*descriptor.integer_range, *descriptor.floating_point_range)
                ],
            }
        return found

    def activate(self, model: Path) -> dict[str, Any]:
        """Let the lifecycle node load a model and start; return the nodes then."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        ((name, space),) = self._names()
        node = f"{space.rstrip('/')}/{name}"
        request = [Parameter("model", value=str(model)).to_parameter_msg()]
        answer = self._call(
            SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=request)
        )
        done = [answer.results[0].successful]
        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=number))
            done.append(self._call(ChangeState, f"{node}/change_state", request).success)
        return {"done": done, "nodes": self.nodes()}

    def diagnostics(self) -> dict[str, Any]:
        """Return what /diagnostics says from now on: names, hardware and keys, without values."""
        self._received.clear()
        self._spin(DIAGNOSTICS_S)
        return {
            status.name: {"hardware": status.hardware_id, "keys": [entry.key for entry in status.values]}
            for message in self._received
            for status in message.status
        }
