# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cuts a network into stages, which the backend ``staged`` runs on different frames at the same time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.stage_file import (
    MOST_STAGES,
    STAGED,
    Stage,
    StageFile,
    StageRuntime,
    StageTensor,
    write_stage_file,
)
from ad_compressed_perception.backends.staged_backend import StagedBackend
from ad_compressed_perception.compression.parallelism.measured_stages import measure_staged, stage_times_ms
from ad_compressed_perception.compression.parallelism.node_costs import node_costs, scaled_costs
from ad_compressed_perception.compression.verification.coverage import measure_coverage
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.cuts import Cut, CutGraph, choose_cuts
from ad_compressed_perception.onnx_graph.equivalence import relative_difference, run_model
from ad_compressed_perception.onnx_graph.layers import is_compute
from ad_compressed_perception.onnx_graph.stages import StageModel, run_stages, split
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions
from ad_compressed_perception.training.pruning.channel_timing import Runtime

if TYPE_CHECKING:
    from onnx import ModelProto

WHOLE_NAME = "whole.onnx"
_CHECKED_FRAMES = 4
_TRIALS = 3


@dataclass(frozen=True)
class _Trial:
    """Stages that were written and timed."""

    cuts: list[Cut]
    stages: list[StageModel]
    times_ms: list[float]
    path: Path


class PartitionOptions(PassOptions):
    """Options of partition."""

    stages: int = Field(2, ge=2, le=MOST_STAGES, description="number of stages")
    cuts: list[str] | None = Field(
        None,
        min_length=1,
        description="tensors behind which to cut, in order; by default the cheapest places",
    )
    runtimes: list[StageRuntime] | None = Field(
        None, description="backend and options of each stage; by default those of the recipe for all"
    )
    slack: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="share by which the slowest stage may be slower than at the most even cuts, where fewer "
        "bytes cross",
    )
    tolerance: float = Field(
        1e-5, gt=0.0, le=0.1, description="largest difference of an output, as a share of its range"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> PartitionOptions:
        if self.cuts is not None and len(self.cuts) != self.stages - 1:
            raise ValueError(f"{self.stages} stages need {self.stages - 1} cuts, not {len(self.cuts)}")
        if self.runtimes is not None and len(self.runtimes) != self.stages:
            raise ValueError(f"{self.stages} stages need as many runtimes, not {len(self.runtimes)}")
        return self


class Partition(Pass):
    """Cuts the graph into stages of even time where few bytes cross, and measures whether they pay."""

    name = "partition"
    options_type = PartitionOptions
    writes = STAGED
    divides = True

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Write the stages, and measure whether they pay; the model stays as it is. Raises as ``cut``."""
        path = self.cut(model, context)
        frames = list(islice(context.feeds(), _CHECKED_FRAMES))
        measured = measure_staged(path, context.scratch / WHOLE_NAME, Runtime(*context.runtime), frames)
        context.notes.update(measured.notes(), summary=measured.sentence(self.options.stages))
        context.exported = path.parent
        return model

    def cut(self, model: ModelProto, context: PassContext) -> Path:
        """Write the stages and return their ``stages.yaml``; the whole model is beside their folder.

        The first cuts follow the times of the whole network's layers; then the stages are timed, each layer's
        time is scaled to that of its stage, and cuts are chosen again.

        Raises:
            ModelFileError: the graph has too few places to cut at, the stages compute something else on a
                calibration frame, or they lose integer kernels.
            BackendError: the runtime cannot run a stage.
            RecipeError: the recipe's backend is ``staged`` itself.
        """
        graph, runtime = CutGraph(model), Runtime(*context.runtime)
        if runtime.backend == STAGED:
            raise RecipeError("the recipe's backend is that of each stage, such as onnxruntime, not 'staged'")
        whole = context.scratch / WHOLE_NAME
        found = node_costs(graph, runtime, whole)
        frames = list(islice(context.feeds(), _CHECKED_FRAMES))
        costs, tried = found.costs, list[_Trial]()
        while len(tried) < _TRIALS:
            cuts = self._cuts(graph, costs)
            if any(one.cuts == cuts for one in tried):
                break
            folder = context.scratch / f"{len(tried)}.{STAGED}"
            tried.append(self._write(graph, cuts, folder, whole, runtime, frames[0]))
            costs = scaled_costs(costs, [0, *(cut.place for cut in cuts), len(costs)], tried[-1].times_ms)
        best = min(tried, key=lambda one: max(one.times_ms))
        difference = self._require_same(model, best.stages, frames)
        if self.options.runtimes is None:  # other runtimes have other kernels
            _require_integer_kernels(best.path, whole, runtime)
        context.notes.update(
            cuts=[{"tensors": list(cut.tensors), "bytes": cut.bytes} for cut in best.cuts],
            stages_ms=list(best.times_ms),
            costs_by=found.by,
            matched_share=found.matched_share,
            largest_difference=difference,
        )
        return best.path

    def _cuts(self, graph: CutGraph, costs: Sequence[float]) -> list[Cut]:
        if self.options.cuts is None:
            return choose_cuts(graph.cuts(), costs, self.options.stages, self.options.slack)
        cuts = [graph.cut_after(name) for name in self.options.cuts]
        places = [cut.place for cut in cuts]
        if sorted(set(places)) != places:
            raise RecipeError(f"the cuts must be in the order of computation: {', '.join(self.options.cuts)}")
        return cuts

    def _require_same(
        self, model: ModelProto, stages: Sequence[StageModel], frames: Sequence[Feeds]
    ) -> float:
        largest = 0.0
        for feeds in frames:
            whole, found = run_model(model, feeds), run_stages(stages, feeds)
            largest = max(largest, *(relative_difference(whole[name], found[name]) for name in whole))
        if not largest <= self.options.tolerance:
            raise ModelFileError(
                f"the stages' outputs differ by {largest:.2g} of an output's range from the model's on a "
                f"calibration frame, allowed is {self.options.tolerance:.2g}"
            )
        return largest

    def _write(
        self, graph: CutGraph, cuts: list[Cut], folder: Path, whole: Path, runtime: Runtime, feeds: Feeds
    ) -> _Trial:
        folder.mkdir()
        stages = split(graph, cuts)
        runtimes = self.options.runtimes or [
            StageRuntime(backend=runtime.backend, options=dict(runtime.options))
        ] * len(stages)
        entries = []
        for number, (stage, chosen) in enumerate(zip(stages, runtimes, strict=True), start=1):
            content = stage.model.SerializeToString(deterministic=True)
            file = folder / f"stage_{number}.onnx"
            file.write_bytes(content)
            entries.append(
                Stage(
                    backend=chosen.backend,
                    options=chosen.options,
                    file=file.name,
                    sha256=hashlib.sha256(content).hexdigest(),
                    inputs=stage_tensors(graph, stage.inputs),
                    outputs=stage_tensors(graph, stage.outputs),
                    compute_ops=sum(is_compute(node) for node in stage.model.graph.node),
                )
            )
        described = StageFile(
            source_sha256=hashlib.sha256(whole.read_bytes()).hexdigest(),
            inputs=stage_tensors(graph, [value.name for value in graph.graph.model.graph.input]),
            outputs=[value.name for value in graph.graph.model.graph.output],
            stages=entries,
        )
        times_ms = stage_times_ms(described, folder, feeds)
        for entry, cost_ms in zip(described.stages, times_ms, strict=True):
            entry.cost_ms = cost_ms
        return _Trial(cuts, stages, times_ms, write_stage_file(described, folder))


def stage_tensors(graph: CutGraph, names: Sequence[str]) -> list[StageTensor]:
    """Return tensors of a graph as ``stages.yaml`` has them; raise ModelFileError for one of unknown size."""
    found = []
    for name in names:
        spec = graph.specs.get(name)
        if spec is None:
            raise ModelFileError(
                f"the size of {name!r} is not known before the model runs: put optimize before partition, or "
                "trim what varies in size"
            )
        found.append(StageTensor(name=name, dtype=spec.dtype, shape=list(spec.shape)))
    return found


def _require_integer_kernels(path: Path, whole: Path, runtime: Runtime) -> None:
    """Raise ModelFileError where fewer layers run on integers in the stages than in the whole model."""
    counts = []
    for backend, file, options in (
        (create_backend(runtime.backend), whole, runtime.options),
        (StagedBackend(), path, {}),
    ):
        session = backend.load(file, options)
        try:
            counts.append(measure_coverage(session).integer)
        finally:
            session.close()
    if counts[1] < counts[0]:
        raise ModelFileError(
            f"{counts[0] - counts[1]} of {counts[0]} layers with integer kernels lose these by the cuts"
        )
