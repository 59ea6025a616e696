# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planners: a model variant that gets camera images, or the reference driver that uses the ground truth."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_compressed_perception.tasks.planning import PlanningTask
from ad_road_simulation.closed_loop.planner_queue import CameraSample
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.scene import Scene
from ad_road_simulation.world.simulation import Simulation


class Planner(Protocol):
    """Computes plans from an observation at the time of an image.

    Attributes:
        counts: what the planner itself counts of its plans.
        further_latency_s: time that the last plan took besides the latency of its variant.
    """

    counts: Counter[str]
    further_latency_s: float

    def observe(self, simulation: Simulation) -> object:
        """Return the current input of the planner; data that the simulation does not modify later."""

    def plan(self, sample: CameraSample) -> Trajectory:
        """Return the plan for a sample; raise ResultError where the model's output is invalid."""

    def image(self, sample: CameraSample) -> NDArray[np.uint8]:
        """Return the camera image (H, W, 3) uint8 BGR of a sample, for the report."""


class ExpertPlanner:
    """Plans of the reference driver, computed from the ground truth: a lower bound of model errors."""

    def __init__(self, renderer: Renderer) -> None:
        """Bind the renderer, which is used for the images of the report only."""
        self.counts: Counter[str] = Counter()
        self.further_latency_s = 0.0
        self._renderer = renderer

    def observe(self, simulation: Simulation) -> tuple[Scene, Trajectory]:
        """Return the scene and the reference plan."""
        return simulation.scene(), simulation.reference().trajectory

    def plan(self, sample: CameraSample) -> Trajectory:
        """Return the reference plan of a sample."""
        trajectory: Trajectory = sample.observation[1]
        return trajectory

    def image(self, sample: CameraSample) -> NDArray[np.uint8]:
        """Return the camera image of a sample."""
        return self._renderer.render(sample.observation[0]).image_bgr


class ModelPlanner:
    """Plans of a model variant that gets the rendered camera images."""

    def __init__(self, pipeline: Pipeline, renderer: Renderer) -> None:
        """Bind the loaded variant, which the caller closes, and the renderer."""
        self.counts: Counter[str] = Counter()
        self.further_latency_s = 0.0
        self._pipeline = pipeline
        self._task = pipeline.task
        self._renderer = renderer
        self._last: tuple[CameraSample, NDArray[np.uint8]] | None = None

    def observe(self, simulation: Simulation) -> Scene:
        """Return the scene: images that are dropped are not rendered."""
        return simulation.scene()

    def plan(self, sample: CameraSample) -> Trajectory:
        """Render the image of a sample and run the variant on it."""
        if isinstance(self._task, PlanningTask):
            self._task.observe_speed(sample.speed_mps)
        frame = Frame(self.image(sample), "BGR", round(sample.time_s * 1e9))
        result, _ = self._pipeline.run(frame)
        assert isinstance(result, Trajectory)
        return result

    def image(self, sample: CameraSample) -> NDArray[np.uint8]:
        """Return the camera image of a sample."""
        if self._last is None or self._last[0] is not sample:
            self._last = (sample, self._renderer.render(sample.observation).image_bgr)
        return self._last[1]
