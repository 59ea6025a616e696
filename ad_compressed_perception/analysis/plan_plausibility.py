# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a planner's outputs over several frames look like what its decoder expects.

One frame's angle, speed or waypoints may be anything within a vehicle's limits; those of several frames in
another unit are not: degrees, km/h, pixels, shares of a range, results of two sigmoids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.driving.plan_vector import PROCEED, STOP
from ad_compressed_perception.tasks.decoders.controls import ControlsDecoder
from ad_compressed_perception.tasks.decoders.steering import SteeringDecoder
from ad_compressed_perception.tasks.decoders.trajectory import TrajectoryDecoder
from ad_compressed_perception.tasks.decoders.waypoints import WaypointsDecoder

FEWEST_FRAMES = 4
"""Plans and angles are judged from this number of frames."""
SIGMOID_OF_ONE = 0.7310586
"""Where a second sigmoid ends; it begins at 0.5."""
ROUNDING = 0.01
"""How far a quantized output may be beyond."""
_MAX_STEERING_P90_RAD = 2.0 * np.pi
"""A full turn of the wheel on a tenth of the frames."""
_MAX_SPEED_P90_MPS = 60.0
"""216 km/h on a tenth of the frames."""
_AWAY_M = 1.0
"""From this distance on the direction to a waypoint is that of the path."""
_LEAST_REACH_M = 1.5
"""Of the farthest waypoint of all frames: a corner of the square of numbers within -1 to 1."""

Outputs = Mapping[str, NDArray[Any]]
Measures = tuple[Callable[[Any, Outputs], tuple[float, ...]], Callable[[NDArray[np.float64]], str]]


def _measure_angle(decoder: SteeringDecoder, outputs: Outputs) -> tuple[float, ...]:
    speed = decoder.speed(outputs)
    return decoder.steering(outputs)[0], 0.0 if speed is None else speed


def _judge_angles(found: NDArray[np.float64]) -> str:
    if len(found) < FEWEST_FRAMES:
        return ""
    largest, fastest = np.percentile(np.abs(found), 90.0, axis=0)
    if largest > _MAX_STEERING_P90_RAD:
        return (
            f"a tenth of the steering-wheel angles exceeds {largest:.3g} rad, more than a turn; are they in "
            "degrees? (decoder option steering_scale: 0.0174533)"
        )
    if fastest > _MAX_SPEED_P90_MPS:
        return (
            f"a tenth of the speeds exceeds {fastest:.3g} m/s; are they in km/h? (decoder option speed_scale: "
            "0.277778)"
        )
    return ""


def _measure_plan(decoder: TrajectoryDecoder, outputs: Outputs) -> tuple[float, ...]:
    vector = decoder.vector(outputs)
    return float(vector[STOP]), float(vector[PROCEED])


def _judge_plans(found: NDArray[np.float64]) -> str:
    is_varied = bool((np.ptp(found, axis=0) > 0.0).all())
    if len(found) >= FEWEST_FRAMES and is_varied and found.min() >= 0.0 and found.max() <= 1.0:
        return (
            f"numbers {STOP} and {PROCEED} of the plan are within 0 to 1 on every frame, as probabilities "
            "are; the decoder expects logits: export them without the sigmoid"
        )
    return ""


def _measure_waypoints(decoder: WaypointsDecoder, outputs: Outputs) -> tuple[float, ...]:
    points, _ = decoder.points(outputs)
    distances = np.hypot(*points.T)
    forward, left = points[int(np.argmax(distances >= _AWAY_M))]
    has_scale = decoder.options.scale_m is not None
    return float(forward), float(abs(left)), float(distances.max()), float(has_scale)


def _judge_waypoints(found: NDArray[np.float64]) -> str:
    if len(found) < FEWEST_FRAMES:
        return ""
    forward, aside, _, _ = np.median(found, axis=0)
    if aside > max(_AWAY_M, abs(forward)):
        return (
            f"the path begins to the side on half of the frames, {aside:.3g} m beside the vehicle and "
            f"{forward:.3g} m ahead; are they pixels, or the axes others? (decoder options axes, scale_m)"
        )
    reach, is_varied = found[:, 2].max(), bool(np.ptp(found[:, 2]) > 0.0)
    if is_varied and reach < _LEAST_REACH_M and not found[0, 3]:
        return (
            f"no waypoint of any frame is farther than {reach:.3g} m; are they normalized? Set decoder option "
            "scale_m to the meters of one unit, 1 if they are meters"
        )
    return ""


def _measure_controls(decoder: ControlsDecoder, outputs: Outputs) -> tuple[float, ...]:
    return decoder.controls(outputs)


def _judge_controls(found: NDArray[np.float64]) -> str:
    brake = found[:, 2]
    is_varied = len(found) >= FEWEST_FRAMES and bool(np.ptp(brake) > 0.0)
    if is_varied and brake.min() >= 0.5 - ROUNDING and brake.max() <= SIGMOID_OF_ONE + ROUNDING:
        return (
            f"brake is from {brake.min():.3g} to {brake.max():.3g} on every frame, as after two sigmoids: "
            "leave one out"
        )
    return ""


PLANNER_MEASURES: dict[type, Measures] = {
    SteeringDecoder: (_measure_angle, _judge_angles),
    TrajectoryDecoder: (_measure_plan, _judge_plans),
    WaypointsDecoder: (_measure_waypoints, _judge_waypoints),
    ControlsDecoder: (_measure_controls, _judge_controls),
}
