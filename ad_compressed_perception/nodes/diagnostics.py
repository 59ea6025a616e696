# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of an inference node, published on /diagnostics."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock
from time import monotonic

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode

from ad_compressed_perception.backends.base import UNKNOWN
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes.callback_guard import new_failures, not_published
from ad_compressed_perception.nodes.camera_options import parse_entries
from ad_compressed_perception.nodes.frame_diagnostics import FrameDiagnostics
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.options import HealthOptions
from ad_compressed_perception.nodes.result_topics import camera_node
from ad_compressed_perception.nodes.supervised_worker import SupervisedWorker
from ad_compressed_perception.tasks.pipeline import Pipeline


class NodeDiagnostics:
    """Collects events and publishes a status; of several cameras also one for each.

    Attributes:
        cameras: what is known of their frames, by name.
        speed_mps: returns the vehicle's speed, None where it is not known.
    """

    def __init__(
        self,
        node: LifecycleNode,
        supervised: SupervisedWorker,
        options: Callable[[], HealthOptions],
        parts: Sequence[NodePart] = (),
    ) -> None:
        """Report on a node and its worker.

        Args:
            node: publishes on /diagnostics.
            supervised: its model and worker.
            options: returns the present limits.
            parts: of the node; their problems and values are added.
        """
        self._node, self._supervised, self._options, self._parts = node, supervised, options, parts
        self._publishing = Lock()
        self._refusal = ""
        self._model: dict[str, str] = {}
        self._provider_differs = ""
        self.cameras: dict[str, FrameDiagnostics] = {"": FrameDiagnostics()}
        self.speed_mps: Callable[[], float | None] = lambda: None
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def refuse(self, reason: str) -> None:
        """Store why the last transition was refused; an empty line: another one has begun."""
        self._refusal = reason

    def describe_model(self, pipeline: Pipeline) -> None:
        """Store the loaded model and the runtime it runs on."""
        info = pipeline.session.info
        nothing = UNKNOWN if info.precision == UNKNOWN else "none"
        coverage = nothing if info.integer_coverage is None else f"{info.integer_coverage:.3f}"
        self._model = {
            "model": pipeline.task.manifest.name,
            "variant": pipeline.variant,
            "backend": f"{info.backend} {info.version}",
            "requested_provider": info.requested_provider,
            "provider": info.provider,
            "precision": info.precision,
            "integer_coverage": coverage,
            "threads": str(info.threads),
            "load_ms": f"{info.load_ms:.1f}",
            "warmup_ms": f"{info.warmup_ms:.1f}",
        }
        differs = info.provider != info.requested_provider
        self._provider_differs = (
            f"runs on {info.provider}, asked for {info.requested_provider}" if differs else ""
        )

    def forget_model(self) -> None:
        """Clear the model: none is loaded any more."""
        self._model = {}
        self._provider_differs = ""

    def use_cameras(self, cameras: Collection[str]) -> None:
        """Report on the frames of these cameras; of one without a name where a node has no names."""
        if self.cameras.keys() != set(cameras):
            self.cameras = {camera: FrameDiagnostics() for camera in cameras}

    def publish(self) -> None:
        """Publish the present status."""
        with self._publishing:
            self._publish()

    def _publish(self) -> None:
        options = self._options()
        problems = self._model_problems()
        problems += self._supervised.problems(monotonic(), options.watchdog_error_s)
        values, of_cameras = dict(self._model), []
        cameras = self.cameras
        if (only := cameras.get("")) is not None:
            problems += only.new_events()
            values |= only.time_values()
            frame_problems, frame_values = self._frames(options)
            problems += frame_problems
            values |= frame_values
        else:
            of_cameras = self._camera_statuses(cameras, options, problems)
            values |= self._totals()
        for part in self._parts:
            problems += part.problems()
            values |= part.values()
        if failures := new_failures(self._node):
            problems.append((Level.WARN, failures))
        if self._node.get_clock().now().nanoseconds == 0:
            problems.append((Level.WARN, "use_sim_time is set and no /clock was received: no ages"))
        status = _status(self._node.get_fully_qualified_name(), problems, values)
        message = DiagnosticArray(status=[status, *of_cameras])
        message.header.stamp = ns_to_stamp(self._node.get_clock().now().nanoseconds)
        try:
            self._publisher.publish(message)
        except Exception:
            not_published(self._node)
            raise
        for frames in cameras.values():
            frames.reported()

    def _camera_statuses(
        self, cameras: Mapping[str, FrameDiagnostics], options: HealthOptions, problems: Problems
    ) -> list[DiagnosticStatus]:
        """Return a status for each camera; what is wrong with one is added to the node's problems, too."""
        if not any(frames.is_monitoring for frames in cameras.values()):
            problems += self._frames(options)[0]
        statuses = []
        for camera, frames in cameras.items():
            found, values = frames.new_events(), frames.time_values()
            frame_problems, frame_values = self._frames_of(camera, frames, options)
            found += frame_problems
            problems += [(level, f"{camera}: {line}") for level, line in found]
            if not self._takes_frames(frames):  # the node's own status says it once
                found.append((Level.WARN, "not active"))
            name = camera_node(self._node, camera)
            statuses.append(_status(name, found, self._model | values | frame_values))
        return statuses

    def _totals(self) -> dict[str, str]:
        """Return the counters of all cameras together."""
        worker = self._supervised.worker
        if worker is None:
            return {}
        counters = worker.counters()
        values = {"received": str(counters.received)}
        values |= {outcome: str(count) for outcome, count in counters.counts.items()}
        replacements = str(self._supervised.replacements)
        return values | {"pending": str(counters.pending), "worker_replacements": replacements}

    def _model_problems(self) -> Problems:
        problems: Problems = []
        if self._refusal:
            problems.append((Level.ERROR, self._refusal))
        if self._provider_differs:
            problems.append((Level.WARN, self._provider_differs))
        return problems

    def _frames(self, options: HealthOptions) -> tuple[Problems, dict[str, str]]:
        """Return problems and figures of the first camera and its frames."""
        camera, frames = next(iter(self.cameras.items()))
        if not self._takes_frames(frames):
            idle = not self._refusal and self._supervised.loading is None
            return ([(Level.WARN, "not active")] if idle else []), {}
        return self._frames_of(camera, frames, options)

    def _takes_frames(self, frames: FrameDiagnostics) -> bool:
        return self._supervised.worker is not None and frames.is_monitoring

    def _frames_of(
        self, camera: str, frames: FrameDiagnostics, options: HealthOptions
    ) -> tuple[Problems, dict[str, str]]:
        worker = self._supervised.worker
        if worker is None:
            return [], {}
        deadline_ms = self._node.get_parameter("deadline_ms").value or None
        if camera:
            deadlines_ms = parse_entries(self._node.get_parameter("camera_deadlines_ms").value)
            deadline_ms = deadlines_ms.get(camera, deadline_ms)
        more = {} if camera else {"worker_replacements": str(self._supervised.replacements)}
        counters, speed_mps = worker.counters(camera), self.speed_mps()
        return frames.frames(options, counters, deadline_ms, speed_mps, more)


def _status(name: str, problems: Problems, values: Mapping[str, str]) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=bytes([max((level for level, _ in problems), default=Level.OK)]),
        name=name,
        hardware_id=platform.node(),
        message="; ".join(line for _, line in problems) or "running",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
