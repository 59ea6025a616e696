# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drift on a node: frames and results compared with the reference of the model, ``~/drift``, /diagnostics."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping
from threading import Lock
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pydantic import Field
from rclpy.node import Node

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.drift.drift_watch import DriftWatch
from ad_compressed_perception.drift.manifest_references import find_reference
from ad_compressed_perception.drift.monitor import Alarm, Kind
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.nodes.result_topics import camera_node, prefixes_of
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import ServedModel

WORDS: dict[Kind, str] = {
    "world": "the world changed",
    "camera": "the camera changed",
    "model": "the model is worse",
}
"""What an alarm says; adcp watch and people go by it."""
_LEVELS: dict[Kind, Level] = {"world": Level.WARN, "camera": Level.ERROR, "model": Level.ERROR}
_PERIOD_S = 1.0
_PATIENCE_S = 5.0
"""Longer than the shortest window and two looks: after this time without one nothing is compared."""
_SHOWN = 3
_BLIND = "frames come less than once a second, with stamps that stand still or jump, or give no statistics"


class DriftOptions(StrictModel):
    """Parameters of the comparison with the reference; they may change at any time."""

    drift: bool = Field(
        True, description="compare frames and results with the reference that model.yaml has for the variant"
    )
    drift_window_s: float = Field(
        0.0,
        ge=0.0,
        le=60.0,
        description="length of the windows, seconds: one that the reference has; 0: all of them",
    )
    drift_false_alarms_per_hour: float = Field(
        0.1, ge=1e-4, le=60.0, description="alarms of all kinds an hour while nothing has changed"
    )


class DriftPart(NodePart):
    """Gives frames to the DriftWatch after they are published; all else is done in the watch's thread.

    A model that comes to answer brings its own reference, whose windows begin anew.
    """

    options_type = DriftOptions

    def __init__(self, node: Node, models: Callable[[], ModelSet], camera: str = "") -> None:
        """Watch the primary of these models on the frames of a camera; empty: the node has one."""
        self._node, self._models, self._camera = node, models, camera
        self._drift = DriftWatch(lambda error: note_failure(node, "statistics of a frame", error))
        self._lock = Lock()
        self._publisher: Any = None
        self._is_active = False
        self._model: ServedModel | None = None
        self._reference: DriftReference | None = None
        self._reason = ""
        self._problem = ""
        self._published: tuple[Kind, ...] = ()
        self._next_s = 0.0
        self._looks, self._looked_s, self._measured, self._is_blind = 0, 0.0, 0, False

    def configure(self) -> None:
        """Create the topic."""
        prefix = prefixes_of(self._node, [self._camera])[self._camera]
        self._publisher = self._node.create_publisher(DiagnosticArray, f"{prefix}/drift", LATCHED_QOS)

    def activate(self) -> None:
        """Begin with the first look of the watch's thread."""
        with self._lock:
            self._is_active, self._model, self._next_s = True, None, 0.0

    def deactivate(self) -> None:
        """End the comparison."""
        with self._lock:
            self._is_active = False
            self._forget()

    def cleanup(self) -> None:
        """Destroy the topic."""
        with self._lock:
            publisher, self._publisher = self._publisher, None
        if publisher is not None:
            self._node.destroy_publisher(publisher)

    def after_frame(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        """Hand the frame over; a result that another model gave is not judged."""
        model = self._model
        if self._reference is None or model is None:
            return
        is_own = answer.level == "primary" and answer.identity is model.identity
        stamp_s = arrival.stamp_ns * 1e-9 if arrival.stamp_ns else arrival.arrived_s
        self._drift.offer(frame, answer.own if is_own else None, stamp_s)

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuse a length of windows that the reference in use does not have."""
        if self._reference is not None and "drift_window_s" in values:
            self._reference.chosen_windows(float(values["drift_window_s"]))

    def apply(self, names: Collection[str]) -> None:
        """Begin anew with what was set."""
        if set(DriftOptions.model_fields) & set(names):
            with self._lock:
                self._model, self._next_s = None, 0.0

    def watch(self, now_s: float) -> None:
        """Follow the primary, and publish what is known."""
        with self._lock:
            if not self._is_active or self._publisher is None:
                return
            model = self._models().primary
            if model is not None and model is not self._model:
                self._adopt(model)
                self._looks, self._looked_s, self._measured = 0, now_s, 0
            self._note_looks(now_s)
            kinds = tuple(alarm.kind for alarm in self._drift.state.alarms)
            if now_s >= self._next_s or kinds != self._published:
                self._next_s, self._published = now_s + _PERIOD_S, kinds
                self._publisher.publish(self._message())

    def active_alarms(self) -> tuple[Alarm, ...]:
        """Return what has changed, by the last windows; any thread may ask."""
        return self._drift.state.alarms

    def problems(self) -> Problems:
        """Return a line for each alarm, and one where the reference cannot be used."""
        found: Problems = [(_LEVELS[alarm.kind], _line(alarm)) for alarm in self.active_alarms()]
        if self._problem:
            found.append((Level.WARN, self._problem))
        elif self._is_blind and self._drift.state.measured > self._measured + 1:
            found.append((Level.WARN, f"drift is not watched: {_BLIND}"))
        return found

    def values(self) -> dict[str, str]:
        """Return whether frames are compared, and how many were."""
        state, reference = self._drift.state, self._reference
        if reference is None:
            return {"drift": self._reason or "not active"}
        return {
            "drift": f"compared with {reference.frames} frames, {reference.duration_s:.0f} s",
            "drift_learned_from": reference.camera,
            "drift_measured": str(state.measured),
            "drift_skipped": str(state.skipped),
        }

    def _note_looks(self, now_s: float) -> None:
        """Find out whether windows are compared: no alarm of one that is not compared says nothing."""
        state = self._drift.state
        if state.looks != self._looks:
            self._looks, self._looked_s, self._measured = state.looks, now_s, state.measured
        self._is_blind = self._reference is not None and now_s - self._looked_s > _PATIENCE_S

    def _unalarmed(self) -> str:
        """Return the line of a status without an alarm."""
        if self._reason:
            return self._reason
        if self._reference is None:
            return "not active"
        if self._is_blind:
            return f"nothing compared for {_PATIENCE_S:g} s: {_BLIND}"
        return "as in the reference" if self._looks else "no window is complete yet"

    def _forget(self) -> None:
        self._drift.stop()
        self._model = self._reference = None
        self._reason = self._problem = ""

    def _adopt(self, model: ServedModel) -> None:
        """Take a model's reference into use, or keep the reason why there is none."""
        self._forget()
        self._model = model
        options = DriftOptions(**parameters.values(self._node, DriftOptions))
        if not options.drift:
            self._reason = "off"
            return
        try:
            reference, self._reason = find_reference(model.pipeline.task.manifest, model.identity.variant)
            if reference is not None:
                self._drift.use(reference, options.drift_window_s, options.drift_false_alarms_per_hour)
        except ManifestError as error:
            reference, self._reason, self._problem = None, str(error), str(error)
        except Exception as error:  # no node ends, and no status says OK, because of a reference
            line = f"the drift reference of {model.identity.variant!r} cannot be used: {shorten(str(error))}"
            reference, self._reason, self._problem = None, line, line
        self._reference = reference

    def _message(self) -> DiagnosticArray:
        model, state = self._model, self._drift.state
        alarms = {alarm.kind: alarm for alarm in state.alarms}
        name = camera_node(self._node, self._camera)
        values = {"model": "", "variant": "", "sha256": ""}
        if model is not None:
            values = {key: getattr(model.identity, key) for key in values}
        values |= self.values()
        message = DiagnosticArray(
            status=[
                DiagnosticStatus(
                    level=bytes([_LEVELS[kind] if kind in alarms else Level.OK]),
                    name=f"{name}: {kind}",
                    hardware_id=platform.node(),
                    message=_line(alarms[kind]) if kind in alarms else self._unalarmed(),
                    values=[
                        KeyValue(key=key, value=value)
                        for key, value in (_figures(alarms.get(kind)) | values).items()
                    ],
                )
                for kind in WORDS
            ]
        )
        message.header.stamp = ns_to_stamp(self._node.get_clock().now().nanoseconds)
        return message


def _line(alarm: Alarm) -> str:
    """Return what changed, since when and by which figures, the largest first."""
    shown = ", ".join(f"{name} {times:.2f}" for name, times in list(alarm.moved.items())[:_SHOWN])
    more = f" and {len(alarm.moved) - _SHOWN} more" if len(alarm.moved) > _SHOWN else ""
    return (
        f"{WORDS[alarm.kind]} since stamp {alarm.since_stamp_s:.3f}: {shown}{more} "
        f"(in units of their thresholds)"
    )


def _figures(alarm: Alarm | None) -> dict[str, str]:
    if alarm is None:
        return {}
    return {
        "statistic": f"{alarm.statistic:.4g}",
        "threshold": f"{alarm.threshold:.4g}",
        "since_stamp_s": f"{alarm.since_stamp_s:.9f}",
        "moved": ", ".join(f"{name}={times:.3g}" for name, times in alarm.moved.items()),
    }
