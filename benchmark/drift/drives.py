# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to measure drift on: a recorded drive in blocks, and simulated drives, stored as JPEG."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from ad_compressed_perception.data.frames import list_images
from ad_compressed_perception.image.encode import encode_jpeg
from ad_road_simulation.recording.drive import Drive, DrivenWorld
from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.roadside_objects import RoadsideObjects
from ad_road_simulation.world.simulation import Simulation

STEP_S: Final = 0.1
EVERY: Final = 2
"""Of so many steps one is rendered: 5 Hz."""
BLOCK_S: Final = 15.0
"""A recorded drive is cut into blocks: some make the reference, the others are held out."""

_WALLS = ((60, 70, 160), (70, 60, 140), (225, 225, 225))


RENDERED: Final = {"rendered night": "dusk", "rendered rain": "rain"}
"""Kind of drive to the weather that the simulation itself draws."""


class _DenseRoute(RouteOptions):
    """A route with more traffic than the simulation's options offer."""

    def __post_init__(self) -> None:
        """Accept any traffic."""


def _other_town(seed: int, options: RouteOptions | None) -> DrivenWorld:
    """Return a world of high houses of red bricks or white plaster; they stand where trees would."""
    world = Simulation(seed, options)
    roadside, rng = world.world.layout.roadside_objects, np.random.default_rng(seed)
    houses = tuple(
        replace(
            one,
            kind="building",
            length_m=max(one.length_m, 9.0),
            width_m=max(one.width_m, 5.0),
            height_m=float(rng.uniform(16.0, 30.0)),
            color_bgr=_WALLS[int(rng.integers(3))],
        )
        for one in roadside.objects
        if one.kind in ("building", "tree", "bush")
    )
    places = np.array(
        [s for s, one in zip(roadside.s_m, roadside.objects, strict=True) if one.kind != "lamp"]
    )
    world.world.layout = replace(world.world.layout, roadside_objects=RoadsideObjects(places, houses))
    return world


def routes(kind: str) -> tuple[RouteOptions, type[Simulation] | object]:
    """Return options and world of a kind of simulated drive."""
    usual = {"length_m": 600.0, "weather": "day", "lanes": (1, 1)}
    if kind in RENDERED:
        return RouteOptions(**{**usual, "weather": RENDERED[kind]}), Simulation
    if kind == "empty road":
        return RouteOptions(**usual, traffic=0.0), Simulation
    if kind == "crowd":
        return _DenseRoute(**usual, traffic=6.0), Simulation
    if kind == "other town":
        return RouteOptions(**usual), _other_town
    return RouteOptions(**usual), Simulation


def record(folder: Path, kind: str, seed: int, seconds: float) -> Path:
    """Render one route of a simulated drive to a folder of JPEG files, where it is not there; return it."""
    target = folder / f"{kind.replace(' ', '_')}_{seed}"
    if (target / "complete").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    options, make = routes(kind)
    drive, renderer = Drive(seed, options, make), Renderer(Camera(640, 480))  # type: ignore[arg-type]
    for index in range(round(seconds / STEP_S)):
        drive.advance(STEP_S)
        if drive.world.is_finished:
            break
        if index % EVERY:
            continue
        image = renderer.render(drive.world.scene(), with_ground_truth=False).image_bgr
        (target / f"{int((index + 1) * STEP_S * 1e9):012d}.jpg").write_bytes(encode_jpeg(image, 92))
    (target / "complete").touch()
    return target


def stamped(folder: Path, period_s: float = 0.0) -> list[tuple[float, Path]]:
    """Return stamps, in seconds, and images of a folder whose files are named by their stamps in nanoseconds.

    With a period the stamps follow from the order of the names.
    """
    paths = list_images(folder)
    return [
        (index * period_s if period_s else int(path.stem) * 1e-9, path) for index, path in enumerate(paths)
    ]


def blocks(folder: Path) -> range:
    """Return the numbers of the whole blocks of a recorded drive."""
    stamps_s = [stamp_s for stamp_s, _ in stamped(folder)]
    return range(int((stamps_s[-1] - stamps_s[0]) / BLOCK_S))
