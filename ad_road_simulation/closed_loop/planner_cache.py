# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Opens planners for the routes of one process, and checks which ones can be driven."""

from __future__ import annotations

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_road_simulation.closed_loop.faulted import FaultedPlanner, parse_label, variant_of
from ad_road_simulation.closed_loop.latency import EXPERT
from ad_road_simulation.closed_loop.planners import ExpertPlanner, ModelPlanner, Planner
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera


class PlannerCache:
    """Opens planners on first use and keeps their models open for many routes in one process.

    Models with faults are opened for each route anew, so that a route's faults are its own.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Bind the model; variants are loaded on first use."""
        self._manifest = manifest
        self._renderer = Renderer(Camera())
        self._pipelines: dict[str, Pipeline] = {}
        self._faulted: FaultedPlanner | None = None

    def planner(self, label: str, seed: int = 0, standby_s: float = 0.0) -> Planner:
        """Return the planner of a variant, with faults or without, or of the reference driver.

        Args:
            label: see FaultedVariant; or EXPERT.
            seed: of the faults.
            standby_s: time that the standby of a variant with faults takes for a plan.

        Raises:
            AdcpError: a variant that is missing or cannot be loaded, or a model of another task.
        """
        if label == EXPERT:
            return ExpertPlanner(self._renderer)
        faulted = parse_label(label)
        if faulted is not None:
            self._close_faulted()
            self._faulted = FaultedPlanner(self._manifest, faulted, seed, standby_s, self._renderer)
            return self._faulted
        if label not in self._pipelines:
            pipeline = open_pipeline(self._manifest, label, task="planning", allow_rejected=True)
            self._pipelines[label] = pipeline
        return ModelPlanner(self._pipelines[label], self._renderer)

    def close(self) -> None:
        """Release the models."""
        self._close_faulted()
        while self._pipelines:
            self._pipelines.popitem()[1].close()

    def _close_faulted(self) -> None:
        faulted, self._faulted = self._faulted, None
        if faulted is not None:
            faulted.close()


def check_variants(manifest: Manifest, labels: list[str]) -> None:
    """Raise AdcpError unless the model is a planner and has every variant, each named once."""
    if manifest.task != "planning":
        raise ManifestError(
            f"model {manifest.name!r} is for task {manifest.task!r}: adcp drive needs a planner"
        )
    for label in labels:
        if label != EXPERT:
            manifest.variant(variant_of(label))
            parse_label(label)
    if len(set(labels)) != len(labels):
        raise ManifestError(f"a variant is named twice: {', '.join(labels)}")
