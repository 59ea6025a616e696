# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The guard on a node: watches time-outs and heartbeats, gives up models that hang, publishes the state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Empty

from ad_compressed_perception.drift.monitor import Alarm
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.availability import AvailabilityTopics, assess, worst_of
from ad_compressed_perception.nodes.camera_options import parse_entries
from ad_compressed_perception.nodes.expected_changes import expected_changes
from ad_compressed_perception.nodes.frame_timeout import FrameTimeout
from ad_compressed_perception.nodes.guard_options import GuardOptions, chosen_limit_s
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.options import SetupOptions
from ad_compressed_perception.nodes.standby import Standby, are_same, identity_values
from ad_compressed_perception.nodes.supervised_worker import SupervisedWorker
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.frame_server import FrameServer
from ad_compressed_perception.serving.ladder import LadderLevel, Step
from ad_compressed_perception.serving.served_model import ServedModel
from ad_compressed_perception.tasks.pipeline import Pipeline

_STANDBY_FACTOR = 4.0
"""Of the standby's median time: until then it is taken for slow, and only after it for hanging."""
_PROBATION_LIMIT_S = 5.0
_FOREVER = float("inf")
_SOON_S = 0.02
_PATIENCE_S = 1.0
"""A model that is late is given up when it does not return for as long more: on a computer that is too busy
for a moment it is only slow, and loading it anew makes that worse. A standby may take as long."""


@dataclass(frozen=True)
class GuardHost:
    """What the guard needs of its node.

    Attributes:
        task: name of the task.
        setup: returns the present parameters of the model.
        supervised: returns the models and the worker.
        server: returns who answers frames.
        settings_for: returns the task's settings that a model gets.
        alarms: returns what has drifted.
        cameras: returns the names of the cameras; one without a name where there is one.
    """

    task: str
    setup: Callable[[], SetupOptions]
    supervised: Callable[[], SupervisedWorker]
    server: Callable[[], FrameServer]
    settings_for: Callable[[Pipeline], Any]
    alarms: Callable[[], Sequence[Alarm]]
    cameras: Callable[[], Sequence[str]]


class GuardPart(NodePart):
    """Without a fallback and hold_last_ms it publishes ~/availability only."""

    options_type = GuardOptions

    def __init__(self, node: Node, host: GuardHost) -> None:
        """Guard the frames of this node."""
        self._node, self._host = node, host
        self._options = GuardOptions()
        self._topics: AvailabilityTopics | None = None
        self._publishing = Lock()
        self._heartbeats: Any = None
        self._timeout: FrameTimeout | None = None
        self._active_s: float | None = None
        self._heartbeat_s = self._camera_rate_hz = 0.0
        self._standby = Standby(
            node, host.task, lambda: host.supervised().models, host.setup, host.settings_for
        )
        self._watching = Lock()
        self._late: list[tuple[ServedModel, int, float]] = []

    # Lifecycle ------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Load the standby and create the topics; what cannot be loaded refuses the transition."""
        self._read()
        self._standby.load(self._options, self._host.server().guard)
        self._topics = AvailabilityTopics(self._node)
        self._heartbeats = self._node.create_subscription(Empty, "~/heartbeat", self._on_heartbeat, 10)
        self._publish(monotonic())

    def activate(self) -> None:
        """Begin with the primary, with no history."""
        self._read()
        now_s = monotonic()
        server = self._host.server()
        self._standby.load(self._options, server.guard)  # only where it hung before
        self._standby.begin()
        server.forget()
        expected = expected_changes(self._host.supervised().models.primary)
        server.guard.begin(now_s, has_standby=self._options.has_standby, expected=expected)
        self._late = []
        self._active_s = self._heartbeat_s = now_s
        self._camera_rate_hz = self._host.setup().camera_rate_hz
        self._timeout = FrameTimeout(self._look)

    def deactivate(self) -> None:
        """End; models that are being loaded are discarded."""
        timeout, self._timeout = self._timeout, None
        if timeout is not None:
            timeout.stop()
        with self._watching:  # what it has begun is done, and nothing follows
            self._active_s = None
        self._standby.end()
        for model, number, _ in self._late:
            if number and model.run_number == number:  # 0: it had returned when it was noted
                self._give_up(model, "it did not return before the end of the activation")
        self._late = []
        self._publish(monotonic())

    def cleanup(self) -> None:
        """Destroy the topics; the node closes the models."""
        heartbeats, self._heartbeats = self._heartbeats, None
        with self._publishing:
            topics, self._topics = self._topics, None
            if topics is not None:
                topics.destroy()
        if heartbeats is not None:
            self._node.destroy_subscription(heartbeats)
        self._standby.forget()

    def apply(self, names: Collection[str]) -> None:
        """Go by the new values from now on."""
        if set(names) & {*GuardOptions.model_fields, "camera_deadlines_ms"}:
            had_heartbeat = self._options.heartbeat_timeout_s
            self._read()
            if self._options.heartbeat_timeout_s != had_heartbeat:
                self._heartbeat_s = monotonic()
            timeout = self._timeout
            if timeout is not None:
                timeout.wake()
            if not self._options.guard_min_agreement:
                self._host.server().guard.note_agreement(float("nan"), monotonic())
        self._standby.use_settings()

    def _read(self) -> None:
        self._options = GuardOptions(**parameters.values(self._node, GuardOptions))
        guard = self._host.server().guard
        deadlines_ms = parse_entries(self._node.get_parameter("camera_deadlines_ms").value)
        guard.configure(replace(self._options.settings(), camera_deadlines_ms=deadlines_ms))
        guard.set_override(self._options.guard_level, monotonic())

    # Time-outs -------------------------------------------------------------------

    def _look(self) -> float:
        """Answer the frame in work by the standby where its time is up; return when to look again."""
        limit_s = self._limit_s()
        supervised, server = self._host.supervised(), self._host.server()
        worker = supervised.worker
        if not limit_s:
            return _FOREVER
        since_s = None if worker is None else worker.in_work_since_s
        if worker is None or since_s is None:
            return limit_s  # a frame that is begun now is not due before
        left_s = since_s + limit_s - monotonic()
        if left_s > 0.0:
            return left_s
        model = server.running
        if model is None:
            return _SOON_S
        if model is supervised.models.standby:
            # Hardly anybody answers after it: it has a time of its own, and more where it is only slow.
            own_s = max(limit_s, _PATIENCE_S, _STANDBY_FACTOR * server.guard.run_ms("standby") * 1e-3)
            if (left_s := server.running_since_s + own_s - monotonic()) > 0.0:
                return left_s
        number = model.run_number
        if not worker.take_over(limit_s):
            return _SOON_S  # just finished
        if model is supervised.models.primary:
            text = f"no result after {limit_s * 1e3:g} ms"
            server.guard.fault("timeout", text, monotonic())
        self._late.append((model, number, monotonic()))
        return limit_s

    def _limit_s(self) -> float:
        """Return the time of a frame in work, seconds; 0: any."""
        run_ms = self._host.server().guard.run_ms("primary")
        primary = self._host.supervised().models.primary
        warmup_ms = 0.0 if primary is None else primary.pipeline.session.info.warmup_ms
        return chosen_limit_s(self._options, self._camera_rate_hz, run_ms, warmup_ms)

    def _watch_late(self, now_s: float) -> None:
        """Give up a model that was too late and does not return; one that did was slow, and is kept."""
        limit_s = max(self._limit_s(), _PATIENCE_S)
        for late in list(self._late):
            model, number, since_s = late
            if not number or model.run_number != number:  # it may be in a later frame by now
                self._late.remove(late)
            elif now_s - since_s > limit_s:
                self._late.remove(late)
                self._give_up(model, f"it did not return for {limit_s:g} s more")

    def _give_up(self, model: ServedModel, text: str) -> None:
        """Let a model go that does not return; the thread that is in it closes it, if that ever ends."""
        supervised = self._host.supervised()
        if not supervised.give_up(model, text, monotonic()):
            self._standby.give_up(model, text)
        supervised.models.lose_previous(model)  # it hung while another one took its place
        model.close()

    # Frames and the watch's thread ----------------------------------------------------------------

    def after_frame(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        """Note the frame's times, and let the primary run beside the standby where that is due."""
        server = self._host.server()
        if not server.guard.is_on:
            return
        now_s = monotonic()
        age_ms = arrival.transport_age_ms if arrival.transport_age_ms == arrival.transport_age_ms else 0.0
        end_to_end_ms = age_ms + (now_s - arrival.arrived_s) * 1e3
        if answer.level == "standby":
            self._standby.note_answer()
        run_ms = sum(answer.stages_ms.values())
        server.guard.note_times(answer.level, run_ms, end_to_end_ms, now_s, arrival.camera)
        server.try_primary(answer)

    def note_agreement(self, score: float) -> None:
        """Take the shadow's agreement with the primary over its last frames, 0 to 1; NaN: there is none."""
        if self._options.guard_min_agreement:
            self._host.server().guard.note_agreement(score, monotonic())

    def _on_heartbeat(self, _: Empty) -> None:
        self._heartbeat_s = monotonic()

    def watch(self, now_s: float) -> None:
        """Look at heartbeats, at a primary beside the standby and at loads; publish."""
        with self._watching:
            if self._active_s is not None:
                self._watch(now_s)
        self._publish(now_s)

    def _watch(self, now_s: float) -> None:
        guard, limit_s = self._host.server().guard, self._options.heartbeat_timeout_s
        silent_s = now_s - self._heartbeat_s
        lost = f"none for {limit_s:g} s" if 0.0 < limit_s < silent_s else ""
        guard.condition("heartbeat", lost, now_s)
        worse = [alarm for alarm in self._host.alarms() if alarm.kind == "model"]
        drift = ", ".join(worse[0].moved) if worse and self._options.guard_on_drift else ""
        guard.condition("drift", drift, now_s)
        self._watch_probation(now_s)
        self._watch_late(now_s)
        self._standby.watch(now_s)
        self._host.server().is_alone = self._standby.is_gone
        if guard.level == 0 and guard.trusts_primary:
            self._host.supervised().trusted()

    def _watch_probation(self, now_s: float) -> None:
        server = self._host.server()
        under_way = server.probation_since
        limit_s = self._limit_s() or _PROBATION_LIMIT_S
        if under_way is not None and now_s - under_way[1] > limit_s:
            text = f"timeout: no result after {limit_s * 1e3:g} ms"
            number = under_way[0].run_number
            server.give_up_probation(text)
            self._late.append((under_way[0], number, now_s))

    def _publish(self, now_s: float) -> None:
        with self._publishing:
            self._publish_state(now_s)

    def _publish_state(self, now_s: float) -> None:
        topics, guard, models = self._topics, self._host.server().guard, self._host.supervised().models
        if topics is None or not self._node.context.ok():
            return
        for step in guard.tick(now_s):
            self._log(step)
            topics.publish_step(step, now_s)
        primary, standby = models.primary, models.standby
        states = {
            camera: assess(
                guard,
                now_s,
                self._active_s,
                is_standby_loaded=standby is not None,
                is_standby_same=are_same(primary, standby),
                camera=camera,
            )
            for camera in self._host.cameras()
        }
        state, of_cameras = worst_of(states)
        more = {} if primary is None else identity_values("primary", primary.identity)
        more |= of_cameras
        topics.publish(state, guard, more | self._standby.values, now_s)

    def _log(self, step: Step) -> None:
        before, after = step.before.name.lower(), step.after.name.lower()
        line = f"guard: {step.event}, {before} to {after}: {step.reason}"
        # A line of code has one severity in rclpy.
        if step.event == "level" and step.after is LadderLevel.PRIMARY:
            self._node.get_logger().info(line)
        else:
            self._node.get_logger().warning(line)

    # Diagnostics ----------------------------------------------------------------------------------

    def problems(self) -> Problems:
        """Return that the primary does not answer, and models that were given up."""
        guard = self._host.server().guard
        found: Problems = [(Level.ERROR, self._standby.problem)] if self._standby.problem else []
        if self._active_s is not None and guard.level:
            level = Level.WARN if guard.level == 1 else Level.ERROR
            found.append((level, f"guard: {guard.level.name.lower()}: {guard.reason}"))
        return found

    def values(self) -> dict[str, str]:
        """Return the level and the counters."""
        guard = self._host.server().guard
        if not guard.is_on:
            return {"guard": "off"}
        counters = {f"guard_{key}": str(count) for key, count in guard.counters().items()}
        return {"guard": guard.level.name.lower(), **counters, **self._standby.values}
