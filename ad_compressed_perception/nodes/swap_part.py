# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Exchanges the model of a running node: parameters, ~/load, ~/rollback, ~/promote; figures on ~/swap."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from pydantic import ValidationError
from rcl_interfaces.msg import Parameter as ParameterMessage
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.memory import release_freed_memory
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.options import SetupOptions
from ad_compressed_perception.nodes.swap_host import SwapHost, SwapOptions
from ad_compressed_perception.nodes.swap_parameters import (
    LIVE_NAMES,
    SHADOW_NAMES,
    Waiting,
    model_request,
    names_of_a_load,
    values_that_run,
)
from ad_compressed_perception.nodes.swap_topic import SwapTopic
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.candidate_check import BeforeFrame, Checked, check_candidate
from ad_compressed_perception.serving.recent_frames import RecentFrame, RecentFrames
from ad_compressed_perception.serving.served_model import ServedModel, open_model
from ad_compressed_perception.serving.swap import Attempt, Kind, Steps, SwapReport, Swaps

_SILENT_S, _FRAMES_S = 1.0, 5.0

_FREED_S = 2.0
"""After a model was closed: a run that was under way ends then, and runtimes free in their own threads."""


class SwapPart(NodePart):
    """The exchange of the primary; requests wait for it without holding up the node's executor."""

    options_type = SwapOptions

    def __init__(self, node: Node, host: SwapHost) -> None:
        """Create the services and the topic; ``node`` and ``host`` are the same object."""
        self._node, self._host = node, host
        self._swaps: Swaps | None = None
        self._recent, self._of_standby = RecentFrames(), RecentFrames()
        self._waiting: list[Waiting] = []
        self._is_adopting = False
        self._release_s = math.inf
        self._to_adopt: SwapReport | None = None
        self._topic = SwapTopic(node)
        # Of their own, so that a request that waits holds up no other callback.
        self.group = ReentrantCallbackGroup()
        for name, callback in (("load", self._on_load), ("promote", self._on_promote)):
            node.create_service(Trigger, f"~/{name}", callback, callback_group=self.group)
        node.create_service(Trigger, "~/rollback", self._on_rollback, callback_group=self.group)

    # The node's states ---------------------------------------------------------------------------

    def configure(self) -> None:
        """Let the parameters name what runs."""
        self._swaps = Swaps(self._host.models, self._note_closed)
        self._keep_frames()
        self._name_what_runs()

    def deactivate(self) -> None:
        """End an exchange that is under way; the frames of the next activation are counted anew."""
        self._cancel("the node was deactivated meanwhile")
        self._topic.begin_anew()

    def cleanup(self) -> None:
        """End an exchange; let the parameters name what was asked for, which the next configure loads."""
        self._cancel("the node was cleaned up meanwhile")
        self.settings_changed()
        self._topic.forget()
        model = self._host.models.primary
        if self._swaps is not None and model is not None and model.request is not None:
            self._set({"variant": model.request.variant})
        self._swaps = None

    def after_frame(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        """Keep the frame; publish the gap at the first answer of a new model."""
        if answer.level == "hold":  # it may be the old model's, but is no answer of it
            return
        answered = RecentFrame(frame, arrival.stamp_ns, answer.own, answer.identity)
        if answer.level == "standby":
            self._of_standby.add(answered)
            return
        self._recent.add(answered)
        self._topic.note_answer(answer.identity, self._host.unanswered)

    def _note_closed(self) -> None:
        """Release the memory of a model that was closed; once more when its runtime has freed the rest."""
        release_freed_memory()
        self._release_s = monotonic() + _FREED_S

    def watch(self, now_s: float) -> None:
        """Wake the executor for an exchange that is done: some wait until something happens."""
        if now_s >= self._release_s:
            self._release_s = math.inf
            release_freed_memory()
        if self._swaps is not None and self._swaps.has_done:
            self._wake()

    def values(self) -> dict[str, str]:
        """Return how many exchanges there were."""
        swaps = self._swaps
        return {} if swaps is None else {"swaps": str(swaps.done), "swaps_refused": str(swaps.refused)}

    # Parameters ----------------------------------------------------------------------------------

    def load_ahead(self, given: Sequence[ParameterMessage]) -> Waiting | None:
        """Begin to load what a request for parameters asks for; None where it asks for no load.

        The request is to be handled when the load is done: check() then exchanges.
        """
        changed = {
            name: value
            for name, value in parameters.plain(
                [Parameter.from_parameter_msg(each) for each in given]
            ).items()
            if name in LIVE_NAMES
        }
        if not self._loads(changed):
            return None
        waiting = Waiting(None, changed, self._close)
        try:
            kinds = {each.name: Parameter.from_parameter_msg(each).type_ for each in given}
            for name in changed:
                present = self._node.get_parameter(name).type_
                if present != kinds[name] and "ARRAY" not in kinds[name].name:
                    raise AdcpError(f"parameter {name!r} is a {present.name}, not a {kinds[name].name}")
            waiting = Waiting(self._begin(changed), changed, self._close)
        except AdcpError as error:
            waiting.problem, waiting.is_settled = self._refuse("swap", error), True
        self._waiting.append(waiting)
        return waiting

    def check(self, values: Mapping[str, Any]) -> None:
        """Exchange the model where the values ask for it, after every other check; raise what refuses it."""
        changed = {name: value for name, value in values.items() if name in LIVE_NAMES}
        if self._is_adopting or not changed:
            return
        for waiting in self._waiting:
            if waiting.is_ready and waiting.covers(changed):
                self._settle(waiting)
                return
        if self._loads(changed):
            attempt = self._begin(changed)
            attempt.wait()
            self._finish(attempt)

    def apply(self, names: Collection[str]) -> None:
        """Describe a model that took over; keep another number of frames."""
        if self._is_adopting:
            return
        if "swap_check_frames" in names:
            self._keep_frames()
        if self._swaps is not None and LIVE_NAMES.intersection(names):
            self._adopt()

    def settings_changed(self) -> None:
        """Drop the frames whose results were made with other settings."""
        self._recent.clear()
        self._of_standby.clear()

    # Services ------------------------------------------------------------------------------------

    async def _on_load(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._answer("load", response)

    async def _on_promote(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._answer("promote", response)

    async def _answer(self, kind: Kind, response: Trigger.Response) -> Trigger.Response:
        waiting = None
        try:
            attempt = self._begin({}) if kind == "load" else self._begin_promotion()
            waiting = Waiting(attempt, {}, self._close)
            await waiting
            self._finish(attempt)
            response.success, response.message = True, self._adopt()
        except AdcpError as error:
            response.success = False
            response.message = str(error) if waiting is not None else self._refuse(kind, error)
        except Exception as error:  # the client must be answered
            note_failure(self._node, f"~/{kind}", error)
            response.success, response.message = False, describe_error(error)
        return response

    def _on_rollback(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        is_allowed = False
        try:
            self._need_configured()
            assert self._swaps is not None
            model = self._host.models.previous
            if model is not None:
                self._need_allowed(model)
            is_allowed = True
            if model is not None:
                model.own_settings = self._host.settings_for(model.pipeline)
            self._swaps.cancel("a rollback came first")
            self._conclude(self._swaps.roll_back())
            response.success, response.message = True, self._adopt()
        except AdcpError as error:
            response.success = False
            response.message = str(error) if is_allowed else self._refuse("rollback", error)
        except Exception as error:
            note_failure(self._node, "~/rollback", error)
            response.success, response.message = False, describe_error(error)
        return response

    # The exchange --------------------------------------------------------------------------------

    def _keep_frames(self) -> None:
        for each in (self._recent, self._of_standby):
            each.keep(self._options().swap_check_frames)

    def _options(self) -> SwapOptions:
        return SwapOptions(**parameters.values(self._node, SwapOptions))

    def _loads(self, changed: Mapping[str, Any]) -> bool:
        return self._host.is_configured and self._swaps is not None and bool(names_of_a_load(changed))

    def _need_configured(self) -> None:
        if not self._host.is_configured or self._swaps is None:
            raise AdcpError("the node is not configured: there is no model to exchange")

    def _need_allowed(self, model: ServedModel) -> None:
        verdict = model.pipeline.task.manifest.variant(model.identity.variant).verdict
        is_rejected = verdict is not None and verdict.status == "rejected"
        if is_rejected and not self._node.get_parameter("allow_rejected").value:
            raise AdcpError(f"{model.identity.variant} was rejected by its accept gate: set allow_rejected")

    def _begin(self, changed: Mapping[str, Any]) -> Attempt:
        self._need_configured()
        try:
            setup = SetupOptions(**(parameters.values(self._node, SetupOptions) | dict(changed)))
        except ValidationError as error:
            raise AdcpError(f"parameter {describe_validation_error(error)}") from error
        request = model_request(vars(setup))
        asked = f"{request.model}/{request.variant or 'its baseline'}"
        kind: Kind = "swap" if changed else "load"
        return self._start(
            kind, asked, lambda: open_model(request, self._host.task_name), setup.load_timeout_s
        )

    def _begin_promotion(self) -> Attempt:
        self._need_configured()
        shadow = self._host.models.shadow
        if shadow is None:
            raise AdcpError("there is no shadow to promote: set shadow_variant")
        limit_s = float(self._node.get_parameter("load_timeout_s").value)
        return self._start("promote", shadow.identity.name, lambda: shadow, limit_s)

    def _start(self, kind: Kind, asked: str, load: Any, limit_s: float) -> Attempt:
        if self._host.is_replacing:
            raise AdcpError("the running model hangs and is being replaced: try again when it is")
        assert self._swaps is not None
        options, old = self._options(), self._host.models.primary
        before: BeforeFrame = self._host.before_frame

        def check(new: ServedModel) -> tuple[Checked, Any]:
            settings = self._host.settings_for(new.pipeline)
            # Right after a swap there are few frames of the running model, which would show nothing.
            wait_s = (_SILENT_S, _FRAMES_S) if self._host.is_active else (0.0, 0.0)
            count, least = options.swap_check_frames, options.swap_min_agreement
            # A primary that the guard has left is no measure of another model: the one that serves is.
            why, standby = self._host.distrust, self._host.models.standby
            serving, recent = (standby, self._of_standby) if why else (old, self._recent)
            frames = [] if serving is None else recent.wait_for(serving.identity, count, *wait_s)
            found = check_candidate(
                new, serving or old, frames, settings=settings, before=before, least=least
            )
            note = f"not compared with the running model ({why})" if why else ""
            return replace(found, note="; ".join(filter(None, (note, found.note)))), settings

        return self._swaps.begin(kind, asked, Steps(load, check, kind != "promote"), limit_s, self._wake)

    def _settle(self, waiting: Waiting) -> None:
        """Exchange once for a request; the parameters that follow in it are part of the same exchange."""
        if not waiting.is_settled:
            waiting.is_settled = True
            try:
                if waiting.attempt is not None:
                    self._finish(waiting.attempt)
            except AdcpError as error:
                waiting.problem = str(error)
        waiting.raise_problem()

    def _finish(self, attempt: Attempt) -> None:
        swaps = self._swaps
        if swaps is None:
            raise AdcpError("the node was cleaned up meanwhile")
        if self._host.is_replacing:
            attempt.cancel("the running model hangs and is being replaced")
        self._conclude(swaps.finish(attempt))

    def _conclude(self, report: SwapReport) -> None:
        """Remember a new model to describe it; raise AdcpError where it was refused."""
        if report.reason:
            self._node.get_logger().warning(report.line())
            self._topic.publish(report)
            raise AdcpError(report.reason)
        self._topic.exchanged(report, self._host.unanswered)
        self._to_adopt = report

    def _refuse(self, kind: Kind, error: AdcpError) -> str:
        model = self._host.models.primary
        report = SwapReport(kind, str(error))
        report = report if model is None else replace(report, old=model.identity)
        if self._swaps is not None:
            self._swaps.refused += 1
        self._node.get_logger().warning(report.line())
        self._topic.publish(report)
        return str(error)

    def _adopt(self) -> str:
        """Describe the model that serves; return that in one line."""
        report, self._to_adopt = self._to_adopt, None
        model = self._host.models.primary
        if report is not None and model is not None:
            self._host.adopt(model)
            model.own_settings = None
            if report.kind == "promote":  # it is the shadow no longer
                self._set(dict.fromkeys(SHADOW_NAMES, ""))
            self._node.get_logger().info(
                f"{report.line()}; sha256 {report.old.sha256} to {report.new.sha256}"
            )
            self._topic.publish_first(report)
        self._name_what_runs()
        return "" if report is None else report.line()

    def _name_what_runs(self) -> None:
        model = self._host.models.primary
        if model is not None:
            self._set(values_that_run(model, parameters.values(self._node, SetupOptions)))

    def _set(self, values: Mapping[str, Any]) -> None:
        """Set parameters to what is so already."""
        self._is_adopting = True
        try:
            parameters.set_changed(self._node, values)
        finally:
            self._is_adopting = False

    def _close(self, waiting: Waiting) -> None:
        """End what a request has begun and did not take, as where another of its values was refused."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        if not waiting.is_settled and self._swaps is not None:
            self._swaps.cancel("another parameter of the request was refused", waiting.attempt)
        if self._to_adopt is not None:
            self._adopt()

    def _cancel(self, why: str) -> None:
        if self._swaps is not None:
            self._swaps.cancel(why)
            self._wake()

    def _wake(self) -> None:
        executor = self._node.executor
        if executor is not None:
            executor.wake()
