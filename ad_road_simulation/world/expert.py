# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The expert's reference plan: the ground truth that planners are trained and evaluated with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.path import KNOTS_M, path_of_curvature
from ad_compressed_perception.driving.speed_profile import speed_profile
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.ego import VEHICLE, EgoState
from ad_road_simulation.world.traffic_control import BEFORE_CROSSING_M
from ad_road_simulation.world.world import World

LOOK_M = 60.0
"""Look-ahead distance: a clear distance beyond it is inf."""
MUST_STOP_M = 45.0
STEP_S = 0.15
STEPS = 20
_FINE = 3
_PATH_STEP_M = 0.25
_RETURN_M = 6.0
_SHARPEST_PER_M = 0.15
_CORRIDOR_M = 0.3
_STANDING_MPS = 0.5
_TALL_M = 2.0
"""Actors taller than this occlude what is ahead of them from the camera."""

Array = NDArray[np.float64]


def _knots_of_path() -> Array:
    """Return (11, 161), the least-squares map from the path's curvature at every step to that at the knots.

    The sum of squares is over all steps. The knots represent linear functions exactly, so the integrals of
    curvature and of arc length times curvature, and with them heading and position of the path's end, are
    preserved. Sampling the curvature at the knots would not do: a lateral error decays within few meters,
    and linear interpolation between knots overestimates such a curve.
    """
    arc = np.arange(0.0, KNOTS_M[-1] + 0.5 * _PATH_STEP_M, _PATH_STEP_M)
    hats = np.maximum(0.0, 1.0 - np.abs(arc - KNOTS_M[:, None]) / (KNOTS_M[1] - KNOTS_M[0]))
    weighted = hats.copy()
    weighted[:, [0, -1]] *= 0.5
    return np.linalg.solve(weighted @ hats.T, weighted)


_KNOTS_OF_PATH = _knots_of_path()
ReasonKind = Literal["light", "sign", "crossing", "actor"]


@dataclass(frozen=True)
class Reason:
    """An obstacle or rule ahead that ends the clear distance.

    Attributes:
        kind: "light" (red or yellow), "sign", "crossing" (occupied) or "actor".
        ident: of the signal, the sign, the crossing or the actor.
        distance_m: from the front bumper along the path.
        is_stationary: the ego has to stop for it; False for a moving actor.
    """

    kind: ReasonKind
    ident: int
    distance_m: float
    is_stationary: bool


@dataclass(frozen=True)
class ReferencePlan:
    """The expert's plan and its reasons.

    Attributes:
        curvature_per_m: (11,) at KNOTS_M, left positive; linear interpolation between them gives the path.
        clear_distance_m: from the front bumper to the nearest reason, inf beyond LOOK_M.
        must_stop: a stationary reason lies within MUST_STOP_M.
        may_proceed: the nearest reason is a stop sign's line, which may be passed after a stop.
        trajectory: the plan from the ego's current speed.
        reasons: within LOOK_M, the nearest first, without those occluded by a truck or bus ahead.
    """

    curvature_per_m: Array
    clear_distance_m: float
    must_stop: bool
    may_proceed: bool
    trajectory: Trajectory
    reasons: tuple[Reason, ...]


def reference_plan(
    world: World, ego: EgoState, obeyed_sign: int | None = None, camera: Camera | None = None
) -> ReferencePlan:
    """Return the reference plan of the ego in the current state of the world.

    All but the trajectory depends on positions, not on the ego's speed, so that a single image determines
    it. People at a crossing may be outside the image: a model that sees only this image cannot know of
    them, a driver who has approached along the road does.

    Args:
        world: current state.
        ego: with s_m and d_m of its position.
        obeyed_sign: ident of a stop sign at which the ego has already stopped.
        camera: only people in its image count; None: people anywhere count.
    """
    path = _path(world, ego)
    occupied = world.people.occupied if camera is None else _occupied_in(world, ego, camera)
    reasons = _reasons(world, path, occupied, obeyed_sign)
    clear = reasons[0].distance_m if reasons else math.inf
    must_stop = any(reason.is_stationary and reason.distance_m < MUST_STOP_M for reason in reasons)
    may_proceed = bool(reasons) and reasons[0].kind == "sign"
    curvature = _KNOTS_OF_PATH @ path.curvature_per_m[: _KNOTS_OF_PATH.shape[1]]
    return ReferencePlan(
        curvature_per_m=curvature,
        clear_distance_m=clear,
        must_stop=must_stop,
        may_proceed=may_proceed,
        trajectory=plan_trajectory(curvature, clear, ego.speed_mps, float(must_stop), float(may_proceed)),
        reasons=reasons,
    )


def plan_trajectory(
    curvature_per_m: Array,
    clear_distance_m: float,
    speed_mps: float,
    stop_probability: float,
    proceed_after_stop_probability: float,
) -> Trajectory:
    """Return the trajectory, 20 points at 0.15 s .. 3 s, for a path, clear distance and speed.

    Args:
        curvature_per_m: (11,) at KNOTS_M.
        clear_distance_m: may be inf.
        speed_mps: current speed.
        stop_probability: as in results.Trajectory.
        proceed_after_stop_probability: likewise.
    """
    sharpest = float(np.abs(curvature_per_m).max())
    fine = STEP_S / _FINE
    distances, speeds = speed_profile(speed_mps, clear_distance_m, sharpest, STEPS * _FINE, fine)
    distances, speeds = distances[_FINE - 1 :: _FINE], speeds[_FINE - 1 :: _FINE]
    points, headings = path_of_curvature(curvature_per_m, distances)
    return Trajectory(
        points_xy_m=points,
        headings_rad=headings,
        curvature_per_m=float(curvature_per_m[0]),
        speed_mps=float(speed_mps),
        steering_wheel_angle_rad=VEHICLE.steering_ratio
        * math.atan(VEHICLE.wheelbase_m * float(curvature_per_m[0])),
        speeds_mps=speeds,
        step_s=STEP_S,
        clear_distance_m=clear_distance_m,
        stop_probability=stop_probability,
        proceed_after_stop_probability=proceed_after_stop_probability,
    )


@dataclass(frozen=True)
class _Path:
    """Path back to the lane center and along it: arc lengths from base_link, with s, d and curvature."""

    arc_m: Array
    s_m: Array
    d_m: Array
    curvature_per_m: Array


def _path(world: World, ego: EgoState) -> _Path:
    """Integrate the path over the knots, then follow the lane center up to the look-ahead distance.

    With theta the heading against the road's, d the offset and kappa_r the road's curvature, an arc along
    the path changes them by d' = sin(theta), s' = cos(theta) / (1 - kappa_r d) and
    theta' = kappa - kappa_r s' (Frenet frame; Samson, Path following and time-varying feedback
    stabilization of a wheeled mobile robot, 1992). The curvature is that of the road plus
    -k1 (d - d_lane) - k2 sin(theta); k1 = 1/L^2 and k2 = 2/L let both errors fall as a critically damped
    system of length L.
    """
    road, lane = world.layout.road, world.layout.ego_lane_m
    k1, k2 = 1.0 / _RETURN_M**2, 2.0 / _RETURN_M
    count = int(round((KNOTS_M[-1] + 1.0) / _PATH_STEP_M)) + 1
    reach = ego.s_m + 1.5 * _PATH_STEP_M * np.arange(count, dtype=np.float64)
    bends = road.curvature(reach).tolist()
    grid = 1.0 / (1.5 * _PATH_STEP_M)

    def law(s: float, d: float, theta: float) -> tuple[float, float, float]:
        """Return s', theta' and the curvature."""
        bend = bends[min(max(int((s - ego.s_m) * grid + 0.5), 0), count - 1)]
        rate = math.cos(theta) / (1.0 - bend * d)
        curvature = bend * rate - k1 * (d - lane) - k2 * math.sin(theta)
        curvature = min(max(curvature, -_SHARPEST_PER_M), _SHARPEST_PER_M)
        return rate, curvature - bend * rate, curvature

    # Heun's method; the slopes at the predicted point are reused in the next step.
    h = _PATH_STEP_M
    s, d = ego.s_m, ego.d_m
    theta = math.remainder(ego.heading_rad - float(road.heading(s)), 2.0 * math.pi)
    rate, turn, curvature = law(s, d, theta)
    out = np.empty((3, count))
    for index in range(count):
        out[0, index], out[1, index], out[2, index] = s, d, curvature
        ahead = d + math.sin(theta + 0.5 * h * turn) * h
        next_rate, next_turn, curvature = law(s + rate * h, ahead, theta + turn * h)
        turned = 0.5 * (turn + next_turn) * h
        s += 0.5 * (rate + next_rate) * h
        d += math.sin(theta + 0.5 * turned) * h
        theta += turned
        rate, turn = next_rate, next_turn
    arc = np.arange(count) * _PATH_STEP_M
    # Beyond the knots: an arc of the lane center is 1 - kappa_r d times that of the centerline.
    beyond = float(out[0, -1]) + np.arange(1.0, 1.5 * LOOK_M)
    arc_offsets = np.cumsum(np.maximum(1.0 - road.curvature(beyond) * lane, 0.2))
    return _Path(
        np.concatenate((arc, arc[-1] + arc_offsets)),
        np.concatenate((out[0], beyond)),
        np.concatenate((out[1], np.full(len(beyond), lane))),
        out[2],
    )


def _occupied_in(world: World, ego: EgoState, camera: Camera) -> NDArray[np.bool_]:
    """Return (crossings,) bool: a person on it is between the image's left and right edge."""
    people = world.people
    on = np.flatnonzero(people.on_crossing >= 0)
    x, y = world.layout.road.points(people.s_m[on], people.d_m[on]).T
    cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)
    forward = cos * (x - ego.x_m) + sin * (y - ego.y_m) - camera.x_m
    left = -sin * (x - ego.x_m) + cos * (y - ego.y_m)
    shown = np.abs(left) * camera.focal_px < forward * 0.5 * camera.width_px
    occupied = np.zeros_like(people.occupied)
    occupied[people.on_crossing[on[shown]]] = True
    return occupied


def _reasons(
    world: World, path: _Path, occupied: NDArray[np.bool_], obeyed_sign: int | None
) -> tuple[Reason, ...]:
    """Return the reasons that end the clear distance, the nearest first."""
    found: list[Reason] = []

    def add(kind: ReasonKind, ident: int, s_m: float, is_stationary: bool) -> None:
        distance = float(np.interp(s_m, path.s_m, path.arc_m)) - VEHICLE.front_m
        if 0.0 <= distance < LOOK_M and s_m < path.s_m[-1]:
            found.append(Reason(kind, ident, distance, is_stationary))

    control = world.layout.traffic_control
    for signal in control.signals:
        if signal.state(world.time_s) != "green":
            add("light", signal.ident, signal.stop_s_m, True)
    for stop in control.stops:
        if stop.ident != obeyed_sign:
            add("sign", stop.ident, stop.stop_s_m, True)
    for crossing in control.crossings:
        if occupied[crossing.ident]:
            add("crossing", crossing.ident, crossing.s_from_m - BEFORE_CROSSING_M, True)
    actors, hidden_m = _in_corridor(world, path)
    found = [reason for reason in found if reason.distance_m <= hidden_m] + actors
    return tuple(sorted(found, key=lambda reason: reason.distance_m))


def _in_corridor(world: World, path: _Path) -> tuple[list[Reason], float]:
    """Return the actors in the ego body's swept corridor, and the distance of the first tall one."""
    obstacles = world.obstacles()
    rear, front = obstacles.s_m - obstacles.half_s_m, obstacles.s_m + obstacles.half_s_m
    start = float(np.interp(VEHICLE.front_m, path.arc_m, path.s_m))
    near = np.flatnonzero((rear > start - 0.5) & (rear < path.s_m[-1]))
    places = np.stack((rear[near], obstacles.s_m[near], front[near]), axis=-1)
    apart = np.abs(obstacles.d_m[near, None] - np.interp(places, path.s_m, path.d_m)).min(axis=1)
    hit = near[apart < 0.5 * VEHICLE.width_m + obstacles.half_d_m[near] + _CORRIDOR_M]
    gaps = np.maximum(np.interp(rear[hit], path.s_m, path.arc_m) - VEHICLE.front_m, 0.0)
    tall = obstacles.height_m[hit] > _TALL_M
    reasons = [
        Reason("actor", int(obstacles.idents[i]), float(gap), bool(obstacles.speed_mps[i] < _STANDING_MPS))
        for i, gap in zip(hit, gaps, strict=True)
        if gap < LOOK_M
    ]
    return reasons, float(np.min(gaps[tall], initial=math.inf))
