# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A planner variant with injected faults and the baseline as standby, as a guarded node runs it."""

from __future__ import annotations

from dataclasses import dataclass

from ad_compressed_perception.core.errors import DataError, ManifestError, ResultError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.ladder import LadderSettings
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_compressed_perception.tasks.planning import PlanningTask
from ad_road_simulation.closed_loop.planner_queue import CameraSample
from ad_road_simulation.closed_loop.planners import ModelPlanner
from ad_road_simulation.faults.guarded import GuardedModel
from ad_road_simulation.faults.kinds import LOUD, FaultRequest, parse_fault
from ad_road_simulation.faults.options import FaultOptions
from ad_road_simulation.renderer.renderer import Renderer

DRIVEN = (*LOUD, "hang", "constant", "implausible")
"""Kinds that change a drive; its times are simulated, so that slow and hungry models do not."""
SEPARATOR = "+"
"""Between a variant's name, in which it cannot occur, and the fault."""
FRAME_TIMEOUT_S = 0.25
"""Of the simulated guard: how much later the standby begins with a frame on which the variant hangs."""
BURST = 5
"""Plans in sequence with the same fault."""
HOLD_S = 0.3
HYSTERESIS_S, PROBATION_FRAMES = 0.3, 3
"""Shorter than on a car, so that the variant, and its next fault, come back soon."""


@dataclass(frozen=True)
class FaultedVariant:
    """A variant that is driven with faults; its label is VARIANT+KIND:PROBABILITY."""

    variant: str
    fault: FaultRequest

    @property
    def label(self) -> str:
        """Its name among the driven variants."""
        return f"{self.variant}{SEPARATOR}{self.fault.kind}:{self.fault.probability:g}"


def variant_of(label: str) -> str:
    """Return the variant that a driven one's label names, with or without a fault."""
    return label.partition(SEPARATOR)[0]


def parse_label(label: str) -> FaultedVariant | None:
    """Return the variant and the fault of a label; None where it has no fault.

    Raises:
        DataError: an unknown fault, or one that does not change a simulated drive.
    """
    variant, separator, text = label.partition(SEPARATOR)
    if not separator:
        return None
    fault = parse_fault(text)
    if fault.kind not in DRIVEN:
        raise DataError(f"fault {fault.kind!r} does not change a simulated drive; known: {', '.join(DRIVEN)}")
    return FaultedVariant(variant, fault)


class FaultedPlanner(ModelPlanner):
    """Plans of a variant with faults, guarded: by the code that a node runs, in simulated time.

    Attributes:
        counts: faults injected, and plans that the standby made or that were held.
        further_latency_s: of the last plan, besides that of the variant.
    """

    def __init__(
        self, manifest: Manifest, faulted: FaultedVariant, seed: int, standby_s: float, renderer: Renderer
    ) -> None:
        """Load variant and baseline.

        Args:
            manifest: of the planner.
            faulted: what is driven.
            seed: of the faults, such as the route's.
            standby_s: time that the standby takes for a plan.
            renderer: of the camera.

        Raises:
            AdcpError: a model that cannot be loaded.
        """
        if manifest.task != "planning":
            raise ManifestError(f"model {manifest.name!r} is for task {manifest.task!r}, not 'planning'")
        self._now_s, self._standby_s = 0.0, standby_s
        self._hangs = faulted.fault.kind == "hang"
        # Of a hang the node sees a frame without an answer in time: the time is added in simulated time.
        kind = "raise" if self._hangs else faulted.fault.kind
        faults = FaultOptions(kind=[kind], probability=faulted.fault.probability, seed=seed, burst=BURST)
        ladder = LadderSettings(HYSTERESIS_S, PROBATION_FRAMES, HOLD_S)
        self._model = GuardedModel(manifest, faulted.variant, faults, ladder, lambda: self._now_s)
        super().__init__(self._model.variant_pipeline, renderer)
        self.counts.update(faults=0, standby=0, hold=0)

    def plan(self, sample: CameraSample) -> Trajectory:
        """Return the guarded plan; raise ResultError where nobody answers."""
        self._now_s = sample.time_s
        self.further_latency_s = 0.0
        stamp_ns = 1 + round(sample.time_s * 1e9)
        frame = Frame(self.image(sample), "BGR", stamp_ns)

        def before(pipeline: Pipeline) -> None:
            if isinstance(pipeline.task, PlanningTask):
                pipeline.task.observe_speed(sample.speed_mps)

        faults, tries_variant = self._model.injected, self._model.trusts_variant
        try:
            answer = self._model.answer(frame, stamp_ns, before)
        except Exception as error:
            raise ResultError(str(error)) from error
        finally:
            self.counts["faults"] = self._model.injected
            if tries_variant and self._hangs and self._model.injected > faults:
                self.further_latency_s += FRAME_TIMEOUT_S
        if answer.level != "primary":
            self.counts[answer.level] += 1
            # Where the variant was tried first, the standby began after it.
            self.further_latency_s += self._standby_s if tries_variant else 0.0
        assert isinstance(answer.result, Trajectory)
        return answer.result

    def close(self) -> None:
        """Release the models."""
        self._model.close()
