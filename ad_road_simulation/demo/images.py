# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Camera images with ground truth, baseline output and compressed output side by side."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.results import Result, Trajectory
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.metrics.agreement import (
    DetectionAgreement,
    SegmentationAgreement,
    agreement,
)
from ad_compressed_perception.metrics.displacement import displacements_m
from ad_compressed_perception.report.panels import Panel, side_by_side
from ad_road_simulation.closed_loop.images import drawing_camera
from ad_road_simulation.demo.accuracy import AccuracyResult
from ad_road_simulation.demo.demo_models import DemoModel
from ad_road_simulation.demo.recording import WEATHERS
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.road_frame import RoadFrame

_QUALITY = 85
_PANEL_PX = 640
_HEADLINES = {
    "detection": "boxes with label and score",
    "segmentation": "road, curb and paint tinted",
    "planning": "planned path of the next seconds",
}


def write_images(
    model: DemoModel, frames: list[RoadFrame], accuracy: AccuracyResult, folder: Path
) -> list[Path]:
    """Write an image for each example frame and return the files.

    Args:
        model: the model.
        frames: examples, one from each half of the drive.
        accuracy: holds the outputs of the variants for them.
        folder: to write to; must exist.
    """
    files = []
    for index, (weather, frame) in enumerate(zip(WEATHERS, frames, strict=False)):
        ground_truth = ground_truth_of(model.task, frame)
        panels = [Panel(ground_truth, "ground_truth", "from the simulation")]
        for variant, outputs in accuracy.outputs.items():
            role = "baseline" if variant == model.manifest.baseline else "compressed"
            title = role if variant == role else f"{role}: {variant}"
            panels.append(Panel(outputs[index], title, against_ground_truth(ground_truth, outputs[index])))
        image = side_by_side(
            frame.image_bgr,
            panels,
            headline=f"{model.task}, {weather}: {_HEADLINES[model.task]}",
            panel_width=_PANEL_PX,
            camera=drawing_camera(Camera()),
        )
        path = folder / f"{model.task}_{weather}.jpg"
        path.write_bytes(encode_jpeg(image, _QUALITY))
        files.append(path)
    return files


def ground_truth_of(task: str, frame: RoadFrame) -> Result:
    """Return the ground truth of a frame as a result of the task."""
    if task == "detection":
        return frame.detections
    return frame.mask if task == "segmentation" else frame.trajectory


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
