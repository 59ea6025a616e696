# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Step 3: accuracy of every variant against the ground truth, and its outputs for the example images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ad_compressed_perception.analysis.evaluate import (
    DETECTION_SETTINGS,
    EvaluationResult,
    Figure,
    compare,
    evaluate,
    use_settings,
)
from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.data.labeled.dataset import LabeledData
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.tasks.planning import PlanningTask
from ad_road_simulation.demo.demo_models import DemoModel
from ad_road_simulation.demo.recording import Recording
from ad_road_simulation.demo.steps import StepProgress
from ad_road_simulation.world.road_frame import RoadFrame

SCHEMA = "adcp-demo-accuracy/1"
DATA = ("places", "drive")
"""The labeled recordings; first the one with independent frames, whose intervals are valid."""


@dataclass
class AccuracyResult:
    """Accuracy of one model against the ground truth.

    Attributes:
        results: recording to variant to evaluation, the baseline first.
        differences: recording to variant to figure to variant - baseline, paired by frame.
        outputs: variant to its results on the example images; of the two compared variants only.
        notes: reasons for missing results, in sentences.
    """

    results: dict[str, dict[str, EvaluationResult]] = field(default_factory=dict)
    differences: dict[str, dict[str, dict[str, Figure]]] = field(default_factory=dict)
    outputs: dict[str, list[Result]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def measure_accuracy(model: DemoModel, recording: Recording, progress: StepProgress) -> AccuracyResult:
    """Evaluate all variants of a model; a reason is noted for each that cannot be evaluated.

    Raises:
        AdcpError: a variant that cannot be loaded or fails.
    """
    accuracy = AccuracyResult()
    manifest, examples = model.manifest, recording.examples[model.task]
    data: dict[str, LabeledData] = {}
    for name in DATA:
        try:
            data[name] = open_labeled(str(getattr(recording, name)), manifest)
        except AdcpError as error:
            accuracy.notes.append(f"Not compared with the ground truth of the {name}: {error}.")
    for variant in model.variants:
        try:
            pipeline = open_pipeline(manifest, variant, allow_rejected=True)
        except BackendError as error:
            accuracy.notes.append(f"{variant} does not run here: {error}.")
            continue
        try:
            if variant in (manifest.baseline, model.compressed):
                accuracy.outputs[variant] = [_run_on_frame(pipeline, frame) for frame in examples]
            if model.task == "detection":
                use_settings(pipeline, **DETECTION_SETTINGS)
            for name, labeled in data.items():
                progress.notify(f"{manifest.name}/{variant} on the {name}")
                result = _evaluate(pipeline, labeled, accuracy, progress)
                if result is not None:
                    accuracy.results.setdefault(name, {})[variant] = result
        finally:
            pipeline.close()
    for name, results in accuracy.results.items():
        reference = results.get(manifest.baseline)
        accuracy.differences[name] = {
            variant: compare(reference, result)
            for variant, result in results.items()
            if reference is not None and result is not reference
        }
    return accuracy


def _run_on_frame(pipeline: Pipeline, frame: RoadFrame) -> Result:
    """Return the output of a variant for an image, with the default settings of a node."""
    if isinstance(pipeline.task, PlanningTask):
        pipeline.task.observe_speed(frame.odometry.speed_mps)
    return pipeline.run(Frame(frame.image_bgr, "BGR", frame.stamp_ns))[0]


def _evaluate(
    pipeline: Pipeline, data: LabeledData, accuracy: AccuracyResult, progress: StepProgress
) -> EvaluationResult | None:
    try:
        return evaluate(pipeline, data, progress=lambda done: progress.advance(done, len(data)))
    except AdcpError as error:
        accuracy.notes.append(f"{pipeline.variant} is not compared with the ground truth: {error}.")
        return None


def write_accuracy(accuracy: Mapping[str, AccuracyResult], path: Path) -> None:
    """Write all results as JSON: task to recording to variant."""
    tasks: dict[str, Any] = {}
    for task, one in accuracy.items():
        tasks[task] = {"notes": one.notes, "data": {}}
        for name, results in one.results.items():
            tasks[task]["data"][name] = {
                "frames": len(next(iter(results.values())).indices),
                "variants": {variant: result.as_dict() for variant, result in results.items()},
                "difference_to_baseline": {
                    variant: {key: figure.as_dict() for key, figure in figures.items()}
                    for variant, figures in one.differences[name].items()
                },
            }
    path.write_text(json.dumps({"schema": SCHEMA, "tasks": tasks}, indent=2) + "\n", encoding="utf-8")
