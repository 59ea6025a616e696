# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A loaded model that several threads know and one at a time runs, and how it is named in messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from typing import Any

from ad_compressed_perception.core.errors import AdcpError, ManifestError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.batch import FrameInBatch, infer_together, why_not_together
from ad_compressed_perception.tasks.pipeline import Inferred, Pipeline, open_pipeline

_LOGGER = logging.getLogger(__name__)
Before = Callable[[Pipeline], None]
"""Gives a pipeline's task what is known at a frame's stamp."""


@dataclass(frozen=True)
class ModelIdentity:
    """How a model is named wherever a result of it is published; all but sha256 as in NodeReport."""

    model: str = ""
    variant: str = ""
    backend: str = ""
    requested_provider: str = ""
    provider: str = ""
    precision: str = ""
    sha256: str = ""

    @property
    def name(self) -> str:
        """Model and variant, for messages."""
        return f"{self.model}/{self.variant}"

    def texts(self) -> dict[str, str]:
        """Return the fields of NodeReport that describe the model."""
        return {key: value for key, value in vars(self).items() if key != "sha256"}


@dataclass(frozen=True)
class ModelRequest:
    """Which model is to be loaded, by the node's parameters of the same names; ``batch``: camera_batch."""

    model: str
    variant: str = ""
    backend: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    allow_rejected: bool = False
    allow_outside: bool = False
    public_key: str = ""
    strict_backend: bool = False
    batch: int = 1

    def manifest(self) -> Manifest:
        """Read the model's manifest; raise ManifestError as load_manifest."""
        key = Path(self.public_key).expanduser() if self.public_key else None
        return load_manifest(self.model, allow_outside=self.allow_outside, public_key=key)


class ServedModel:
    """A pipeline that is run by one thread at a time and closed when no thread is in it any more.

    A runtime may hang: who closes a model waits for nobody; the thread that is in it closes it at its end,
    if that ever comes, because a session in use must not be freed.

    Attributes:
        own_settings: of the task, instead of those that a frame comes with; None: the frame's. With them
            model and settings are exchanged in one step.
        late_run: number of the last run whose frame was given to another thread.
        batch_problem: why its frames cannot share an inference; empty: they can.
    """

    def __init__(
        self, pipeline: Pipeline, identity: ModelIdentity, request: ModelRequest | None = None
    ) -> None:
        """Take over a pipeline, which nobody else may run or close; ``request``: what it was loaded by."""
        self.pipeline, self.identity, self.request = pipeline, identity, request
        self.own_settings: Any = None
        self.batch_problem = "it was not loaded for that"
        self._condition = Condition()
        self._in_use = self._is_closing = False
        self._runs = self.late_run = 0

    @property
    def in_use(self) -> bool:
        """Whether a thread is in it."""
        return self._in_use

    @property
    def run_number(self) -> int:
        """Number of the run under way, from 1 on; 0 outside of one."""
        return self._runs if self._in_use else 0

    def wait_for_end_of_run(self, limit_s: float) -> bool:
        """Wait until a run ends; return whether one did within ``limit_s`` seconds."""
        with self._condition:
            ended = self._runs - self._in_use
            return self._condition.wait_for(lambda: self._runs - self._in_use > ended, limit_s)

    def run(
        self,
        frame: Frame,
        settings: Any = None,
        before: Before | None = None,
        inferred: Inferred | None = None,
    ) -> tuple[Result, dict[str, float]]:
        """Return the frame's result and the milliseconds of prepare, infer and post; see Pipeline.run.

        Args:
            frame: the image.
            settings: the task's live settings; None keeps those that it has.
            before: called with the pipeline before it runs.
            inferred: the frame's outputs, where infer_together() gave them.

        Raises:
            AdcpError: the model was closed.
            BaseException: what the runtime or the decoder raises.
        """
        self._enter()
        try:
            settings = settings if self.own_settings is None else self.own_settings
            if settings is not None:
                self.pipeline.task.settings = settings
            if before is not None:
                before(self.pipeline)
            return self.pipeline.run(frame) if inferred is None else self.pipeline.finish(inferred)
        finally:
            self._leave()

    def infer_together(self, frames: Sequence[FrameInBatch]) -> list[Inferred]:
        """Return the outputs of several frames, for run(); raises as that and tasks.batch.infer_together."""
        self._enter()
        try:
            return infer_together(self.pipeline, frames)
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._condition:
            while self._in_use and not self._is_closing:
                self._condition.wait()
            if self._is_closing:
                raise AdcpError(f"{self.identity.name} was closed")
            self._runs += 1
            self._in_use = True

    def _leave(self) -> None:
        with self._condition:
            self._in_use = False
            is_closing = self._is_closing
            self._condition.notify_all()
        if is_closing:
            try:
                self.pipeline.close()
            except Exception as error:
                _LOGGER.warning("closing the model failed: %s", describe_error(error))

    def close(self) -> None:
        """Release the model now, or at the end of the run that is under way; raises what the runtime does."""
        with self._condition:
            was_closing, self._is_closing = self._is_closing, True
            self._condition.notify_all()
            if was_closing or self._in_use:
                return
        self.pipeline.close()


def identify(pipeline: Pipeline) -> ModelIdentity:
    """Return how a pipeline's model is named in messages."""
    info, manifest = pipeline.session.info, pipeline.task.manifest
    return ModelIdentity(
        model=manifest.name,
        variant=pipeline.variant,
        backend=info.backend,
        requested_provider=info.requested_provider,
        provider=info.provider,
        precision=info.precision,
        sha256=manifest.variant(pipeline.variant).sha256,
    )


def open_model(request: ModelRequest, task: str) -> ServedModel:
    """Load a model for a task after every check that its manifest asks for.

    Raises:
        AdcpError: see load_manifest and open_pipeline; one line.
    """
    if not request.model:
        raise ManifestError("parameter 'model' is empty: name a folder with a model.yaml")
    manifest = request.manifest()
    pipeline = open_pipeline(
        manifest,
        request.variant or None,
        task=task,
        backend=request.backend or None,
        options=request.options,
        allow_rejected=request.allow_rejected,
        strict=request.strict_backend,
    )
    model = ServedModel(pipeline, identify(pipeline), request)
    if request.batch > 1:
        model.batch_problem = why_not_together(pipeline)
    return model
