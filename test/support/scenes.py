# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hand-built scenes with known positions of all objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ad_road_simulation.world.road import STEP_M, CrossSection, Road
from ad_road_simulation.world.scene import (
    Actor,
    ActorKind,
    LightState,
    Marking,
    RoadsideObject,
    Scene,
    StopSign,
    TrafficLight,
    Weather,
)

SIZES: dict[ActorKind, tuple[float, float, float]] = {
    "person": (0.4, 0.5, 1.75),
    "bicycle": (1.75, 0.6, 1.72),
    "car": (4.4, 1.8, 1.5),
    "motorcycle": (2.1, 0.8, 1.58),
    "bus": (11.0, 2.5, 3.1),
    "truck": (8.0, 2.4, 3.2),
}
EGO_S_M = 100.0
CLEAR = Weather(noise_std=0.0, visibility_m=1e6)
"""No haze and no sensor noise, so that colors are those of the objects."""


def straight_road() -> Road:
    """Return 400 m along x, two lanes of 3.5 m."""
    return Road(np.zeros(int(400.0 / STEP_M) + 1), CrossSection())


def curved_road() -> Road:
    """Return a road of 400 m with alternating bends of radii of 150 m and more."""
    s = np.arange(0.0, 400.0 + STEP_M, STEP_M)
    return Road(np.sin(s / 40.0) / 150.0, CrossSection())


def scene_on(road: Road, *, weather: Weather = CLEAR, **parts: object) -> Scene:
    """Return a scene with the ego in the middle of its lane at EGO_S_M, heading along the road."""
    x, y = road.points(EGO_S_M, road.cross_section.lane_center_m(0))
    empty = Scene(
        time_s=1.0,
        road=road,
        ego_x_m=float(x),
        ego_y_m=float(y),
        ego_heading_rad=float(road.heading(EGO_S_M)),
        ego_s_m=EGO_S_M,
        ego_speed_mps=8.0,
        markings=lines_of(road),
        weather=weather,
        seed=3,
    )
    return replace(empty, **parts)  # type: ignore[arg-type]


def lines_of(road: Road) -> tuple[Marking, ...]:
    """Return a dashed center line, edge lines, a stop line and a crossing 20 and 22 m ahead of the ego."""
    section, end = road.cross_section, road.length_m
    return (
        Marking("dashed", 0.0, end, 0.0, 0.0),
        Marking("solid", 0.0, end, section.right_m + 0.25, section.right_m + 0.25),
        Marking("solid", 0.0, end, section.left_m - 0.25, section.left_m - 0.25),
        Marking("stop_line", EGO_S_M + 20.0, EGO_S_M + 20.4, section.right_m + 0.4, -0.1),
        Marking("crossing", EGO_S_M + 22.0, EGO_S_M + 25.0, section.right_m, section.left_m),
    )


def actor_at(
    road: Road,
    kind: ActorKind,
    ahead_m: float,
    d_m: float,
    *,
    turn_rad: float = 0.0,
    ident: int = 1,
    seed: int = 0,
) -> Actor:
    """Return an actor ahead of the ego's rear axle along the road, rotated relative to its heading."""
    s = EGO_S_M + ahead_m
    x, y = road.points(s, d_m)
    length, width, height = SIZES[kind]
    return Actor(
        ident=ident,
        kind=kind,
        x_m=float(x),
        y_m=float(y),
        heading_rad=float(road.heading(s)) + turn_rad,
        length_m=length,
        width_m=width,
        height_m=height,
        color_bgr=(160, 60, 40),
        speed_mps=1.4,
        seed=seed,
        phase_m=0.3 * ident,
    )


def light_at(
    road: Road, ahead_m: float, d_m: float, state: LightState, *, faces_ego: bool = True, ident: int = 1
) -> TrafficLight:
    """Return a traffic light, 3 m high, that faces the ego or away from it."""
    s = EGO_S_M + ahead_m
    x, y = (float(value) for value in road.points(s, d_m))
    heading = float(road.heading(s)) + (np.pi if faces_ego else 0.0)
    return TrafficLight(ident, x, y, 3.0, heading, state, x, y)


def sign_at(road: Road, ahead_m: float, d_m: float, *, ident: int = 1) -> StopSign:
    """Return a stop sign that faces the ego."""
    x, y = (float(value) for value in road.points(EGO_S_M + ahead_m, d_m))
    return StopSign(ident, x, y, 2.2, float(road.heading(EGO_S_M + ahead_m)) + np.pi)


def rich_scene(*, weather: Weather | None = None) -> Scene:
    """Return a bend with 30 roadside objects, 12 actors, two lights and a sign."""
    road = curved_road()
    rng = np.random.default_rng(17)
    # Leaders, oncoming vehicles, people on the sidewalks, and vehicles parked at the curb.
    placements: list[tuple[ActorKind, float, float, float]] = [
        *(("car", 16.0, -1.75, 0.0), ("truck", 45.0, -1.75, 0.0), ("motorcycle", 30.0, -1.5, 0.0)),
        *(("car", 22.0, 1.75, np.pi), ("bus", 48.0, 1.75, np.pi), ("car", 70.0, 1.75, np.pi)),
        *(("person", 11.0, -5.0, 0.0), ("person", 24.0, 0.5, np.pi / 2), ("person", 27.0, 4.8, 3.0)),
        *(("bicycle", 20.0, -3.0, 0.0), ("car", 38.0, -4.9, 0.0), ("truck", 60.0, 5.2, np.pi)),
    ]
    actors = [
        actor_at(road, kind, ahead, d, turn_rad=turn, ident=index, seed=index)
        for index, (kind, ahead, d, turn) in enumerate(placements)
    ]
    roadside_objects = []
    for index in range(30):
        kind = ("building", "tree", "lamp", "bush", "tree")[index % 5]
        side, ahead = (-1.0, 1.0)[index % 2], 8.0 + 4.5 * index
        length, width, height = {
            "building": (14.0, 9.0, float(rng.uniform(5.0, 18.0))),
            "tree": (4.0, 4.0, float(rng.uniform(5.0, 9.0))),
            "bush": (1.6, 1.6, 1.3),
            "lamp": (0.2, 0.2, 7.0),
        }[kind]
        x, y = road.points(EGO_S_M + ahead, side * (7.0 if kind == "lamp" else 9.0 + width))
        color = (40, 95, 55) if kind in ("tree", "bush") else (150, 170, 190)
        heading = float(road.heading(EGO_S_M + ahead))
        roadside_objects.append(
            RoadsideObject(kind, float(x), float(y), heading, length, width, height, color, seed=index)  # type: ignore[arg-type]
        )
    lights = (light_at(road, 30.0, -5.6, "red", ident=21), light_at(road, 34.0, 5.6, "green", ident=22))
    return scene_on(
        road,
        weather=weather or Weather(),
        actors=tuple(actors),
        roadside_objects=tuple(roadside_objects),
        lights=lights,
        signs=(sign_at(road, 18.0, -5.6, ident=23),),
    )
