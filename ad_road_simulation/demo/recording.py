# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Step 1: what the road camera sees of a drive and of unrelated places, with the ground truth of every image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ad_road_simulation.demo.options import DRIVE_SEED, PLACES_SEED, RATE_HZ, DemoOptions
from ad_road_simulation.demo.steps import Progress
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
"""Of the drive's halves."""
_THIN = tuple(MASK_LABELS.index(name) for name in ("curb", "marking"))


@dataclass(frozen=True)
class Recording:
    """What was recorded.

    Attributes:
        bag: rosbag2 of the drive.
        drive: the same images as labeled data.
        places: labeled images of unrelated places.
        shown: task to the images that are worth showing, one a half of the drive.
        driven_m: length of the drive.
    """

    bag: Path
    drive: Path
    places: Path
    shown: dict[str, list[RoadFrame]]
    driven_m: float


def record(folder: Path, options: DemoOptions, progress: Progress) -> Recording:
    """Paint and write the images.

    Args:
        folder: gets the folders bag, drive and places; made where missing.
        options: how many images.
        progress: told how far it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    camera = Camera()
    renderer = Renderer(camera)
    progress.say("an expert drives, the camera records")
    shown: dict[str, list[RoadFrame]] = {task: [] for task in _INTEREST}
    half, driven_m = "", 0.0
    labeled = RoadFolder(folder / "drive")
    with RoadBag(folder / "bag", camera.matrix) as bag:
        for done, (weather, frame) in enumerate(_drive(options.frames, renderer), 1):
            bag.add(frame)
            labeled.add(frame)
            for task, interest in _INTEREST.items():
                if weather != half:
                    shown[task].append(frame)
                elif interest(frame) > interest(shown[task][-1]):
                    shown[task][-1] = frame
            half = weather
            driven_m += frame.odometry.speed_mps / RATE_HZ
            progress.advance(done, options.frames)
    labeled.close()
    progress.say("places that have nothing to do with each other")
    labeled = RoadFolder(folder / "places")
    places = independent_frames(PLACES_SEED, options.places, RouteOptions(), renderer)
    for done, frame in enumerate(places, 1):
        labeled.add(frame)
        progress.advance(done, options.places)
    labeled.close()
    return Recording(folder / "bag", folder / "drive", folder / "places", shown, driven_m)


def _drive(count: int, renderer: Renderer) -> Iterator[tuple[str, RoadFrame]]:
    """Yield weather and image, the halves of the drive behind each other as one series."""
    first = -(-count // 2)
    for number, (weather, frames) in enumerate(zip(WEATHERS, (first, count - first), strict=True)):
        later_s = number * first / RATE_HZ
        options = RouteOptions(weather=weather)
        for frame in driven_frames(DRIVE_SEED + number, frames, options, renderer, RATE_HZ):
            odometry = replace(frame.odometry, time_s=frame.odometry.time_s + later_s)
            stamp_ns = frame.stamp_ns + round(later_s * 1e9)
            yield weather, replace(frame, stamp_ns=stamp_ns, drive=DRIVE_SEED, odometry=odometry)


def _variety(frame: RoadFrame) -> float:
    """Objects to find, those of other classes counting more."""
    classes = frame.detections.class_ids
    return float(len(classes) + 2 * len(np.unique(classes)))


def _detail(frame: RoadFrame) -> float:
    """Pixels of curbs and paint."""
    return float(np.isin(frame.mask.label_ids, _THIN).sum())


def _bend(frame: RoadFrame) -> float:
    """How far to the side the true path leads, meters."""
    return float(np.abs(frame.trajectory.points_xy_m[-1, 1]))


_INTEREST: dict[str, Callable[[RoadFrame], float]] = {
    "detection": _variety,
    "segmentation": _detail,
    "planning": _bend,
}
"""Task to what makes an image worth showing."""
