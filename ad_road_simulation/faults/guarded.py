# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A variant with injected faults, guarded by the code that a node runs, with its baseline as standby."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from types import SimpleNamespace

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.frame_server import FrameServer
from ad_compressed_perception.serving.guard import Guard, GuardSettings
from ad_compressed_perception.serving.ladder import LadderSettings
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import Before, ServedModel, identify
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_road_simulation.faults.backend import FaultCounts, FaultySession
from ad_road_simulation.faults.options import FaultOptions

_PAUSE_S = 0.0005


class GuardedModel:
    """Answers frames one after the other, in the time of the caller's clock.

    Attributes:
        variant_pipeline: the variant with faults.
    """

    def __init__(
        self,
        manifest: Manifest,
        variant: str,
        faults: FaultOptions,
        ladder: LadderSettings,
        clock: Callable[[], float],
    ) -> None:
        """Load variant and baseline.

        Args:
            manifest: of the model.
            variant: its name; it runs on the runtime that the manifest names.
            faults: what is injected; the runtime named there is not used.
            ladder: time constants of the guard.
            clock: returns seconds, which may be simulated.

        Raises:
            AdcpError: a model that cannot be loaded; or the baseline, which is the standby.
        """
        if variant == manifest.baseline:
            raise ManifestError(f"{variant} is the baseline, which is the standby: name another variant")
        self._counts = FaultCounts()
        plain = open_pipeline(manifest, variant, allow_rejected=True)
        session = FaultySession(plain.session, manifest.variant_path(variant), faults, self._counts)
        self.variant_pipeline = Pipeline(plain.task, session, variant)
        self._models = ModelSet()
        self._models.primary = _served(self.variant_pipeline)
        self._models.standby = _served(open_pipeline(manifest, allow_rejected=True))
        self._guard = Guard(GuardSettings(ladder))
        self._guard.begin(clock(), has_standby=True)
        self._server = FrameServer(self._models, self._guard, clock)

    @property
    def injected(self) -> int:
        """Faults injected since the begin."""
        return self._counts.injected.total()

    @property
    def trusts_variant(self) -> bool:
        """Whether the next frame goes to the variant first."""
        return self._guard.trusts_primary

    def answer(self, frame: Frame, stamp_ns: int, before: Before) -> Answer:
        """Return the frame's answer; runs the variant beside the standby where that is due, and waits for it.

        Args:
            frame: the image.
            stamp_ns: above 0.
            before: called with the pipeline before it runs.

        Raises:
            Exception: no model answers, and no result is held.
        """
        answer = self._server.answer(frame, stamp_ns, None, before)
        self._server.published(answer, SimpleNamespace(), stamp_ns)
        self._server.try_primary(answer)
        while self._server.probation_since is not None:
            sleep(_PAUSE_S)
        return answer

    def close(self) -> None:
        """Release the models."""
        for model in self._models.take_all():
            model.close()


def _served(pipeline: Pipeline) -> ServedModel:
    return ServedModel(pipeline, identify(pipeline))
