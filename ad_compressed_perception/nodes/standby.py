# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node's fallback: loaded and warm beside the primary, and loaded anew where it hangs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError, ManifestError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.guard_options import GuardOptions
from ad_compressed_perception.nodes.options import SetupOptions
from ad_compressed_perception.serving.guard import Guard
from ad_compressed_perception.serving.headwise import contract_by_head, needs_of
from ad_compressed_perception.serving.loading import Loading
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.peak_memory import resident_mb
from ad_compressed_perception.serving.served_model import ModelIdentity, ModelRequest, ServedModel, open_model
from ad_compressed_perception.tasks.inputs import with_example_inputs
from ad_compressed_perception.tasks.pipeline import Pipeline

BASELINE = "baseline"
MOST_REPLACEMENTS = 3
"""Fallbacks replaced without as many good frames as a probation has; each leaves a hung thread behind."""
_RETRY_S = 10.0
_WARM_UP_FRAMES = 3


class Standby:
    """Loads the standby of ``models`` at load(), and anew while watch() is called between begin() and end().

    Attributes:
        values: what is published of it; empty where there is none.
        problem: why there is none although one is asked for; empty otherwise.
        is_gone: it is not loaded, and will not be soon.
    """

    def __init__(
        self,
        node: Node,
        task: str,
        models: Callable[[], ModelSet],
        setup: Callable[[], SetupOptions],
        settings_for: Callable[[Pipeline], Any],
    ) -> None:
        """Prepare; see GuardHost for the arguments."""
        self._node, self._task, self._models = node, task, models
        self._setup, self._settings_for = setup, settings_for
        self._lock = Lock()
        self._guard = Guard()
        self._options = GuardOptions()
        self._is_active = False
        self._loading: Loading[ServedModel] | None = None
        self._next_load_s = 0.0
        self._lost = self._good = 0
        self.values: dict[str, str] = {}
        self.problem = ""
        self.is_gone = False

    def load(self, options: GuardOptions, guard: Guard) -> None:
        """Load it, where one is asked for and none is loaded, and wait for that.

        Raises:
            AdcpError: it cannot be loaded.
        """
        self._options, self._guard = options, guard
        models = self._models()
        if not options.has_standby or models.standby is not None:
            return
        before_mb = resident_mb()
        loading = Loading(self._open, self._discard)
        try:
            model = loading.wait(self._setup().load_timeout_s, lambda: not self._node.context.ok())
        except AdcpError as error:
            raise AdcpError(f"fallback: {error}") from error
        self._use(model, resident_mb() - before_mb)

    def begin(self) -> None:
        """Watch from now on, with no history."""
        with self._lock:
            self._is_active, self._lost, self._good = True, 0, 0
            self._next_load_s, self.problem, self.is_gone = 0.0, "", False

    def end(self) -> None:
        """Load no more; what is being loaded is discarded."""
        with self._lock:
            self._is_active = False
            loading, self._loading = self._loading, None
        if loading is not None:
            loading.abandon()

    def forget(self) -> None:
        """Publish nothing of it any more: its model was released."""
        self.values = {}

    def use_settings(self) -> None:
        """Give it the task's settings as they are now; its model may have others of its own."""
        model = self._models().standby
        if model is not None:
            model.own_settings = self._settings_for(model.pipeline)

    def note_answer(self) -> None:
        """Note a frame that it answered: after some of them it may hang as often again."""
        self._good += 1
        if self._good >= self._options.guard_probation_frames:
            self._lost = 0

    def give_up(self, model: ServedModel, text: str) -> bool:
        """Let it go, whose thread does not return; the caller closes it. False: it is no standby."""
        if not self._models().lose_standby(model):
            return False
        with self._lock:
            self._note_loss(text)
        return True

    def watch(self, now_s: float) -> None:
        """Load it anew where it is lost."""
        with self._lock:
            is_due = self._is_active and self._options.has_standby
            if not is_due or self._models().standby is not None:
                return
            loading = self._loading
            if loading is None and not self.problem:
                self._note_loss("its thread does not return")  # the node's watchdog took it away
            if loading is None:
                self._begin_load(now_s)
            elif loading.is_done or loading.elapsed_s > self._setup().load_timeout_s:
                self._loading = None
                self._finish(loading, now_s)

    # With the lock --------------------------------------------------------------------------------

    def _note_loss(self, text: str) -> None:
        self._lost, self._good, self._next_load_s = self._lost + 1, 0, 0.0
        self.values = {}  # nobody may take it for one that is loaded
        self.problem = f"the standby was given up: {text}"
        self._node.get_logger().error(self.problem)

    def _begin_load(self, now_s: float) -> None:
        if self._lost > MOST_REPLACEMENTS:
            self.is_gone = True
            self.problem = (
                f"the standby was given up {self._lost} times, and is not loaded again until the node is "
                "activated anew"
            )
        elif now_s >= self._next_load_s:
            self._loading = Loading(self._open, self._discard)

    def _finish(self, loading: Loading[ServedModel], now_s: float) -> None:
        try:
            model = loading.wait(self._setup().load_timeout_s)
        except BaseException as error:
            self._next_load_s, self.is_gone = now_s + _RETRY_S, True
            self.problem = f"the standby cannot be loaded again: {describe_error(error)}"
            self._node.get_logger().error(self.problem)
            return
        self.problem, self.is_gone = "", False
        self._use(model, float("nan"))

    # The model ------------------------------------------------------------------------------------

    def _request(self) -> ModelRequest:
        options, setup = self._options, self._setup()
        request = ModelRequest(
            model=options.fallback_model or setup.model,
            variant=options.fallback_variant,
            backend=options.fallback_backend,
            options={"threads": setup.threads},
            allow_rejected=setup.allow_rejected,
            allow_outside=setup.allow_outside,
            public_key=setup.public_key,
            strict_backend=setup.strict_backend,
        )
        if request.variant != BASELINE:
            return request
        manifest = request.manifest()
        return request if BASELINE in manifest.variants else replace(request, variant=manifest.baseline)

    def _open(self) -> ServedModel:
        model = open_model(self._request(), self._task)
        try:
            self._check_labels(model)
            self._warm_up(model)
        except BaseException:
            model.close()
            raise
        return model

    def _check_labels(self, standby: ServedModel) -> None:
        primary = self._models().primary
        if primary is None:
            return
        if needs_of(primary.pipeline.task.manifest) != needs_of(standby.pipeline.task.manifest):
            raise ManifestError(f"the fallback {standby.identity.name} needs other inputs than the model")
        ours, its = (contract_by_head(each.pipeline.task.manifest) for each in (primary, standby))
        if ours != its:
            what = "labels" if ours.keys() == its.keys() else "heads"
            raise ManifestError(
                f"the fallback {standby.identity.name} has other {what} than the "
                "model: subscribers would take one for another"
            )

    def _warm_up(self, standby: ServedModel) -> None:
        """Run gray frames, so that the first real one takes no longer; how long they take is remembered."""
        gray = Frame(np.full((480, 640, 3), 114, np.uint8), "BGR")
        gray = with_example_inputs(gray, standby.pipeline.task.manifest)
        self._guard.new_standby()
        for _ in range(_WARM_UP_FRAMES):
            try:
                _, stages_ms = standby.run(gray)
            except AdcpError:
                return  # a decoder may refuse what a model makes of a gray image
            self._guard.note_run("standby", sum(stages_ms.values()))

    def _use(self, model: ServedModel, memory_mb: float) -> None:
        model.own_settings = self._settings_for(model.pipeline)
        models = self._models()
        models.standby = model
        info = model.pipeline.session.info
        self.values = {
            **identity_values("standby", model.identity),
            "standby_load_ms": f"{info.load_ms:.1f}",
            "standby_memory_mb": f"{memory_mb:.1f}",
        }
        same = are_same(models.primary, model)
        note = "; it is the same variant as the model's, and fails where that does" if same else ""
        self._node.get_logger().info(
            f"fallback {model.identity.name} on {info.backend}: loaded in "
            f"{info.load_ms:.0f} ms, {memory_mb:.0f} MB{note}"
        )

    def _discard(self, model: ServedModel) -> None:
        try:
            model.close()
        except Exception as error:
            note_failure(self._node, "closing a model", error)


def are_same(primary: ServedModel | None, standby: ServedModel | None) -> bool:
    """Return whether both are the same variant on the same runtime."""
    return primary is not None and standby is not None and primary.identity == standby.identity


def identity_values(use: str, identity: ModelIdentity) -> dict[str, str]:
    """Return how a model is named on ~/availability, by its use."""
    return {
        use: identity.name,
        f"{use}_backend": identity.backend,
        f"{use}_sha256": identity.sha256,
    }
