# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the drawable scene objects of everything in a scene that the camera can see."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer import heavy_vehicles, two_wheelers, vehicles
from ad_road_simulation.renderer import pedestrian_meshes as people
from ad_road_simulation.renderer import traffic_control_meshes as control_meshes
from ad_road_simulation.renderer.buildings import Wall, draw_walls, eaves_m, roof, visible_walls
from ad_road_simulation.renderer.framebuffer import Framebuffer
from ad_road_simulation.renderer.lighting import NIGHT, Light
from ad_road_simulation.renderer.meshes import Color, Limbs, Point
from ad_road_simulation.renderer.plants import Plant
from ad_road_simulation.renderer.sprites import Lamp, RelativePose, SceneObject, Viewpoint
from ad_road_simulation.renderer.vehicles import Lit
from ad_road_simulation.world.scene import Actor, RoadsideObject, Scene, StopSign, TrafficLight

_LIGHT_M, _SIGN_M = (0.6, 0.62), (0.2, 0.76)
_POST_M = 0.2
_PACES_MPS = (0.15, 0.9, 1.7, 2.6)
"""Speed limits between the paces standing, strolling, walking, hurrying and running."""


@dataclass(frozen=True)
class RenderContext:
    """What all scene objects of one image share.

    Attributes:
        framebuffer: to draw into.
        view: of the camera.
        light: of the weather.
        sun: (3,) direction to it along base_link's axes.
        with_ids: whether to write object ids for the ground truth.
    """

    framebuffer: Framebuffer
    view: Viewpoint
    light: Light
    sun: NDArray[np.float64]
    with_ids: bool


def build_scene_objects(scene: Scene, context: RenderContext) -> list[SceneObject]:
    """Return the objects in view, poles first, then in the order of the scene."""
    entities: list[Actor | TrafficLight | StopSign | RoadsideObject] = [
        *scene.actors,
        *scene.lights,
        *scene.signs,
        *scene.roadside_objects,
    ]
    if not entities:
        return []
    world_poses = [(entity.x_m, entity.y_m, entity.heading_rad) for entity in entities]
    sizes = [_size_m(entity) for entity in entities]
    world_poses += [_pole_pose(signal) for signal in scene.lights]
    sizes += [(_POST_M, _POST_M)] * len(scene.lights)
    poses = context.view.poses(np.array(world_poses), np.array(sizes))
    poses, poles = poses[: len(entities)], poses[len(entities) :]
    objects = [
        _pole(signal, pole) for signal, pole in zip(scene.lights, poles, strict=True) if pole is not None
    ]
    seen = [(entity, pose) for entity, pose in zip(entities, poses, strict=True) if pose is not None]
    houses = [
        (entity, pose)
        for entity, pose in seen
        if isinstance(entity, RoadsideObject) and entity.kind == "building"
    ]
    walls = iter(
        visible_walls(
            [house for house, _ in houses],
            [pose for _, pose in houses],
            context.view.camera,
            context.light,
            context.sun,
        )
    )
    arms = iter(_arms([pose for entity, pose in seen if _is_lamp(entity)], scene, context.view))
    for entity, pose in seen:
        if isinstance(entity, Actor):
            objects.append(_actor(entity, pose, context.light))
        elif isinstance(entity, TrafficLight):
            objects.append(_traffic_light(entity, pose, context.light))
        elif isinstance(entity, StopSign):
            objects.append(_stop_sign(entity, pose))
        elif entity.kind == "lamp":
            objects.append(_street_lamp(entity, pose, next(arms), context))
        elif entity.kind == "building":
            objects.append(_building(entity, pose, next(walls), context))
        else:
            objects.append(_plant(entity, pose, context))
    return objects


def _size_m(entity: Actor | TrafficLight | StopSign | RoadsideObject) -> tuple[float, float]:
    if isinstance(entity, TrafficLight):
        return _LIGHT_M
    if isinstance(entity, StopSign):
        return _SIGN_M
    if entity.kind == "lamp":
        return _POST_M, _POST_M
    return entity.length_m, entity.width_m


def _steps(value: float, step: float) -> float:
    """Round a size to a multiple of a step, to limit the number of different meshes."""
    return max(step, round(value / step) * step)


def _own(color_bgr: tuple[int, int, int]) -> Color:
    return float(color_bgr[0]), float(color_bgr[1]), float(color_bgr[2])


def _actor(actor: Actor, pose: RelativePose, light: Light) -> SceneObject:
    item = SceneObject(pose, actor.height_m, color=_own(actor.color_bgr), label=actor.kind, ident=actor.ident)
    lit = Lit(actor.is_braking, light.night >= NIGHT)
    size = (actor.length_m, actor.width_m, actor.height_m)
    variant = actor.seed % people.VARIANTS
    if actor.kind == "person":
        pace = bisect_left(_PACES_MPS, abs(actor.speed_mps))
        step = people.step_of(actor.height_m, actor.phase_m)
        item.limbs = people.pedestrian(variant, pace, step)
        item.stretch, item.depth_sorted = (actor.height_m,) * 3, True
        return item
    made: Point
    if actor.kind == "bicycle":
        made, item.depth_sorted = two_wheelers.BICYCLE_M, True
        turned = actor.phase_m / two_wheelers.PEDAL_TURN_M * two_wheelers.PEDAL_STEPS
        item.mesh = two_wheelers.bicycle(actor.seed % 4)
        item.limbs = two_wheelers.cyclist(variant, int(turned) % two_wheelers.PEDAL_STEPS)
    elif actor.kind == "motorcycle":
        made, item.mesh = two_wheelers.MOTORCYCLE_M, two_wheelers.motorcycle(lit)
        item.limbs = two_wheelers.motorcyclist(variant)
    elif actor.kind == "car":
        made = (_steps(size[0], 0.5), _steps(size[1], 0.3), _steps(size[2], 0.2))
        item.mesh = vehicles.car(*made, actor.seed % 3, lit)
    elif actor.kind == "bus":
        made = (_steps(size[0], 1.5), _steps(size[1], 0.5), _steps(size[2], 0.5))
        item.mesh = heavy_vehicles.bus(*made, lit)
    else:
        made = (_steps(size[0], 1.0), _steps(size[1], 0.5), _steps(size[2], 0.5))
        is_seen_from_ahead = pose.camera_ahead_m > 0.5 * actor.length_m - 2.0
        item.mesh = heavy_vehicles.truck(*made, actor.seed % 3, lit, is_seen_from_ahead)
    item.stretch = (size[0] / made[0], size[1] / made[1], size[2] / made[2])
    item.lamps = _vehicle_lamps(actor, lit)
    return item


def _vehicle_lamps(actor: Actor, lit: Lit) -> tuple[Lamp, ...]:
    if actor.kind == "bicycle" or not (lit.night or lit.is_braking):
        return ()
    half, end = 0.5 * actor.width_m, 0.5 * actor.length_m
    up = {"car": 0.52 * actor.height_m, "bus": 0.33 * actor.height_m, "truck": 0.9}.get(actor.kind, 0.8)
    sides = (0.0,) if actor.kind == "motorcycle" else (-0.8 * half, 0.8 * half)
    strength = 120.0 if lit.is_braking else 60.0
    lamps: list[Lamp] = []
    for side in sides:
        lamps.append(Lamp((-end, side, up), (-1.0, 0.0), 0.5, (strength * 0.16, strength * 0.12, strength)))
        if lit.night:
            lamps.append(Lamp((end, side, 0.85 * up), (1.0, 0.0), 1.0, (170.0, 190.0, 200.0)))
    return tuple(lamps)


def _traffic_light(signal: TrafficLight, pose: RelativePose, light: Light) -> SceneObject:
    faces_camera = pose.camera_ahead_m > 0.0
    blue, green, red = (0.55 * value for value in control_meshes.LIT[signal.state])
    lens = (0.2, 0.0, signal.height_m + control_meshes.LENS_UP_M[signal.state])
    return SceneObject(
        pose,
        signal.height_m + 0.7,
        control_meshes.traffic_light(signal.height_m, signal.state, faces_camera),
        lamps=(Lamp(lens, (1.0, 0.0), 0.34 + 0.35 * light.night, (blue, green, red)),),
        label="traffic light" if faces_camera else "",
        ident=signal.ident,
    )


def _pole_pose(signal: TrafficLight) -> tuple[float, float, float]:
    """Return the pose of a traffic light's pole, which is BEHIND_M behind its nominal foot."""
    x = signal.pole_x_m - control_meshes.BEHIND_M * math.cos(signal.heading_rad)
    y = signal.pole_y_m - control_meshes.BEHIND_M * math.sin(signal.heading_rad)
    return x, y, signal.heading_rad


def _pole(signal: TrafficLight, pose: RelativePose) -> SceneObject:
    """Return the pole of a traffic light, a separate object as heads may share one."""
    reach = (signal.x_m - signal.pole_x_m, signal.y_m - signal.pole_y_m)
    limbs = _light_pole(reach, signal.heading_rad, signal.height_m)
    return SceneObject(pose, signal.height_m + 0.7, limbs=limbs)


@lru_cache(maxsize=256)
def _light_pole(reach_m: tuple[float, float], heading_rad: float, height_m: float) -> Limbs:
    """Return the pole of a light; reach_m is the world offset of its head from the pole."""
    cos, sin = math.cos(heading_rad), math.sin(heading_rad)
    tip = (cos * reach_m[0] + sin * reach_m[1], cos * reach_m[1] - sin * reach_m[0])
    return control_meshes.light_pole(tip, height_m)


def _stop_sign(sign: StopSign, pose: RelativePose) -> SceneObject:
    faces_camera = pose.camera_ahead_m > 0.0
    mesh, post = control_meshes.stop_sign(sign.height_m, faces_camera)
    label = "stop sign" if faces_camera else ""
    return SceneObject(
        pose, sign.height_m + 0.4, mesh, post, label=label, ident=sign.ident, limbs_first=faces_camera
    )


def _is_lamp(entity: Actor | TrafficLight | StopSign | RoadsideObject) -> bool:
    return isinstance(entity, RoadsideObject) and entity.kind == "lamp"


def _arms(poses: list[RelativePose], scene: Scene, view: Viewpoint) -> list[float]:
    """Return the bearings of street lamps' arms: towards the nearest point of the road's centerline."""
    if not poses:
        return []
    s_m = np.clip(scene.ego_s_m + np.arange(-30.0, 200.0, 6.0), 0.0, scene.road.length_m)
    middle = view.local(scene.road.points(s_m))
    away = middle - np.array([(pose.forward_m, pose.left_m) for pose in poses])[:, None]
    forward, left = away[..., 0], away[..., 1]
    nearest = (forward * forward + left * left).argmin(axis=1)[:, None]
    bearings = np.arctan2(np.take_along_axis(left, nearest, 1), np.take_along_axis(forward, nearest, 1))
    return [float(bearing) for bearing in bearings[:, 0]]


def _street_lamp(
    entity: RoadsideObject, pose: RelativePose, arm_rad: float, context: RenderContext
) -> SceneObject:
    night = context.light.night >= NIGHT
    mesh, pole = control_meshes.street_lamp(night)
    turned = pose._replace(yaw_rad=arm_rad)
    share = entity.height_m / control_meshes.LAMP_M
    lamps: tuple[Lamp, ...] = ()
    if night:
        tip = (control_meshes.LAMP_REACH_M * share, 0.0, entity.height_m - 0.1)
        lamps = (Lamp(tip, (0.0, 0.0), 0.9, (110.0, 170.0, 200.0)),)
    return SceneObject(turned, entity.height_m, mesh, pole, (share, share, share), lamps=lamps)


def _building(
    entity: RoadsideObject, pose: RelativePose, walls: list[Wall], context: RenderContext
) -> SceneObject:
    item = SceneObject(
        pose,
        entity.height_m,
        stretch=(entity.length_m, entity.width_m, entity.height_m),
        color=_own(entity.color_bgr),
        draw=partial(draw_walls, walls, context.framebuffer, context.with_ids),
    )
    if eaves_m(entity.height_m) < entity.height_m:
        item.mesh = roof(entity.seed % 3, entity.width_m > entity.length_m)
    return item


def _plant(entity: RoadsideObject, pose: RelativePose, context: RenderContext) -> SceneObject:
    plant = Plant(
        entity.kind,
        pose.forward_m,
        pose.left_m,
        entity.width_m,
        entity.height_m,
        entity.color_bgr,
        entity.seed,
    )
    draw = partial(plant.draw, context.framebuffer, context.light, context.sun, context.with_ids)
    return SceneObject(pose, entity.height_m, draw=draw, crown_radius_m=0.5 * entity.width_m)
