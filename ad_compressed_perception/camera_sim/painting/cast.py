# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who is on stage: a figure for everything in the scene that the camera can see."""

from __future__ import annotations

from functools import partial

import numpy as np

from ad_compressed_perception.camera_sim.camera import Camera
from ad_compressed_perception.camera_sim.painting import furniture, people, plants, vehicles
from ad_compressed_perception.camera_sim.painting.buildings import Building, eaves_m, roof
from ad_compressed_perception.camera_sim.painting.canvas import Canvas
from ad_compressed_perception.camera_sim.painting.figures import Figure, Lamp, Viewpoint
from ad_compressed_perception.camera_sim.painting.light import Light
from ad_compressed_perception.camera_sim.painting.shapes import Limbs, Mesh
from ad_compressed_perception.camera_sim.scene import Actor, Prop, Scene, StopSign, TrafficLight

_NIGHT = 0.3
"""From this on lamps are lit."""


def cast_of(scene: Scene, view: Viewpoint, canvas: Canvas, light: Light, with_ids: bool) -> list[Figure]:
    """Return the figures in view, in the order of the scene."""
    figures = [_actor(actor, view, light) for actor in scene.actors]
    figures += [_traffic_light(signal, view, light) for signal in scene.lights]
    figures += [_stop_sign(sign, view) for sign in scene.signs]
    figures += [_prop(prop, view, canvas, light, with_ids) for prop in scene.props]
    return [figure for figure in figures if figure.is_in_view(view.camera)]


def _actor(actor: Actor, view: Viewpoint, light: Light) -> Figure:
    forward, left = view.local_of(actor.x_m, actor.y_m)
    turn = actor.heading_rad - view.heading_rad
    colour = (float(actor.colour_bgr[0]), float(actor.colour_bgr[1]), float(actor.colour_bgr[2]))
    night = light.night >= _NIGHT
    size = (actor.length_m, actor.width_m, actor.height_m)
    mesh: Mesh | None = None
    body: Limbs | None = None
    if actor.kind == "person":
        body = people.pedestrian(actor.height_m, colour, actor.seed, actor.speed_mps, actor.phase_m)
    elif actor.kind == "bicycle":
        mesh, body = people.bicycle(actor.length_m, actor.height_m, colour, actor.seed, actor.phase_m)
    elif actor.kind == "motorcycle":
        mesh, body = people.motorcycle(
            actor.length_m, actor.height_m, colour, actor.seed, actor.is_braking, night
        )
    elif actor.kind == "truck":
        is_seen_from_ahead = -(forward * np.cos(turn) + left * np.sin(turn)) > 0.5 * actor.length_m - 2.0
        mesh = vehicles.truck(*size, colour, actor.seed, actor.is_braking, night, bool(is_seen_from_ahead))
    elif actor.kind == "bus":
        mesh = vehicles.bus(*size, colour, actor.seed, actor.is_braking, night)
    else:
        mesh = vehicles.car(*size, colour, actor.seed, actor.is_braking, night)
    return Figure(
        forward,
        left,
        turn,
        0.5 * actor.length_m,
        0.5 * actor.width_m,
        actor.height_m,
        mesh,
        body,
        lamps=_vehicle_lamps(actor, night),
        label=actor.kind,
        ident=actor.ident,
        sorts_parts=actor.kind in ("person", "bicycle"),
    )


def _vehicle_lamps(actor: Actor, night: bool) -> tuple[Lamp, ...]:
    if actor.kind in ("person", "bicycle") or not (night or actor.is_braking):
        return ()
    half, end = 0.5 * actor.width_m, 0.5 * actor.length_m
    up = {"car": 0.52 * actor.height_m, "bus": 0.33 * actor.height_m, "truck": 0.9}.get(actor.kind, 0.8)
    sides = (0.0,) if actor.kind == "motorcycle" else (-0.8 * half, 0.8 * half)
    lamps: list[Lamp] = []
    for side in sides:
        strength = 120.0 if actor.is_braking else 60.0
        lamps.append(Lamp((-end, side, up), (-1.0, 0.0), 0.5, (strength * 0.16, strength * 0.12, strength)))
        if night:
            lamps.append(Lamp((end, side, 0.85 * up), (1.0, 0.0), 1.0, (170.0, 190.0, 200.0)))
    return tuple(lamps)


def _traffic_light(signal: TrafficLight, view: Viewpoint, light: Light) -> Figure:
    forward, left = view.local_of(signal.x_m, signal.y_m)
    turn = signal.heading_rad - view.heading_rad
    labelled = -(forward * np.cos(turn) + left * np.sin(turn)) > 0.0
    east, north = signal.pole_x_m - signal.x_m, signal.pole_y_m - signal.y_m
    cos, sin = np.cos(signal.heading_rad), np.sin(signal.heading_rad)
    foot = (float(cos * east + sin * north), float(cos * north - sin * east))
    blue, green, red = (0.55 * value for value in furniture.LIT[signal.state])
    up = signal.height_m + furniture.lens_up_m(signal.state)
    return Figure(
        forward,
        left,
        turn,
        0.3,
        0.35,
        signal.height_m + 0.7,
        furniture.traffic_light(signal.height_m, signal.state, bool(labelled)),
        furniture.light_pole(foot, signal.height_m),
        lamps=(Lamp((0.2, 0.0, up), (1.0, 0.0), 0.34 + 0.35 * light.night, (blue, green, red)),),
        label="traffic light" if labelled else "",
        ident=signal.ident,
    )


def _stop_sign(sign: StopSign, view: Viewpoint) -> Figure:
    forward, left = view.local_of(sign.x_m, sign.y_m)
    turn = sign.heading_rad - view.heading_rad
    labelled = -(forward * np.cos(turn) + left * np.sin(turn)) > 0.0
    mesh, post = furniture.stop_sign(sign.height_m, bool(labelled))
    return Figure(
        forward,
        left,
        turn,
        0.1,
        0.38,
        sign.height_m + 0.4,
        mesh,
        post,
        label="stop sign" if labelled else "",
        ident=sign.ident,
    )


def _prop(prop: Prop, view: Viewpoint, canvas: Canvas, light: Light, with_ids: bool) -> Figure:
    forward, left = view.local_of(prop.x_m, prop.y_m)
    turn = prop.heading_rad - view.heading_rad
    if prop.kind == "lamp":
        return _street_lamp(prop, forward, left, turn, light)
    figure = Figure(forward, left, turn, 0.5 * prop.length_m, 0.5 * prop.width_m, prop.height_m)
    if prop.kind == "building":
        cos, sin = np.cos(view.heading_rad), np.sin(view.heading_rad)
        x, y, z = light.sun_direction
        sun = np.array([cos * x + sin * y, cos * y - sin * x, z])
        building = Building(
            figure.corners_m, prop.length_m, prop.width_m, prop.height_m, prop.colour_bgr, prop.seed
        )
        figure.paint = partial(building.paint, canvas, light, sun, with_ids)
        blue, green, red = (float(value) for value in prop.colour_bgr)
        if eaves_m(prop.height_m, prop.length_m, prop.width_m) < prop.height_m:
            figure.mesh = roof(prop.length_m, prop.width_m, prop.height_m, (blue, green, red), prop.seed)
    else:
        radius = 0.5 * prop.width_m
        figure = Figure(forward, left, turn, radius, radius, prop.height_m)
        figure.paint = partial(
            _paint_plant, figure, prop, view.camera, canvas, light, view.heading_rad, with_ids
        )
    return figure


def _paint_plant(
    figure: Figure,
    prop: Prop,
    camera: Camera,
    canvas: Canvas,
    light: Light,
    heading_rad: float,
    with_ids: bool,
) -> None:
    if figure.forward_m < 1.0:
        return
    place = camera.to_optical(
        np.full(2, figure.forward_m), np.full(2, figure.left_m), np.array([0.0, prop.height_m]) - camera.z_m
    )
    column, row = camera.pixels(*place)
    half_px = 0.5 * prop.width_m * camera.focal_px / float(place[2].mean())
    x, y, _ = light.sun_direction
    sun_from_left = float(np.cos(heading_rad) * y - np.sin(heading_rad) * x) > 0.0
    kind = plants.kind_of(prop.kind, prop.seed, prop.height_m / max(prop.width_m, 0.1))
    middle = float(column.mean())
    plants.paint_plant(
        canvas,
        kind,
        prop.seed,
        middle - half_px,
        middle + half_px,
        float(row[1]),
        float(row[0]),
        prop.colour_bgr,
        light,
        sun_from_left,
        figure.distance_m,
        with_ids,
    )


def _street_lamp(prop: Prop, forward: float, left: float, turn: float, light: Light) -> Figure:
    night = light.night >= _NIGHT
    reach = max(1.2, 0.5 * prop.length_m)
    mesh, pole = furniture.street_lamp(prop.height_m, reach, night)
    lamps: tuple[Lamp, ...] = ()
    if night:
        lamps = (Lamp((reach, 0.0, prop.height_m - 0.1), (0.0, 0.0), 0.9, (110.0, 170.0, 200.0)),)
    return Figure(forward, left, turn, 0.1, 0.1, prop.height_m, mesh, pole, lamps)
