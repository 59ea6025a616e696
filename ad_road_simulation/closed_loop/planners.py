# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who plans: a variant of a model that is shown images, or the reference that knows the world."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.tasks.planning import PlanningTask
from ad_road_simulation.closed_loop.latency import EXPERT
from ad_road_simulation.closed_loop.planner_queue import Shot
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.scene import Scene
from ad_road_simulation.world.simulation import Simulation


class Planner(Protocol):
    """Plans from what it was shown at the moment of an image."""

    def look(self, simulation: Simulation) -> object:
        """Return what the planner is shown now; plain data that the simulation does not change later."""

    def plan(self, shot: Shot) -> Trajectory:
        """Return the plan of a moment; ResultError where the model's answer means nothing."""

    def image(self, shot: Shot) -> NDArray[np.uint8]:
        """Return the camera's image (H, W, 3) BGR of a moment, for people to look at."""


class ExpertPlanner:
    """The reference driver's plans, made of the ground truth: the floor that no model gets below."""

    def __init__(self, renderer: Renderer) -> None:
        """Bind the camera, which is for people alone."""
        self._renderer = renderer

    def look(self, simulation: Simulation) -> tuple[Scene, Trajectory]:
        """Return the scene and the reference plan."""
        return simulation.scene(), simulation.reference().trajectory

    def plan(self, shot: Shot) -> Trajectory:
        """Return the reference plan of the moment."""
        trajectory: Trajectory = shot.view[1]
        return trajectory

    def image(self, shot: Shot) -> NDArray[np.uint8]:
        """Return the camera's image of a moment."""
        return self._renderer.render(shot.view[0]).image_bgr


class ModelPlanner:
    """A variant behind the camera."""

    def __init__(self, pipeline: Pipeline, renderer: Renderer) -> None:
        """Bind the loaded variant, which the caller closes, to the camera."""
        self._pipeline = pipeline
        self._task = pipeline.task
        self._renderer = renderer
        self._last: tuple[Shot, NDArray[np.uint8]] | None = None

    def look(self, simulation: Simulation) -> Scene:
        """Return the scene: an image that is dropped need not be painted."""
        return simulation.scene()

    def plan(self, shot: Shot) -> Trajectory:
        """Paint the moment's image and run the variant on it."""
        if isinstance(self._task, PlanningTask):
            self._task.observe_speed(shot.speed_mps)
        frame = Frame(self.image(shot), "BGR", round(shot.time_s * 1e9))
        result, _ = self._pipeline.run(frame)
        assert isinstance(result, Trajectory)
        return result

    def image(self, shot: Shot) -> NDArray[np.uint8]:
        """Return the camera's image of a moment."""
        if self._last is None or self._last[0] is not shot:
            self._last = (shot, self._renderer.render(shot.view).image_bgr)
        return self._last[1]


class PlannerBench:
    """Opens planners when they are needed first and keeps them, for many routes in one process."""

    def __init__(self, manifest: Manifest) -> None:
        """Bind the model; nothing is loaded yet."""
        self._manifest = manifest
        self._renderer = Renderer(Camera())
        self._pipelines: dict[str, Pipeline] = {}

    def planner(self, variant: str) -> Planner:
        """Return the planner of a variant, or the reference driver's.

        Raises:
            AdcpError: a variant that is not there or cannot be loaded, or a model of another task.
        """
        if variant == EXPERT:
            return ExpertPlanner(self._renderer)
        if variant not in self._pipelines:
            pipeline = open_pipeline(self._manifest, variant, task="planning", allow_rejected=True)
            self._pipelines[variant] = pipeline
        return ModelPlanner(self._pipelines[variant], self._renderer)

    def close(self) -> None:
        """Release the models."""
        while self._pipelines:
            self._pipelines.popitem()[1].close()


def check_variants(manifest: Manifest, variants: list[str]) -> None:
    """Raise ManifestError unless the model plans and has every variant, and each is named once."""
    if manifest.task != "planning":
        raise ManifestError(
            f"model {manifest.name!r} is for task {manifest.task!r}: adcp drive needs a planner"
        )
    for name in variants:
        if name != EXPERT:
            manifest.variant(name)
    if len(set(variants)) != len(variants):
        raise ManifestError(f"a variant is named twice: {', '.join(variants)}")
