# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The replay's own side: the latency monitor and the player, spun by one ROS executor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import LoggingSeverity, set_logger_level
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.metrics.agreement import Agreement
from ad_compressed_perception.monitor.gate import model_info
from ad_compressed_perception.nodes.latency_monitor_node import LatencyMonitorNode
from ad_compressed_perception.replay.collector import Collector
from ad_compressed_perception.replay.interleaving import INTERLEAVING
from ad_compressed_perception.replay.ledger import OfferedMonitor
from ad_compressed_perception.replay.lifecycle import LifecycleClient
from ad_compressed_perception.replay.node_process import NodeProcess
from ad_compressed_perception.replay.plan import BASELINE, ReplayPlan, global_remappings
from ad_compressed_perception.replay.player import MAX_SILENT_FRAMES, Player
from ad_compressed_perception.replay.results_recorder import ResultsRecorder
from ad_compressed_perception.report.schemas.comparison import Report

CONFIGURE_TIMEOUT_S = 600.0
"""How long a node may load its model: a device's engine may be built meanwhile."""
_ACTIVATE_TIMEOUT_S = 20.0
_SPIN_S = 0.1
_NAME = "replay_monitor"
# Nobody subscribes to the monitor's topics here, and publishing would take time from the nodes.
_PUBLISH_PERIOD_S = 60.0
_LOOK_S = 0.5
_NAME_WAIT_S = 5.0
_UNKNOWN = "_NODE_NAME_UNKNOWN_"
_PROCESS_BYTES = 12  # of a DDS identifier, the prefix of all of a participant: a process's context


def publishers_of_others(endpoints: Sequence[Any], own: str) -> list[str]:
    """Return the nodes of a topic's publishers outside of the namespace ``own``; "" for an unknown one.

    A node that is just being discovered has no name yet, and one that ended at once, such as that which reads
    the parameters of ``compose``, may never get one: it is no other's where a node of its process is named.
    """
    own_processes = {
        bytes(endpoint.endpoint_gid[:_PROCESS_BYTES])
        for endpoint in endpoints
        if endpoint.node_name != _UNKNOWN and endpoint.node_namespace.startswith(own)
    }
    found = []
    for endpoint in endpoints:
        if endpoint.node_name == _UNKNOWN:
            found += [""] * (bytes(endpoint.endpoint_gid[:_PROCESS_BYTES]) not in own_processes)
        elif not endpoint.node_namespace.startswith(own):
            found.append(f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}")
    return found


class ReplayClient:
    """The monitor node and the player of one replay, spun by the thread that calls its methods."""

    def __init__(
        self,
        plan: ReplayPlan,
        node_process: NodeProcess,
        collector: Collector,
        deadlines_ms: Mapping[str, float],
        *,
        compressed: bool,
        node_timeout_s: float,
        recorder: ResultsRecorder | None = None,
    ) -> None:
        """Store the arguments; ROS is initialized when the context is entered."""
        self._node_timeout_s = node_timeout_s
        self._strangers: dict[str, set[str]] = {}
        self._unnamed: set[str] = set()  # topics with a publisher whose node has no name yet
        self._next_look_s = 0.0
        self._plan = plan
        self._node_process = node_process
        self._collector = collector
        self._deadlines_ms = deadlines_ms
        self._compressed = compressed
        self._recorder = recorder
        self._context = rclpy.Context()
        self._names = {(node.task, node.namespace): node.name for node in plan.nodes}

    def __enter__(self) -> ReplayClient:
        """Join the ROS domain of the environment."""
        # The caller handles Ctrl-C: the report is written before this process ends.
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        set_logger_level(f"{self._plan.namespace}/{_NAME}".strip("/").replace("/", "."), LoggingSeverity.WARN)
        self._monitor = LatencyMonitorNode(
            live=False,
            on_pair=self._on_pair,
            measurement=INTERLEAVING,
            monitor_type=OfferedMonitor,
            node_name=_NAME,
            namespace=self._plan.namespace,
            context=self._context,
            cli_args=self._remappings(),
            use_global_arguments=False,
            enable_rosout=False,
            parameter_overrides=self._monitor_parameters(),
        )
        for node in self._plan.nodes:
            if node.manifest.outputs is not None:  # what nodes state themselves is not waited for
                info = model_info(node.manifest, node.variant)
                self._monitor.add_model_info(node.task, node.namespace, info)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._monitor)
        self.player = Player(
            self._monitor,
            self._plan,
            self.monitor,
            self._collector,
            self.wait_until,
            compressed=self._compressed,
            frame_timeout_s=self._node_timeout_s / MAX_SILENT_FRAMES,
        )
        if self._recorder is not None:
            self.player.record(self._recorder)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._monitor.destroy_node()
        self._context.try_shutdown()

    @property
    def monitor(self) -> OfferedMonitor:
        """The comparison of the frames that were offered."""
        monitor = self._monitor.monitor
        assert isinstance(monitor, OfferedMonitor)
        return monitor

    def start_nodes(self, progress: Progress) -> None:
        """Configure and activate every node, one after the other.

        Raises:
            ReplayError: a node refuses its model (with the node's error), does not appear, or ends
                unexpectedly.
        """
        clients = {
            node: LifecycleClient(
                self._monitor, node.node, self._plan.without_namespace(node.node), self.wait_until
            )
            for node in self._plan.nodes
        }
        self._clients = {(node.task, node.name): client for node, client in clients.items()}
        for client in clients.values():
            client.wait_for_node()
        for node, client in clients.items():
            progress(f"loading {node.task}/{node.name}", 0, 0)
            client.configure(CONFIGURE_TIMEOUT_S, partial(self._reason, node.node))
        for node, client in clients.items():
            client.activate(_ACTIVATE_TIMEOUT_S, partial(self._reason, node.node))
        progress("connecting", 0, 0)
        self.player.wait_for_connections(self._monitor.subscriptions)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Spin ROS until a condition holds or the timeout expires; return whether it holds.

        Raises:
            ReplayError: the nodes' process has ended.
        """
        end_s = time.monotonic() + timeout_s
        while not condition():
            left_s = end_s - time.monotonic()
            if left_s <= 0.0:
                return False
            self._node_process.check()
            self._executor.spin_once(timeout_sec=min(left_s, _SPIN_S))
            self._look_for_strangers()
        return True

    def describe_state(self, task: str, name: str) -> str:
        """Return the state of a node as it says itself, for messages."""
        return self._clients[task, name].describe_state()

    def strangers(self) -> list[str]:
        """Return who else published on the replay's topics, in sentences."""
        self._next_look_s = 0.0
        self._look_for_strangers()
        # The nodes may discover a stranger before this process does: there are its frames, and not its name.
        self.wait_until(
            lambda: not self._unnamed and (bool(self._strangers) or not self._has_foreign()), _NAME_WAIT_S
        )
        for topic in self._unnamed:
            self._strangers.setdefault("a node of unknown name", set()).add(topic)
        return [
            f"{who} publishes on {', '.join(sorted(topics))}, topics of this replay."
            for who, topics in sorted(self._strangers.items())
        ]

    def _has_foreign(self) -> bool:
        """Whether frames came back that the replay did not send."""
        return any(ledger.foreign for ledger in self.monitor.ledgers.values())

    def _look_for_strangers(self) -> None:
        """Note publishers that are not the replay's own; at most twice a second."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + _LOOK_S
        own = self._plan.namespace
        self._unnamed = set()
        for topic, _ in self._monitor.get_topic_names_and_types():
            if not topic.startswith(f"{own}/"):
                continue
            without_namespace = self._plan.without_namespace(topic)
            for who in publishers_of_others(self._monitor.get_publishers_info_by_topic(topic), own):
                if who:
                    self._strangers.setdefault(who, set()).add(without_namespace)
                else:
                    self._unnamed.add(without_namespace)

    def spin(self, seconds: float) -> None:
        """Spin ROS for some seconds."""
        self.wait_until(lambda: False, seconds)

    def report(self) -> Report:
        """Close the monitor, which ends pairing, and return its report under the plan's names."""
        self._monitor.monitor.close(time.monotonic())
        report = self._monitor.report()
        report.problems = [self._plan.without_namespace(line) for line in report.problems]
        for task, one in report.tasks.items():
            one.variants = {self._name(task, key): each for key, each in one.variants.items()}
            for each in one.variants.values():
                each.node = self._plan.without_namespace(each.node)
            one.comparison = {self._name(task, key): each for key, each in one.comparison.items()}
            one.baseline = None if one.baseline is None else self._name(task, one.baseline)
        return report

    def _on_pair(
        self,
        task: str,
        candidate: str,
        stamp_ns: int,
        baseline_result: Result,
        candidate_result: Result,
        agreement: Agreement,
    ) -> None:
        name = self._name(task, candidate)
        self._collector.on_pair(task, name, stamp_ns, baseline_result, candidate_result, agreement)

    def _name(self, task: str, key: str) -> str:
        """Return the name of a task's variant, or of the variant of one of its heads."""
        return self._names[task.partition(".")[0], key]

    def _monitor_parameters(self) -> list[Parameter]:
        most_variants = max(len(names) for names in self._plan.variants.values())
        values: dict[str, Any] = {
            "pair_timeout_s": min(600.0, self._node_timeout_s * (most_variants + 1)),
            "stale_after_s": 3600.0,
            "publish_period_s": _PUBLISH_PERIOD_S,
            "read_period_s": 0.0,  # the next frame is offered when the last one's messages have come
        }
        for task, names in self._plan.variants.items():
            values[f"{task}.baseline"] = self._plan.node(task, BASELINE).node
            others = [self._plan.node(task, name).node for name in names if name != BASELINE]
            if others:
                values[f"{task}.compressed"] = others
            values[f"{task}.deadline_ms"] = float(self._deadlines_ms.get(task, 0.0))
        return [Parameter(name, value=value) for name, value in values.items()]

    def _remappings(self) -> list[str]:
        rules = global_remappings(self._plan.namespace)
        return ["--ros-args", *(word for rule in rules for word in ("-r", rule))]

    def _reason(self, node: str) -> str:
        return self._node_process.last_error(node)
