# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Camera images with ground truth, baseline output and compressed output side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.data.labeled.dataset import LabeledData
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.image.decode import to_bgr8
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.metrics.agreement import (
    DetectionAgreement,
    SegmentationAgreement,
    agreement,
)
from ad_compressed_perception.metrics.displacement import displacements_m
from ad_compressed_perception.report.panels import Panel, side_by_side
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.tasks.planning import PlanningTask
from ad_road_simulation.closed_loop.images import drawing_camera
from ad_road_simulation.demo.demo_models import DemoModel
from ad_road_simulation.world.camera import Camera

_QUALITY = 85
_PANEL_PX = 640
_HEADLINES = {
    "detection": "boxes with label and score",
    "segmentation": "road, curb and paint tinted",
    "planning": "planned path of the next seconds",
}


def write_images(model: DemoModel, drive: Path, folder: Path, halves: Sequence[str]) -> list[Path]:
    """Write an image of one frame of each half of the drive, the one with most to see; return the files.

    Args:
        model: the model; baseline and compressed variant run with a node's default settings.
        drive: labeled data of the drive.
        folder: to write to; created where missing.
        halves: what to call the two halves.

    Raises:
        AdcpError: the labels are not the model's, or a variant fails.
    """
    data = open_labeled(str(drive), model.manifest)
    half = (len(data) + 1) // 2
    examples = [
        max(data.items(part), key=lambda item: _content(item.ground_truth))
        for part in (range(half), range(half, len(data)))
        if part
    ]
    references = [_as_result(item.ground_truth, data) for item in examples]
    panels = [[Panel(reference, "ground truth", "from the simulation")] for reference in references]
    for role, variant in (("baseline", model.manifest.baseline), ("compressed", model.compressed)):
        with closing(open_pipeline(model.manifest, variant, allow_rejected=True)) as pipeline:
            for item, reference, row in zip(examples, references, panels, strict=True):
                if isinstance(pipeline.task, PlanningTask) and item.speed_mps is not None:
                    pipeline.task.observe_speed(item.speed_mps)
                output = pipeline.run(item.frame)[0]
                title = role if variant == role else f"{role}: {variant}"
                row.append(Panel(output, title, against_ground_truth(reference, output)))
    files = []
    folder.mkdir(parents=True, exist_ok=True)
    for item, row, half_name in zip(examples, panels, halves, strict=False):
        image = side_by_side(
            to_bgr8(item.frame),
            row,
            headline=f"{model.task}, {half_name}: {_HEADLINES[model.task]}",
            panel_width=_PANEL_PX,
            camera=drawing_camera(Camera()),
        )
        files.append(folder / f"{model.task}_{half_name}.jpg")
        files[-1].write_bytes(encode_jpeg(image, _QUALITY))
    return files


def _content(ground_truth: Any) -> float:
    """Return how much there is to see: objects and classes, pixels of small classes, or the path's bend."""
    if hasattr(ground_truth, "boxes_xyxy"):
        return float(len(ground_truth.class_ids) + 2 * len(np.unique(ground_truth.class_ids)))
    if hasattr(ground_truth, "points_xy_m"):
        return float(np.abs(ground_truth.points_xy_m[-1, 1]))
    return float((ground_truth > 1).sum())


def _as_result(ground_truth: Any, data: LabeledData) -> Result:
    """Return labels as the result that a perfect model would give."""
    names = tuple(data.class_names)
    if hasattr(ground_truth, "boxes_xyxy"):
        ones = np.ones(len(ground_truth.class_ids), np.float32)
        boxes = ground_truth.boxes_xyxy.astype(np.float32)
        return Detections(boxes, ones, ground_truth.class_ids, names)
    if hasattr(ground_truth, "points_xy_m"):
        points, angle_rad = ground_truth.points_xy_m, ground_truth.steering_wheel_angle_rad
        return Trajectory(points, np.zeros(len(points)), 0.0, 0.0, angle_rad, step_s=ground_truth.step_s)
    return LabelMask(ground_truth, names)


def against_ground_truth(ground_truth: Result, output: Result) -> str:
    """Return the error of an output against the ground truth as text; empty where they cannot be compared."""
    if isinstance(ground_truth, Trajectory) and isinstance(output, Trajectory):
        apart_m = displacements_m(
            ground_truth.points_xy_m, ground_truth.step_s, output.points_xy_m, output.step_s
        )
        return f"{apart_m.mean():.2f} m from the ground-truth path on average"
    try:
        found = agreement(ground_truth, output)
    except AdcpError:
        return ""
    if isinstance(found, DetectionAgreement):
        counts = found.overall
        return f"{counts.matched} found, {counts.missed} missed, {counts.extra} false positives"
    return (
        f"mean IoU with the ground truth {found.miou:.3f}" if isinstance(found, SegmentationAgreement) else ""
    )
