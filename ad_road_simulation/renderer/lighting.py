# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lighting by weather: sun, sky light, haze and lamps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.world.scene import Weather

Array = NDArray[np.float64]


NIGHT = 0.3
"""Lamps are lit from this value of Light.night on."""
HORIZON_M = 260.0
"""Distance at which the ground ends in a line of trees."""


def mix(first: Array, second: Array, share: float | Array) -> Array:
    """Return the linear interpolation: first where the share is 0, second where it is 1."""
    return first + (second - first) * share


@dataclass(frozen=True, eq=False)
class Light:
    """Light of one weather, as gains on colors in BGR; compared by identity, so that it can be a cache key.

    Attributes:
        sun_direction: (3,) unit vector to the sun, world.
        sun, ambient: (3,) gains of surfaces facing the sun and the sky.
        sky_top, sky_low, cloud: (3,) colors of the sky.
        haze: (3,) color that distant objects fade to.
        visibility_m: of the weather.
        shadow: 0..1, how dark the sun's shadows are.
        night: 0..1, brightness of lamps and windows.
        overcast: 0..1, cloud cover.
        wet: 0..1, reflectivity of the road.
    """

    sun_direction: Array
    sun: Array
    ambient: Array
    sky_top: Array
    sky_low: Array
    cloud: Array
    haze: Array
    visibility_m: float
    shadow: float
    night: float
    overcast: float
    wet: float

    def shade(self, normals: Array, sun: Array) -> Array:
        """Return (N, 3) gains of surfaces with (N, 3) unit normals; sun is a direction in the same frame."""
        sunny = np.clip(normals @ sun, 0.0, 1.0)
        return self.ambient * (0.8 + 0.2 * normals[:, 2:3]) + self.sun * sunny[:, None]

    def haze_share(self, distance_m: float | Array) -> Array:
        """Return the share of haze at a distance by Koschmieder's law: 95 percent at the visibility."""
        return np.asarray(1.0 - np.exp(-3.0 * np.asarray(distance_m) / self.visibility_m))

    def headlights(self, points_m: Array) -> Array:
        """Return (N,) gains the ego's headlights add at (N, 3) points, forward, left and up of the camera."""
        away = np.maximum(points_m[:, 0], 1.0)
        beam = np.exp(-np.square(points_m[:, 1] / (0.4 * away)) - away / 22.0)
        return np.asarray(0.7 * self.night * beam)

    @property
    def flat(self) -> Array:
        """(3,) gain of level ground in sunlight."""
        return self.shade(np.array([[0.0, 0.0, 1.0]]), self.sun_direction)[0]


@lru_cache(maxsize=32)
def light_of(weather: Weather) -> Light:
    """Return the light of a weather."""
    elevation = float(weather.sun_elevation_rad)
    low = float(np.clip(1.0 - elevation / 0.35, 0.0, 1.0))
    night = float(np.clip((0.75 - weather.brightness) / 0.35, 0.0, 1.0)) if weather.name == "dusk" else 0.0
    lamps = max(night, 0.35 * weather.rain if weather.name == "rain" else 0.0)
    overcast = float(np.clip(1.3 * weather.rain + (0.6 if weather.name == "rain" else 0.0), 0.0, 1.0))
    # The camera's exposure compensates for a part of the missing light.
    gain = float(np.clip(weather.brightness, 0.02, 1.5)) ** 0.7

    sun = mix(np.array([0.50, 0.56, 0.60]), np.array([0.22, 0.42, 0.62]), low) * (1.0 - overcast)
    sun = sun * (1.0 - 0.55 * night)
    ambient = mix(np.array([0.60, 0.55, 0.51]), np.array([0.74, 0.76, 0.76]), overcast)
    ambient = mix(ambient, np.array([0.66, 0.54, 0.52]), night)

    top = mix(np.array([205.0, 150.0, 92.0]), np.array([110.0, 72.0, 52.0]), night)
    horizon = mix(np.array([236.0, 222.0, 200.0]), np.array([128.0, 172.0, 232.0]), max(night, 0.3 * low))
    cloud = mix(np.array([250.0, 248.0, 245.0]), np.array([160.0, 160.0, 205.0]), night)
    top = mix(top, np.array([168.0, 160.0, 152.0]), overcast)
    horizon = mix(horizon, np.array([196.0, 192.0, 187.0]), overcast)
    cloud = mix(cloud, np.array([150.0, 144.0, 138.0]), overcast)
    haze = mix(horizon, top, 0.25)
    # Dusk's sky stays brighter than the ground under it.
    sky_gain = gain ** (0.45 if night > 0.0 else 0.8)
    cos = np.cos(elevation)
    direction = np.array(
        [cos * np.cos(weather.sun_azimuth_rad), cos * np.sin(weather.sun_azimuth_rad), np.sin(elevation)]
    )
    return Light(
        sun_direction=direction,
        sun=sun * gain,
        ambient=ambient * gain,
        sky_top=top * sky_gain,
        sky_low=horizon * sky_gain,
        cloud=cloud * sky_gain,
        haze=haze * sky_gain * (1.0 - 0.35 * night),
        visibility_m=max(20.0, weather.visibility_m),
        shadow=(1.0 - overcast) * (0.55 - 0.3 * night),
        night=lamps,
        overcast=overcast,
        wet=float(np.clip(weather.rain * 1.5, 0.0, 1.0)),
    )
