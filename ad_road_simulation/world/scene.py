# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The world at one time as plain data: input of the renderer and source of the ground truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ad_road_simulation.world.road import Road

LABELS = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "traffic light", "stop sign")
"""Classes of the ground truth boxes, in the order of the default detector; names as in COCO."""
MASK_LABELS = ("background", "road", "curb", "marking")
"""Classes of the ground truth masks, by label id."""

ActorKind = Literal["person", "bicycle", "car", "motorcycle", "bus", "truck"]
LightState = Literal["red", "yellow", "green"]
RoadsideObjectKind = Literal["building", "tree", "bush", "lamp"]
MarkingKind = Literal["solid", "dashed", "crossing", "stop_line"]


@dataclass(frozen=True)
class Actor:
    """A road user, moving or parked. Bicycles and motorcycles include their rider, who has no person box.

    Attributes:
        ident: constant over frames.
        kind: one of the first six LABELS.
        x_m, y_m: middle of the footprint, world.
        heading_rad: direction of travel.
        length_m, width_m, height_m: of the upright bounding box.
        color_bgr: of the body or the clothing.
        speed_mps: along the heading.
        is_braking: brake lights are on.
        seed: of its variation within the kind (shape of the body, texture).
        phase_m: distance traveled, for the animation of legs and pedals.
    """

    ident: int
    kind: ActorKind
    x_m: float
    y_m: float
    heading_rad: float
    length_m: float
    width_m: float
    height_m: float
    color_bgr: tuple[int, int, int]
    speed_mps: float = 0.0
    is_braking: bool = False
    seed: int = 0
    phase_m: float = 0.0


@dataclass(frozen=True)
class TrafficLight:
    """A signal head with three lenses, on a pole.

    Attributes:
        ident: constant over frames.
        x_m, y_m: of the head, world.
        height_m: of the head's middle above the road.
        heading_rad: direction the lenses face: towards the traffic they control.
        state: which lens is lit.
        pole_x_m, pole_y_m: foot of the pole; an arm connects it to the head.
    """

    ident: int
    x_m: float
    y_m: float
    height_m: float
    heading_rad: float
    state: LightState
    pole_x_m: float
    pole_y_m: float


@dataclass(frozen=True)
class StopSign:
    """A red octagon, 0.75 m wide, on a post; heading_rad is the direction it faces."""

    ident: int
    x_m: float
    y_m: float
    height_m: float
    heading_rad: float


@dataclass(frozen=True)
class RoadsideObject:
    """An unlabeled object beside the road: a building (length x width), tree, bush or lamp."""

    kind: RoadsideObjectKind
    x_m: float
    y_m: float
    heading_rad: float
    length_m: float
    width_m: float
    height_m: float
    color_bgr: tuple[int, int, int]
    seed: int


@dataclass(frozen=True)
class Marking:
    """A road marking, in road coordinates.

    Attributes:
        kind: "solid" and "dashed" are lines along the road at d_from_m (3 m of paint, 6 m of gap);
            "stop_line" and "crossing" lie across it from d_from_m to d_to_m; a crossing's stripes run
            along the road, 0.5 m wide with gaps of 0.5 m.
        s_from_m, s_to_m: along the road.
        d_from_m, d_to_m: across, d_from_m <= d_to_m.
    """

    kind: MarkingKind
    s_from_m: float
    s_to_m: float
    d_from_m: float
    d_to_m: float


@dataclass(frozen=True)
class Weather:
    """Light, visibility and sensor conditions.

    Attributes:
        name: "day", "dusk", "rain" or "glare".
        sun_azimuth_rad: direction to the sun, world.
        sun_elevation_rad: above the horizon.
        brightness: 0..1, 1 in full daylight.
        rain: 0..1, amount of streaks, drops and wet reflection.
        glare: 0..1, veil and flare of a low sun ahead.
        noise_std: of the sensor, gray levels.
        visibility_m: distance at which contrast has fallen to 5 percent.
        exposure_s: of the shutter, for motion blur.
    """

    name: str = "day"
    sun_azimuth_rad: float = 0.8
    sun_elevation_rad: float = 0.8
    brightness: float = 1.0
    rain: float = 0.0
    glare: float = 0.0
    noise_std: float = 2.0
    visibility_m: float = 600.0
    exposure_s: float = 0.004


@dataclass(frozen=True)
class Scene:
    """Everything near the ego at one time.

    Attributes:
        time_s: since the start of the world.
        road: the whole road.
        ego_x_m, ego_y_m, ego_heading_rad: of base_link, the middle of the rear axle on the ground.
        ego_s_m: the ego's arc length along the road, known without a search.
        ego_speed_mps: of the ego.
        ego_yaw_rate_radps: of the ego, left positive.
        actors: moving and parked road users, without the ego.
        lights, signs, roadside_objects, markings: near the ego (about 30 m behind to 180 m ahead).
        weather: light, visibility and sensor conditions.
        seed: of the world; textures and noise follow from it and from time_s.
    """

    time_s: float
    road: Road
    ego_x_m: float
    ego_y_m: float
    ego_heading_rad: float
    ego_s_m: float
    ego_speed_mps: float = 0.0
    ego_yaw_rate_radps: float = 0.0
    actors: tuple[Actor, ...] = ()
    lights: tuple[TrafficLight, ...] = ()
    signs: tuple[StopSign, ...] = ()
    roadside_objects: tuple[RoadsideObject, ...] = ()
    markings: tuple[Marking, ...] = ()
    weather: Weather = field(default_factory=Weather)
    seed: int = 0
