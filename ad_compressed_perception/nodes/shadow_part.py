# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A shadow on a node: loaded beside the primary, exchanged by parameters, figures on ~/shadow/figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from threading import Lock
from time import monotonic, perf_counter
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.task_names import MULTI_TASK
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.monitor.gate import Gate, gate_of
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.options import SetupOptions, parse_backend_options
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.nodes.running_shadow import PREFIX, RunningShadow, ShadowHost, ShadowOptions
from ad_compressed_perception.nodes.swap_parameters import SHADOW_NAMES
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.loading import Loading
from ad_compressed_perception.serving.served_model import ModelRequest, ServedModel, open_model
from ad_compressed_perception.serving.shadow_agreement import ShadowScore
from ad_compressed_perception.serving.shadow_runner import rehearse

_Loaded = tuple[ServedModel, list[float]]
"""A shadow, and the seconds that it needs, as far as is known."""
_FIGURES_PERIOD_S = 2.0
_STALE = 3  # diagnostic_msgs/DiagnosticStatus.STALE
HANG_S = 10.0
"""Time in one frame after which a shadow is given up."""


class ShadowPart(NodePart):
    """Loads the shadow off the executor; a shadow that cannot be loaded, fails or hangs is a warning only."""

    options_type = ShadowOptions

    def __init__(self, node: Node, host: ShadowHost, note_agreement: Callable[[float], object]) -> None:
        """Shadow the primary; ``node`` and ``host`` are the same object.

        Args:
            node: creates topics.
            host: has the models.
            note_agreement: gets the upper end of the agreement's interval: what is surely too low.
        """
        self._node, self._host, self._note_agreement = node, host, note_agreement
        self._lock = Lock()
        self._publisher: Any = None
        self._loading: Loading[_Loaded] | None = None
        self._running: RunningShadow | None = None
        self._problem = ""
        self._score = ShadowScore()
        self._next_s = 0.0
        self._has_new_settings = False

    def agreement(self) -> ShadowScore:
        """Return the last published agreement of primary and shadow; without frames where there is none."""
        return self._score

    # Lifecycle ------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Create the topic and begin to load."""
        self._publisher = self._node.create_publisher(DiagnosticArray, f"{PREFIX}/figures", LATCHED_QOS)
        self._load()

    def activate(self) -> None:
        """Begin anew where the last activation gave the shadow up."""
        running = self._running
        if running is not None and running.is_given_up:
            self._load()

    def deactivate(self) -> None:
        """Drop frames that wait."""
        if self._running is not None:
            self._running.pause()

    def cleanup(self) -> None:
        """Release the shadow."""
        self._drop()
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            self._node.destroy_publisher(publisher)

    def apply(self, names: Collection[str]) -> None:
        """Load another shadow, or choose frames in another way."""
        if self._publisher is None:
            return
        self._has_new_settings = True
        if set(SHADOW_NAMES) & set(names):
            self._load()
        elif set(ShadowOptions.model_fields) & set(names) and self._running is not None:
            self._running.use(*self._options())

    def _options(self) -> tuple[ShadowOptions, float]:
        values = parameters.values(self._node, ShadowOptions)
        return ShadowOptions(**values), float(self._node.get_parameter("camera_rate_hz").value)

    def _load(self) -> None:
        """Drop the present shadow and load the one that the parameters name, if any."""
        self._drop()
        options, _ = self._options()
        if not (options.shadow_variant or options.shadow_model):
            return
        if self._host.task_name == MULTI_TASK:
            self._problem = "no shadow: there is none yet for models with several heads"
            return
        setup = SetupOptions(**parameters.values(self._node, SetupOptions))
        task, limit_s = self._host.task_name, setup.load_timeout_s

        def load() -> _Loaded:
            given = {} if options.shadow_backend else parse_backend_options(setup.backend_options)
            request = ModelRequest(
                model=options.shadow_model or setup.model,
                variant=options.shadow_variant,
                backend=options.shadow_backend,
                options={"threads": setup.threads, **given},
                allow_rejected=setup.allow_rejected,
                allow_outside=setup.allow_outside,
                public_key=setup.public_key,
                strict_backend=setup.strict_backend,
            )
            model = open_model(request, task)
            try:
                return model, rehearse(model)
            except BaseException:
                model.close()
                raise

        with self._lock:
            self._loading, self._limit_s = Loading(load, lambda loaded: loaded[0].close()), limit_s

    def _drop(self) -> None:
        with self._lock:
            loading, self._loading = self._loading, None
            running, self._running = self._running, None
            self._problem, self._score = "", ShadowScore()
        if loading is not None:
            loading.abandon()
        if running is not None:
            self._close(running)
            self._publish_end(running)

    def _close(self, running: RunningShadow) -> None:
        is_mine = self._host.models.lose_shadow(running.model)
        # Where it is the shadow no longer, it was promoted, and must stay open.
        running.close(keeps_model=not is_mine and not running.is_given_up)

    # Frames ---------------------------------------------------------------------------------------

    def before_answer(self, frame: Frame, arrival: Arrival) -> None:
        """Let the shadow run first where it is its turn."""
        running = self._running
        if running is not None:
            running.before_primary(frame, arrival)

    def after_frame(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        """Give the frame to the shadow."""
        running = self._running
        if running is not None and (running.is_given_up or self._host.models.shadow is running.model):
            running.after_primary(frame, arrival, answer)

    # Watch ----------------------------------------------------------------------------------------

    def watch(self, now_s: float) -> None:
        """Adopt a loaded shadow, give up a hung one, let go of a promoted one, publish figures."""
        with self._lock:
            self._finish_loading()
            running = self._running
        if running is None:
            return
        if not running.is_given_up:
            hung_s = running.runner.busy_s(monotonic())
            if hung_s > HANG_S:
                running.give_up(f"has been at one frame for {hung_s:.0f} s")
        if running.is_promoted:
            self._let_go(running)
            return
        if self._has_new_settings:  # not at once, for the node applies them last
            self._has_new_settings = False
            running.take_settings()
        running.publish_due()
        if now_s >= self._next_s:
            self._next_s = now_s + _FIGURES_PERIOD_S
            self._publish(running)

    def _finish_loading(self) -> None:
        loading = self._loading
        if loading is None or not (loading.is_done or loading.elapsed_s > self._limit_s):
            return
        self._loading = None
        try:
            model, took_s = loading.wait(self._limit_s)
        except BaseException as error:  # whatever a runtime raises
            self._problem = f"no shadow: {describe_error(error)}"
            self._node.get_logger().error(self._problem)
            return
        try:
            running = RunningShadow(self._node, self._host, model, self._gate(model), took_s)
        except BaseException:
            model.close()
            raise
        running.use(*self._options())
        self._host.models.shadow = model
        self._running = running
        identity = model.identity
        self._node.get_logger().info(
            f"shadow {running.name} on {identity.backend} {identity.provider}, sha256 {identity.sha256[:12]}"
        )

    def _gate(self, model: ServedModel) -> Gate:
        """Return the terms of the shadow, else those of the primary, else the default ones."""
        for each in (model, self._host.models.primary):
            try:
                found = gate_of(each.pipeline.task.manifest, each.identity.variant) if each else None
            except AdcpError as error:
                self._problem = f"the shadow is compared by default terms: {error}"
                continue
            if found is not None:
                return found
        return Gate()

    def _let_go(self, running: RunningShadow) -> None:
        with self._lock:
            if self._running is not running:
                return
            self._running, self._score = None, ShadowScore()
        running.close(keeps_model=not running.is_given_up)
        self._publish_end(running)

    def _publish(self, running: RunningShadow) -> None:
        self._score = running.agreement.score(perf_counter())
        high = self._score.estimate.interval[1]
        if not math.isnan(high):
            self._note_agreement(high)
        problems = self.problems()
        level = max((level for level, _ in problems), default=Level.OK)
        text = "; ".join(text for _, text in problems) or "OK"
        self._send(running, level, text, running.figures(self._score))

    def _publish_end(self, running: RunningShadow) -> None:
        """Say that it runs no longer: who subscribes later would take its last figures for present ones."""
        self._note_agreement(math.nan)
        self._send(running, _STALE, f"{running.name} is the shadow no longer", {})

    def _send(self, running: RunningShadow, level: int, text: str, figures: Mapping[str, str]) -> None:
        publisher = self._publisher
        if publisher is None or not self._node.context.ok():
            return
        status = DiagnosticStatus(
            level=bytes([level]),
            name=f"{self._node.get_fully_qualified_name()}: shadow",
            message=text,
            hardware_id=running.model.identity.model,
            values=[KeyValue(key=key, value=value) for key, value in figures.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        publisher.publish(message)

    # Diagnostics ----------------------------------------------------------------------------------

    def problems(self) -> Problems:
        """Return why there is no shadow, or what is wrong with it: warnings, as the primary goes on."""
        running, score = self._running, self._score
        found: Problems = [(Level.WARN, self._problem)] if self._problem else []
        if running is not None and running.is_given_up:
            found.append((Level.WARN, f"the shadow {running.name} {running.last_reason} and was given up"))
        elif running is not None and score.failed:
            line = f"the shadow failed on {score.failed} of {score.estimate.compared} frames"
            found.append((Level.WARN, f"{line}: {running.last_reason}"))
        return found

    def values(self) -> dict[str, str]:
        """Return the shadow's name and agreement."""
        running, score = self._running, self._score
        if running is None:
            return {"shadow": "loading"} if self._loading is not None else {}
        (low, high), compared = score.estimate.interval, score.estimate.compared
        agreed = f"{score.estimate.score:.3f} ({low:.3f} to {high:.3f}, {compared} frames)"
        return {"shadow": running.name, "shadow_agreement": agreed if compared else "unknown"}
