# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp camera``: a labeled recording of the built-in road camera."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ad_road_simulation.world.camera import Camera
    from ad_road_simulation.world.layout import RouteOptions
    from ad_road_simulation.world.road_frame import RoadFrame

_LEAST_PX, _MOST_PX = 32, 4096


class _Weather(str, Enum):
    day = "day"
    dusk = "dusk"
    rain = "rain"
    glare = "glare"


class _Format(str, Enum):
    jpg = "jpg"
    png = "png"


def camera(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write; must not exist yet.")],
    frames: Annotated[int, typer.Option(min=1, max=1_000_000, metavar="N", help="Number of images.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world; equal seeds give equal images.")] = 0,
    independent: Annotated[
        bool,
        typer.Option(
            "--independent", help="Independent scenes of many worlds instead of one drive: for training."
        ),
    ] = False,
    weather: Annotated[
        _Weather | None, typer.Option(help="Weather of all routes; drawn from the seed by default.")
    ] = None,
    traffic: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="Factor on vehicles and pedestrians.")
    ] = 1.0,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the images, pixels.")] = "640x360",
    rate: Annotated[
        float, typer.Option(min=0.5, max=100.0, help="Rate of a drive, images per second.")
    ] = 10.0,
    image_format: Annotated[
        _Format, typer.Option("--format", help="File format of the images.")
    ] = _Format.jpg,
    bag: Annotated[
        bool, typer.Option("--bag", help="Write a rosbag2 with the topics of the node road_camera instead.")
    ] = False,
) -> None:
    """Record the built-in road camera with the ground truth of every image.

    Writes a FOLDER that `adcp evaluate --data FOLDER` accepts for all three tasks: images/, masks/ with
    labels.json, instances.json (COCO), steering.csv and trajectories.jsonl. The car is driven by a
    reference driver.
    """
    from rich.console import Console
    from rich.progress import Progress

    from ad_compressed_perception.workspace.atomic_folder import atomic_folder
    from ad_road_simulation.world.layout import RouteOptions

    road_camera = _camera(size)
    options = RouteOptions(traffic=traffic, weather=weather.value if weather else None)
    images = _frames(seed, frames, options, road_camera, None if independent else rate)
    with (
        atomic_folder(out) as folder,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("recording", total=frames)
        tracked = _with_progress(images, lambda: bar.advance(task))
        if bag:
            _write_bag(folder, tracked, road_camera)
        else:
            _write_folder(folder, tracked, image_format)
    print(f"{frames} frames: {out}")


def _camera(size: str) -> Camera:
    from ad_road_simulation.world.camera import Camera

    match = re.fullmatch(r"(\d+)x(\d+)", size.strip())
    sides = [int(side) for side in match.groups()] if match else []
    if not sides or not all(_LEAST_PX <= side <= _MOST_PX for side in sides):
        raise typer.BadParameter(
            f"--size {size}: write WIDTHxHEIGHT, each {_LEAST_PX} to {_MOST_PX}, such as 640x360"
        )
    return Camera(width_px=sides[0], height_px=sides[1])


def _frames(
    seed: int, count: int, options: RouteOptions, road_camera: Camera, rate_hz: float | None
) -> Iterator[RoadFrame]:
    from ad_road_simulation.recording.drive import driven_frames, independent_frames
    from ad_road_simulation.renderer.renderer import Renderer

    renderer = Renderer(road_camera)
    if rate_hz is None:
        return independent_frames(seed, count, options, renderer)
    return driven_frames(seed, count, options, renderer, rate_hz)


def _with_progress(frames: Iterator[RoadFrame], advance: Callable[[], None]) -> Iterator[RoadFrame]:
    for frame in frames:
        yield frame
        advance()


def _write_bag(folder: Path, frames: Iterator[RoadFrame], road_camera: Camera) -> None:
    from ad_road_simulation.recording.road_bag import RoadBag

    with RoadBag(folder, road_camera.matrix) as bag:
        for frame in frames:
            bag.add(frame)


def _write_folder(folder: Path, frames: Iterator[RoadFrame], image_format: _Format) -> None:
    from ad_road_simulation.recording.road_folder import RoadFolder

    recorder = RoadFolder(folder, image_format.value)
    for frame in frames:
        recorder.add(frame)
    recorder.close()
