# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the frames of several cameras share inferences, for /diagnostics."""

from __future__ import annotations

from collections.abc import Callable

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.serving.frame_server import FrameServer
from ad_compressed_perception.serving.model_set import ModelSet


class BatchPart(NodePart):
    """Refuses a model that cannot at configure; one that came later answers frames one by one."""

    def __init__(
        self,
        models: Callable[[], ModelSet],
        server: Callable[[], FrameServer],
        requested: Callable[[], tuple[int, int]],
    ) -> None:
        """Prepare; ``requested`` returns camera_batch and the number of cameras."""
        self._models, self._server, self._requested = models, server, requested

    def configure(self) -> None:
        """Raise AdcpError where frames shall share inferences and cannot."""
        batch, cameras = self._requested()
        if batch > 1 and cameras < 2:
            raise AdcpError(f"camera_batch is {batch}: it needs two cameras or more")
        if problem := self._problem():
            raise AdcpError(f"camera_batch is {batch}: {problem}")

    def _problem(self) -> str:
        model = self._models().primary
        return model.batch_problem if model is not None and self._requested()[0] > 1 else ""

    def problems(self) -> Problems:
        """Return why a model that took over has one frame an inference."""
        problem = self._problem()
        return [(Level.WARN, f"frames share no inference: {problem}")] if problem else []

    def values(self) -> dict[str, str]:
        """Return how many frames shared one."""
        if self._requested()[0] <= 1:
            return {}
        together = self._server().shared.counts
        return {"frames_together": str(together["frames"]), "together_failed": str(together["failed"])}
