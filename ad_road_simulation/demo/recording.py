# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Step 1: record a drive and independent scenes with the road camera and their ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ad_road_simulation.demo.options import DRIVE_SEED, PLACES_SEED, RATE_HZ, DemoOptions
from ad_road_simulation.demo.steps import StepProgress
from ad_road_simulation.recording.drive import driven_frames, independent_frames
from ad_road_simulation.recording.road_bag import PREFIX, RoadBag
from ad_road_simulation.recording.road_folder import RoadFolder
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.road_frame import RoadFrame
from ad_road_simulation.world.scene import MASK_LABELS

TOPIC = f"{PREFIX}/image/compressed"
WEATHERS = ("day", "rain")
"""Of the two halves of the drive."""
_THIN = tuple(MASK_LABELS.index(name) for name in ("curb", "marking"))


@dataclass(frozen=True)
class Recording:
    """The recordings of the demo.

    Attributes:
        bag: rosbag2 of the drive.
        drive: the same images as labeled data.
        places: labeled images of independent scenes.
        examples: task to the example images, one from each half of the drive.
        driven_m: length of the drive in meters.
    """

    bag: Path
    drive: Path
    places: Path
    examples: dict[str, list[RoadFrame]]
    driven_m: float


def record(folder: Path, options: DemoOptions, progress: StepProgress) -> Recording:
    """Render and write the images.

    Args:
        folder: parent of the folders bag, drive and places; created where missing.
        options: number of images.
        progress: receives progress updates.
    """
    folder.mkdir(parents=True, exist_ok=True)
    camera = Camera()
    renderer = Renderer(camera)
    progress.notify("recording a drive of the expert")
    examples: dict[str, list[RoadFrame]] = {task: [] for task in _EXAMPLE_SCORES}
    half, driven_m = "", 0.0
    labeled = RoadFolder(folder / "drive")
    with RoadBag(folder / "bag", camera.matrix) as bag:
        for done, (weather, frame) in enumerate(_drive(options.frames, renderer), 1):
            bag.add(frame)
            labeled.add(frame)
            for task, score in _EXAMPLE_SCORES.items():
                if weather != half:
                    examples[task].append(frame)
                elif score(frame) > score(examples[task][-1]):
                    examples[task][-1] = frame
            half = weather
            driven_m += frame.odometry.speed_mps / RATE_HZ
            progress.advance(done, options.frames)
    labeled.close()
    progress.notify("recording independent scenes")
    labeled = RoadFolder(folder / "places")
    places = independent_frames(PLACES_SEED, options.places, RouteOptions(), renderer)
    for done, frame in enumerate(places, 1):
        labeled.add(frame)
        progress.advance(done, options.places)
    labeled.close()
    return Recording(folder / "bag", folder / "drive", folder / "places", examples, driven_m)


def _drive(count: int, renderer: Renderer) -> Iterator[tuple[str, RoadFrame]]:
    """Yield weather and frame; the halves of the drive form one time series."""
    first = -(-count // 2)
    for number, (weather, frames) in enumerate(zip(WEATHERS, (first, count - first), strict=True)):
        later_s = number * first / RATE_HZ
        options = RouteOptions(weather=weather)
        for frame in driven_frames(DRIVE_SEED + number, frames, options, renderer, RATE_HZ):
            odometry = replace(frame.odometry, time_s=frame.odometry.time_s + later_s)
            stamp_ns = frame.stamp_ns + round(later_s * 1e9)
            yield weather, replace(frame, stamp_ns=stamp_ns, drive=DRIVE_SEED, odometry=odometry)


def _variety(frame: RoadFrame) -> float:
    """Return the number of objects plus twice the number of classes."""
    classes = frame.detections.class_ids
    return float(len(classes) + 2 * len(np.unique(classes)))


def _detail(frame: RoadFrame) -> float:
    """Return the number of pixels of curbs and markings."""
    return float(np.isin(frame.mask.label_ids, _THIN).sum())


def _bend(frame: RoadFrame) -> float:
    """Return the lateral distance of the end of the ground-truth path in meters."""
    return float(np.abs(frame.trajectory.points_xy_m[-1, 1]))


_EXAMPLE_SCORES: dict[str, Callable[[RoadFrame], float]] = {
    "detection": _variety,
    "segmentation": _detail,
    "planning": _bend,
}
"""Task to a score; the frame with the highest score in each half of the drive is the example."""
