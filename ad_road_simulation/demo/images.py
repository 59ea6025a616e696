# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The camera's image with the ground truth, the baseline's answer and the compressed variant's, side by side."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.results import Result, Trajectory
from ad_compressed_perception.image.decode import encode_jpeg
from ad_compressed_perception.metrics.agreement import (
    DetectionAgreement,
    SegmentationAgreement,
    agreement,
)
from ad_compressed_perception.metrics.displacement import displacements_m
from ad_compressed_perception.report.overlay import Panel, side_by_side
from ad_road_simulation.closed_loop.images import drawing_camera
from ad_road_simulation.demo.accuracy import Judged
from ad_road_simulation.demo.recording import WEATHERS
from ad_road_simulation.demo.subjects import Subject
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.road_frame import RoadFrame

_QUALITY = 85
_PANEL_PX = 640
_HEADLINES = {
    "detection": "boxes with label and score",
    "segmentation": "road, curb and paint tinted",
    "planning": "where to drive in the next seconds",
}


def write_images(subject: Subject, frames: list[RoadFrame], judged: Judged, folder: Path) -> list[Path]:
    """Write an image for each frame shown and return the files.

    Args:
        subject: the model.
        frames: shown, one a half of the drive.
        judged: the variants' answers to them.
        folder: which is there.
    """
    files = []
    for index, (weather, frame) in enumerate(zip(WEATHERS, frames, strict=False)):
        ground_truth = ground_truth_of(subject.task, frame)
        panels = [Panel(ground_truth, "ground_truth", "what the road camera knows of its world")]
        for variant, answers in judged.answers.items():
            role = "baseline" if variant == subject.manifest.baseline else "compressed"
            title = role if variant == role else f"{role}: {variant}"
            panels.append(Panel(answers[index], title, against_ground_truth(ground_truth, answers[index])))
        image = side_by_side(
            frame.image_bgr,
            panels,
            headline=f"{subject.task}, {weather}: {_HEADLINES[subject.task]}",
            panel_width=_PANEL_PX,
            camera=drawing_camera(Camera()),
        )
        path = folder / f"{subject.task}_{weather}.jpg"
        path.write_bytes(encode_jpeg(image, _QUALITY))
        files.append(path)
    return files


def ground_truth_of(task: str, frame: RoadFrame) -> Result:
    """Return what is true of an image in the words of a task."""
    if task == "detection":
        return frame.detections
    return frame.mask if task == "segmentation" else frame.trajectory


def against_ground_truth(ground_truth: Result, answer: Result) -> str:
    """Return how far an answer is from the ground truth of one image; empty where they cannot be compared."""
    if isinstance(ground_truth, Trajectory) and isinstance(answer, Trajectory):
        apart_m = displacements_m(
            ground_truth.points_xy_m, ground_truth.step_s, answer.points_xy_m, answer.step_s
        )
        return f"{apart_m.mean():.2f} m from the true path on average"
    try:
        found = agreement(ground_truth, answer)
    except AdcpError:
        return ""
    if isinstance(found, DetectionAgreement):
        counts = found.overall
        return f"{counts.matched} found, {counts.missed} missed, {counts.extra} not there"
    return (
        f"mean IoU with the ground truth {found.miou:.3f}" if isinstance(found, SegmentationAgreement) else ""
    )
