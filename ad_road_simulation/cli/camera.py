# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp camera``: a labeled recording of the built-in road camera."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import click
import typer

from ad_compressed_perception.cli.options import names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ad_road_simulation.world.camera import Camera
    from ad_road_simulation.world.road_frame import RoadFrame

_LEAST_PX, _MOST_PX = 32, 4096


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
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help="Weather: day, dusk, rain or glare, of all routes or of equal parts of a drive; drawn from "
            "the seed by default.",
        ),
    ] = None,
    traffic: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="Factor on vehicles and pedestrians.")
    ] = 1.0,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the images, pixels.")] = "640x360",
    rate: Annotated[
        float, typer.Option(min=0.5, max=100.0, help="Rate of a drive, images per second.")
    ] = 10.0,
    image_format: Annotated[
        Literal["jpg", "png"],
        typer.Option("--format", click_type=click.Choice(("jpg", "png")), help="File format of the images."),
    ] = "jpg",
    bag: Annotated[
        bool, typer.Option("--bag", help="Write a rosbag2 with the topics of the node road_camera instead.")
    ] = False,
    bag_out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write such a rosbag2 to this folder, too.")
    ] = None,
) -> None:
    """Record the built-in road camera with the ground truth of every image.

    Writes a FOLDER that `adcp evaluate --data FOLDER` accepts for all three tasks: images/, masks/ with
    labels.json, instances.json (COCO), steering.csv and trajectories.jsonl. The car is driven by a
    reference driver.
    """
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.workspace.atomic_folder import atomic_folder
    from ad_road_simulation.recording.road_bag import RoadBag
    from ad_road_simulation.recording.road_folder import RoadFolder

    road_camera = _camera(size)
    weathers = names_in(weather, "--weather") or (None,)
    if independent and len(weathers) > 1:
        raise typer.BadParameter("--independent takes one --weather")
    images = _frames(seed, frames, (traffic, weathers), road_camera, None if independent else rate)
    with ExitStack() as stack:
        recorders: list[RoadBag | RoadFolder] = []
        for folder in filter(None, (out if bag else None, bag_out)):
            made = stack.enter_context(atomic_folder(folder))
            recorders.append(stack.enter_context(RoadBag(made, road_camera.matrix)))
        if not bag:
            recorders.append(RoadFolder(stack.enter_context(atomic_folder(out)), image_format))
        bar = stack.enter_context(ProgressBar())
        for done, frame in enumerate(images, 1):
            for recorder in recorders:
                recorder.add(frame)
            bar("recording", done, frames)
        if isinstance(recorders[-1], RoadFolder):
            recorders[-1].close()
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
    seed: int,
    count: int,
    chosen: tuple[float, tuple[str | None, ...]],
    road_camera: Camera,
    rate_hz: float | None,
) -> Iterator[RoadFrame]:
    from ad_road_simulation.recording.drive import driven_frames, independent_frames, joined_drives
    from ad_road_simulation.renderer.renderer import Renderer
    from ad_road_simulation.world.layout import RouteError, RouteOptions

    traffic, weathers = chosen
    renderer = Renderer(road_camera)
    try:
        routes = [RouteOptions(traffic=traffic, weather=weather) for weather in weathers]
    except RouteError as error:
        raise typer.BadParameter(f"--weather: {error}") from error
    if rate_hz is None:
        return independent_frames(seed, count, routes[0], renderer)
    if len(routes) == 1:
        return driven_frames(seed, count, routes[0], renderer, rate_hz)
    return joined_drives(seed, count, routes, renderer, rate_hz)
